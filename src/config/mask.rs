//! A key that an upstream repeats, taken out of the text that it stands in.
//!
//! Upstreams repeat a key as they got it, and as something on their way made of it: cut off, in other case, broken
//! over lines, escaped for a URL or for JSON, in Base64 or as the numbers of its bytes. So the text and the key are
//! brought to their letters and digits, and what they have in common is taken out, be it a part of the key only.

use std::ops::Range;

use memchr::memmem;
use zeroize::Zeroizing;

use super::secret::Secret;

/// What stands in place of a key.
const MASK: &str = "[key]";
/// So many letters and digits in a row are taken out when they are the key's. Of fewer, a person can't tell a key
/// from a word, and vendors themselves show about as many for their users to tell keys apart.
const COMMON_MIN: usize = 8;
// So that every window has a beginning.
const _: () = assert!(COMMON_MIN >= size_of::<u64>());
/// Text beyond is left out: it would never be shown, and looking through it takes time.
const TEXT_CHARS_MAX: usize = 1024;

impl Secret {
    /// The text without the secret and without longer parts of it, in any of the forms above. A secret with fewer
    /// than 8 letters and digits is a placeholder; only as a whole it is taken out. The text is cut after 1,024
    /// characters.
    pub fn masked_in(&self, text: &str) -> String {
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        let text = text.replace(self.expose(), MASK);
        let places = Plain::of(&text);
        let mut found = Vec::new();
        for Form { text: form, common_min } in forms(self.expose().as_bytes()) {
            if form.len() >= common_min {
                find_common(&places.bytes, &form, common_min, &mut found);
            }
        }
        masked(&text, &places, found)
    }
}

/// The letters and digits of a text, in lower case, each with its place in it.
struct Plain {
    bytes: Zeroizing<Vec<u8>>,
    places: Vec<Range<usize>>,
}

impl Plain {
    fn of(text: &str) -> Self {
        let mut plain = Self {
            bytes: Zeroizing::new(Vec::with_capacity(text.len())),
            places: Vec::with_capacity(text.len()),
        };
        let mut at = 0;
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let (byte, length) = unescaped(rest);
            if byte.is_ascii_alphanumeric() {
                plain.bytes.push(byte.to_ascii_lowercase());
                plain.places.push(at..at + length);
            }
            at += length;
        }
        plain
    }
}

/// The first byte, unescaped, and how many bytes it takes: `%73`, `\u0073` and `\x73` are an s.
fn unescaped(text: &[u8]) -> (u8, usize) {
    let first = text.first().copied().unwrap_or_default();
    let escaped = match text {
        [b'%', a, b, ..] | [b'\\', b'u' | b'U', b'0', b'0', a, b, ..] | [b'\\', b'x', a, b, ..] => {
            hex_digit(*a).zip(hex_digit(*b)).map(|(high, low)| high * 16 + low)
        }
        _ => None,
    };
    match (escaped, first) {
        (Some(byte), b'%') => (byte, 3),
        (Some(byte), _) if text.get(1) == Some(&b'x') => (byte, 4),
        (Some(byte), _) => (byte, 6),
        (None, _) => (first, 1),
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What a secret can look like, brought to letters and digits.
struct Form {
    text: Zeroizing<Vec<u8>>,
    /// How much of it stands for [`COMMON_MIN`] characters of the secret.
    common_min: usize,
}

fn forms(secret: &[u8]) -> impl Iterator<Item = Form> {
    let as_it_is = Form { text: plain(secret), common_min: COMMON_MIN };
    let numbers = |common_min, write: fn(u8) -> String| {
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() * 3));
        secret.iter().for_each(|byte| text.extend_from_slice(write(*byte).as_bytes()));
        Form { text, common_min }
    };
    let hex = numbers(COMMON_MIN * 2, |byte| format!("{byte:02x}"));
    let decimal = numbers(COMMON_MIN * 5 / 2, |byte| byte.to_string());
    let base64 = (0..3).map(|skipped| Form {
        // In the middle of something else its groups begin at any of three bytes. Both alphabets differ in signs
        // only, which are left out.
        text: base64(secret.get(skipped..).unwrap_or_default()),
        common_min: (COMMON_MIN * 4).div_ceil(3),
    });
    [as_it_is, hex, decimal].into_iter().chain(base64.collect::<Vec<_>>())
}

fn plain(text: &[u8]) -> Zeroizing<Vec<u8>> {
    // A secret is ASCII, so this loses nothing.
    std::str::from_utf8(text).map(|text| Plain::of(text).bytes).unwrap_or_default()
}

/// The letters and digits, in lower case, of whole groups only (RFC 4648 §4): how a rest is written depends on what
/// follows it.
fn base64(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() * 4 / 3));
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize & 63]);
        text.extend(digits.iter().filter(|digit| digit.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase));
    }
    text
}

/// Where `text` and `form` have `common_min` bytes in a row in common.
fn find_common(text: &[u8], form: &[u8], common_min: usize, found: &mut Vec<Range<usize>>) {
    // Most of a text has nothing in common with a key, which the beginnings tell at once.
    let mut beginnings = Zeroizing::new(Vec::with_capacity(form.len()));
    beginnings.extend(form.windows(common_min).filter_map(beginning));
    beginnings.sort_unstable();
    for (at, window) in text.windows(common_min).enumerate() {
        let is_likely = beginning(window).is_some_and(|one| beginnings.binary_search(&one).is_ok());
        if is_likely && memmem::find(form, window).is_some() {
            found.push(at..at + common_min);
        }
    }
}

fn beginning(window: &[u8]) -> Option<u64> {
    window.first_chunk().map(|first| u64::from_ne_bytes(*first))
}

/// The text with a mask in place of what was found, and of what stands between its letters.
fn masked(text: &str, plain: &Plain, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|range| range.start);
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for range in found {
        match stretches.last_mut() {
            Some(stretch) if range.start <= stretch.end => stretch.end = stretch.end.max(range.end),
            Some(_) | None => stretches.push(range),
        }
    }
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for stretch in stretches {
        let [first, .., last] = plain.places.get(stretch).unwrap_or_default() else { continue };
        shown.push_str(text.get(done..first.start).unwrap_or_default());
        shown.push_str(MASK);
        done = last.end;
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-canary-7Qz9XcVb31/mK+pL0==";

    fn masked_in(text: &str) -> String {
        Secret::new(KEY).unwrap().masked_in(text)
    }

    #[test]
    fn a_repeated_key_is_taken_out_in_whatever_form() {
        for (form, shown) in [
            ("sk-canary-7Qz9XcVb31/mK+pL0==", "[key]"),
            ("Bearer sk-canary-7Qz9XcVb31/mK+pL0==.", "Bearer [key]."),
            // Broken over a line, spaced, in other case, quoted.
            ("sk-canary-7Qz\r\n9XcVb31/mK+pL0==", "[key]=="),
            ("sk-can ary-7Q z9XcVb3 1/mK+ pL0==", "[key]=="),
            ("SK-CANARY-7QZ9XCVB31/MK+PL0==", "[key]=="),
            ("s.k.c.a.n.a.r.y.7.Q.z.9.X.c.V.b.3.1.m.K.p.L.0", "[key]"),
            // Cut off at either end.
            ("sk-canary-7Q…", "[key]…"),
            ("…cVb31/mK+pL0==", "…[key]=="),
            // Escaped.
            ("sk-canary-7Qz9XcVb31%2FmK%2BpL0%3D%3D", "[key]%3D%3D"),
            ("%73%6b%2d%63%61%6e%61%72%79%2d%37%51%7a%39", "[key]"),
            ("sk-canary-7Qz9XcVb31\\/mK+pL0==", "[key]=="),
            ("\\u0073k-\\u0063\\u0061nary-7Qz9", "[key]"),
            ("\\x73k-\\x63\\x61nary-7Qz9", "[key]"),
            // As bytes.
            ("73 6b 2d 63 61 6e 61 72 79 2d 37", "[key]"),
            ("736B2D63616E6172792D3751", "[key]"),
            ("[115, 107, 45, 99, 97, 110, 97, 114, 121, 45, 55]", "[[key]]"),
        ] {
            assert_eq!(masked_in(&format!("no: {form} !")), format!("no: {shown} !"), "{form}");
        }
    }

    #[test]
    fn base64_is_found_wherever_its_groups_begin() {
        // `printf '%s' "$text" | base64`, and the same with `tr +/ -_`.
        for form in [
            "c2stY2FuYXJ5LTdRejlYY1ZiMzEvbUsrcEwwPT0=",
            "eHNrLWNhbmFyeS03UXo5WGNWYjMxL21LK3BMMD09",
            "eHhzay1jYW5hcnktN1F6OVhjVmIzMS9tSytwTDA9PQ==",
            "eHhzay1jYW5hcnktN1F6OVhjVmIzMS9tSytwTDA9PQ",
        ] {
            let shown = masked_in(&format!("Basic {form}"));
            // The ends may stand for other bytes, too.
            assert!(shown.contains("[key]") && shown.len() < "Basic [key]".len() + 12, "{form}: {shown}");
        }
    }

    #[test]
    fn words_are_left_alone() {
        for text in [
            "401 authentication_error: invalid x-api-key",
            "Incorrect API key provided: sk-can***L0==. You can find your API key at https://example.com.",
            "canary",
            "",
            "余额不足 %zz %e4%bd%99 \\u00",
        ] {
            assert_eq!(masked_in(text), text);
        }
    }

    #[test]
    fn a_placeholder_is_taken_out_as_a_whole_only() {
        let masked = |key: &str, text: &str| Secret::new(key).unwrap().masked_in(text);
        assert_eq!(masked("none", "key none of none-such"), "key [key] of [key]-such");
        assert_eq!(masked("unused", "UNUSED un used"), "UNUSED un used");
        assert_eq!(masked("--------", "a -------- b"), "a [key] b");
    }

    proptest! {
        #[test]
        fn of_no_key_more_than_a_few_letters_in_a_row_remain(
            key in "[!-~]{8,60}",
            before in "\\PC{0,40}",
            after in "\\PC{0,40}",
            cut in 0..60_usize,
            gap in prop::sample::select(vec!["", " ", "\n", "-", "\u{200b}"]),
        ) {
            let secret = Secret::new(&key).unwrap();
            let echoed: Vec<String> = key.chars().skip(cut % key.len()).map(String::from).collect();
            let shown = secret.masked_in(&format!("{before}|{}|{after}", echoed.join(gap)));
            let (rest, of_key) = (Plain::of(&shown).bytes, plain(key.as_bytes()));
            let mask = Plain::of(MASK).bytes;
            let leaks = rest.windows(COMMON_MIN).any(|window| {
                memmem::find(&of_key, window).is_some() && memmem::find(window, &mask).is_none()
            });
            prop_assert!(!leaks, "{key:?} in {shown:?}");
        }
    }
}
