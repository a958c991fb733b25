//! Text from outside: made safe to print, and what both sides of the proxy read in it alike.

use crate::charset::Charset;

/// RFC 9110 §5.6.2: what names and methods are made of.
pub static TCHARS: Charset = Charset::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// The longest text that is kept, in characters.
const CHARS_MAX: usize = 200;

/// One line of bounded length in which a terminal and a log find nothing to obey: a blank stands in place of
/// each such character.
pub fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(CHARS_MAX).map(|c| if is_obeyed_or_unseen(c) { ' ' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// Whether a character does something other than to be seen: control characters (C0, DEL, C1), breaks of lines and
/// paragraphs, and what Unicode calls format characters and ignores by default (UAX #44, `Default_Ignorable_Code_Point`
/// and the category Cf, in their greater part): those of no width, those that turn the direction of the text around
/// them (Unicode Technical Report #36), and tags, in which text can be hidden.
pub fn is_obeyed_or_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A control character that no line of a message may hold (RFC 9110 §5.5).
pub const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// The length that a `Content-Length` says (RFC 9110 §8.6): digits and nothing else, so no sign and no list, and no
/// more than fits a signed count.
pub fn content_length(digits: &[u8]) -> Option<u64> {
    let push = |length: u64, &digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    let length = if digits.is_empty() { None } else { digits.iter().try_fold(0, push) };
    length.filter(|&length| length <= i64::MAX.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\r\nb"), "a [31m  b");
        assert_eq!(printable(&"x".repeat(300)).chars().count(), CHARS_MAX + 1);
    }

    #[test]
    fn what_turns_hides_or_breaks_text_does_not_either() {
        let hostile = "\u{0}\u{7}\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200d}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{e0041}";
        assert_eq!(printable(hostile).trim(), "");
        let harmless = "é中余额 العربية 😀 “”… ‑ \u{a0}|";
        assert_eq!(printable(harmless), harmless);
    }
}
