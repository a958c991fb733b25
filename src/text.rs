//! Text from outside, made safe to print.

/// The longest text that is kept, in characters.
const CHARS_MAX: usize = 200;

/// One line of bounded length without control characters, for a terminal or a log.
pub fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\r\nb"), "a [31m  b");
        assert_eq!(printable(&"x".repeat(300)).chars().count(), CHARS_MAX + 1);
    }
}
