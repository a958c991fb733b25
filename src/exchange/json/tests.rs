use proptest::strategy::Strategy;

use super::*;

fn members(text: &str) -> Vec<(String, String)> {
    let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    TopLevel::of(text.as_bytes()).map(|(name, value)| (text_of(name), text_of(value))).collect()
}

#[test]
fn members_inside_other_values_are_not_at_the_top_level() {
    let found = members(r#" {"a": {"stream": true, "x": ["}", "\"{"]}, "stream" : false , "n":1}"#);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "stream", "n"]);
    assert_eq!(found[1].1, "false");
    assert_eq!(found[2].1, "1");
}

#[test]
fn a_text_that_is_cut_off_gives_what_there_is() {
    let whole = r#"{"model":"m\"1","messages":[{"content":"hi"}],"stream":true}"#;
    for cut in 0..=whole.len() {
        assert!(members(&whole[..cut]).len() <= 3);
    }
    assert_eq!(members(&whole[..30])[0], ("model".into(), r#""m\"1""#.into()));
}

#[test]
fn what_is_no_object_has_no_members() {
    for text in ["", "[]", "null", "\"x\"", "<html>", "}{"] {
        assert!(members(text).is_empty(), "{text}");
    }
}

#[test]
fn the_elements_of_an_array_are_given_as_they_stand() {
    let elements = |text: &'static str| -> Vec<String> {
        Elements::of(text.as_bytes()).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    };
    assert_eq!(elements(r#" [ {"a": [1]} , "],", 3 ,[] ] "#), [r#"{"a": [1]}"#, r#""],""#, "3", "[]"]);
    assert_eq!(elements(r#"[{"a":"#), [r#"{"a":"#]);
    for none in ["", "[]", "{}", "null", "\"x\"", "[,", "[}"] {
        assert!(elements(none).is_empty(), "{none}");
    }
}

/// Pieces of JSON in no order, with strings of all lengths around those that are looked at in place.
pub fn pieces() -> impl Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let piece = prop_oneof![
        4 => proptest::sample::select(
            ["{", "}", "[", "]", ",", ":", "\"", "\\", "\\\"", "\\\\", " ", "\n", "\x0c", "x", "é", "\x01"].to_vec()
        ).prop_map(str::to_owned),
        2 => proptest::sample::select(
            ["\"role\":", "\"system\"", "\"developer\"", "\"user\"", "{\"", "\":[{", "\",\"", "},", "null", "1"].to_vec()
        ).prop_map(str::to_owned),
        1 => (0usize..40).prop_map(|length| format!("\"{}\"", "y".repeat(length))),
        1 => (0usize..40).prop_map(|length| "\\".repeat(length)),
    ];
    let opening = proptest::sample::select(["{", "[", "{\"a\":", "[{", ""].to_vec());
    (opening, proptest::collection::vec(piece, 0..40), proptest::option::weighted(0.1, any::<u8>())).prop_map(
        |(opening, pieces, odd)| [opening.as_bytes(), pieces.concat().as_bytes(), odd.as_slice()].concat(),
    )
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    #[test]
    fn any_text_is_walked_as_byte_by_byte(text in pieces()) {
        let expected: Vec<_> = naive::TopLevel::of(&text).collect();
        assert_eq!(TopLevel::of(&text).collect::<Vec<_>>(), expected);
        let expected: Vec<_> = naive::Elements::of(&text).collect();
        assert_eq!(Elements::of(&text).collect::<Vec<_>>(), expected);
        for (name, value) in TopLevel::of(&text) {
            assert_eq!(as_string(value), naive::as_string(value));
            assert_eq!(as_string(name), naive::as_string(name));
        }
    }

    #[test]
    fn the_first_quote_of_a_word_is_found(
        text in proptest::collection::vec(proptest::sample::select(b"\"!#\xa2\x21\x23\x00\xff".to_vec()), 0..20),
    ) {
        let word = text.first_chunk::<WORD_BYTES>();
        let at = word.and_then(|word| word.iter().position(|&byte| byte == b'"'));
        assert_eq!(quote_in_first_word(&text), at);
    }

    #[test]
    fn a_string_is_read_as_a_parser_reads_it(
        inside in proptest::collection::vec(
            proptest::sample::select(b"a\"\\nu0\xc3\xa9\x1f\x20\x7f".to_vec()), 0..12
        ),
    ) {
        let value = [b"\"", &inside[..], b"\""].concat();
        assert_eq!(as_string(&value), naive::as_string(&value));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_or_run_on(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        assert!(TopLevel::of(&text).count() <= text.len());
        assert!(Elements::of(&text).count() <= text.len());
    }

    #[test]
    fn it_finds_the_members_that_a_parser_finds(
        value in proptest::collection::btree_map("[a-z\"\\\\é]{0,6}", "[a-z{}\\[\\],:\"\\\\]{0,8}", 0..6)
    ) {
        let text = serde_json::to_string(&value).unwrap();
        let found: std::collections::BTreeMap<String, String> = TopLevel::of(text.as_bytes())
            .map(|(name, value)| {
                let quoted = [b"\"", name, b"\""].concat();
                (as_string(&quoted).unwrap(), as_string(value).unwrap())
            })
            .collect();
        assert_eq!(found, value);
    }
}
