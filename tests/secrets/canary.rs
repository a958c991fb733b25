//! Keys that must not come out, and the search for them.

pub const KEY: &str = "sk-canary-7Qz9XcVb31/mK+pL0==";
pub const CLIENT_KEY: &str = "sk-client-canary-55TgBnHy88";

pub fn base64(bytes: &[u8], alphabet_end: &[u8; 2]) -> String {
    let mut alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    alphabet.extend_from_slice(alphabet_end);
    // Whole groups only: how a rest is padded depends on what follows it.
    let groups = bytes.chunks_exact(3).map(|group| u32::from_be_bytes([0, group[0], group[1], group[2]]));
    groups
        .flat_map(|bits| [18, 12, 6, 0].map(|shift| alphabet[(bits >> shift & 63) as usize] as char))
        .collect()
}

pub fn percent(text: &str) -> String {
    let escaped = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => (byte as char).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

pub fn bytes_list(text: &str) -> String {
    let list: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    list.join(", ")
}

/// The forms in which a secret could come out.
pub fn forms(secret: &str) -> Vec<String> {
    let escaped = |write: fn(u8) -> String| secret.bytes().map(write).collect::<String>();
    let mut forms = vec![
        secret.to_owned(),
        percent(secret),
        percent(secret).to_lowercase(),
        escaped(|byte| format!("%{byte:02x}")),
        escaped(|byte| format!("{byte:02x}")),
        escaped(|byte| format!("{byte:02X}")),
        escaped(|byte| format!("\\u{byte:04x}")),
        serde_json::to_string(secret).unwrap().replace('/', "\\/").trim_matches('"').to_owned(),
        bytes_list(secret),
    ];
    for prefix in ["", "x", "xx"] {
        let padded = format!("{prefix}{secret}");
        for alphabet_end in [b"+/", b"-_"] {
            // Without the prefix's own groups, which are no secret.
            let encoded = base64(padded.as_bytes(), alphabet_end);
            forms.push(encoded[prefix.len().div_ceil(3) * 4..].to_owned());
        }
    }
    forms
}

/// So many letters and digits in a row are a part of a key, whatever stands between them.
const PART_LETTERS: usize = 9;

/// The letters and digits in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// None of the keys is in the text, whole or a longer part of one, in any form.
#[track_caller]
pub fn assert_clean(place: &str, text: &str) {
    let letters = letters(text);
    for (whose, secret) in [("the endpoint's", KEY), ("the client's", CLIENT_KEY)] {
        for part in super::canary::letters(secret).as_bytes().windows(PART_LETTERS) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!letters.contains(part), "a part of {whose} key, {part}, is in {place}:\n{text}");
        }
        for form in forms(secret) {
            if let Some(at) = text.find(&form) {
                let line = text[..at].lines().count();
                panic!(
                    "{whose} key is in {place}, line {line}, as {form}:\n{}",
                    text.lines().nth(line.max(1) - 1).unwrap_or("")
                );
            }
        }
    }
}

#[test]
fn the_search_finds_what_it_should() {
    assert_eq!(base64(b"Man", b"+/"), "TWFu");
    assert!(forms("sk-1/2").contains(&"sk-1%2F2".to_owned()));
    let hidden = [
        "no canary-7Qz",
        "NO CANARY 7 Q Z 9",
        "\\u0073\\u006b\\u002d\\u0063\\u0061\\u006e\\u0061\\u0072\\u0079\\u002d\\u0037\\u0051\\u007a\\u0039\\u0058\\u0063\\u0056\\u0062\\u0033\\u0031\\u002f\\u006d\\u004b\\u002b\\u0070\\u004c\\u0030\\u003d\\u003d",
        "Authorization: Basic eHNrLWNhbmFyeS03UXo5WGNWYjMxL21LK3BMMD09",
        KEY,
        &percent(KEY),
        &bytes_list(KEY),
    ];
    for text in hidden {
        assert!(std::panic::catch_unwind(|| assert_clean("a test", text)).is_err(), "{text}");
    }
    assert_clean("a test", "nothing to see");
}
