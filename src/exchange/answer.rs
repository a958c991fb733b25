//! Whether a 200 is the answer that was asked for, by its first bytes.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::json::TopLevel;
use super::{Beginning, Call, ErrorText};

/// What the beginning of a whole (not streamed) answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An answer of the protocol, as far as can be seen.
    Answer,
    /// An error in the guise of a success.
    Error(ErrorText),
    /// Something else: nothing at all, a page, a text.
    Foreign,
    /// An object that has shown nothing of the protocol yet; at its end it is as foreign as a page.
    Unclear,
    /// It does not show through its coding; at its end it counts as an answer.
    Hidden,
}

/// Judges the beginning of the body of a 2xx; up to 8 KiB of it.
pub fn shape_of_answer(call: Call, beginning: &Beginning<'_>) -> Shape {
    let shape = shape_of_text(call, beginning.text());
    match (beginning, shape) {
        (Beginning::Hidden, _) => Shape::Answer,
        // What was cut off, or is damaged, has not shown that it is none.
        (Beginning::Decoded { is_whole: false, text }, Shape::Foreign) if text.trim_ascii().is_empty() => {
            Shape::Hidden
        }
        (Beginning::Decoded { is_whole: false, .. }, Shape::Unclear) => Shape::Hidden,
        (Beginning::Plain(_) | Beginning::Decoded { .. }, shape) => shape,
    }
}

/// As it stands in a text that has a member of this name.
static ERROR_NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""error""#));

fn shape_of_text(call: Call, prefix: &[u8]) -> Shape {
    let Some(first) = prefix.trim_ascii_start().first() else { return Shape::Foreign };
    // Each protocol's answers name themselves early; a relay that leaves that out sends the content.
    let names: &[&[u8]] = match call {
        Call::Messages => &[b"type", b"content", b"role"],
        Call::ChatCompletions | Call::Completions => &[b"choices", b"object"],
        Call::Responses => &[b"output", b"object", b"status"],
        Call::Embeddings => &[b"data", b"object"],
        Call::CountTokens | Call::Models | Call::Other => return Shape::Answer,
    };
    if *first != b'{' {
        return Shape::Foreign;
    }
    let says_what_it_is = |name: &[u8], value: &[u8]| names.contains(&name) && !may_say_error(value);
    if ERROR_NAME.find(prefix).is_none() {
        // No member has that name, so the first one that tells will do.
        let is_known = TopLevel::of(prefix).any(|(name, value)| says_what_it_is(name, value));
        return if is_known { Shape::Answer } else { Shape::Unclear };
    }
    let (mut has_error, mut is_known) = (false, false);
    for (name, value) in TopLevel::of(prefix) {
        // Of several errors the first one counts.
        if name == b"error" && !std::mem::replace(&mut has_error, true) {
            if let Some(error) = ErrorText::of_member(value) {
                return Shape::Error(error);
            }
        } else {
            is_known |= says_what_it_is(name, value);
        }
    }
    if is_known { Shape::Answer } else { Shape::Unclear }
}

/// `"error"`, as the type of an error, or a beginning of it.
fn may_say_error(value: &[u8]) -> bool {
    br#""error""#.starts_with(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_or_nothing_or_a_page_is_no_answer() {
        let shape = |body: &str| shape_of_answer(Call::Messages, &Beginning::Plain(body.as_bytes().into()));
        assert_eq!(shape(""), Shape::Foreign);
        assert_eq!(shape(" \r\n"), Shape::Foreign);
        assert_eq!(shape("<html>busy</html>"), Shape::Foreign);
        assert_eq!(shape(r#"{"ok":true}"#), Shape::Unclear);
        assert!(matches!(shape(r#"{"error":{"message":"quota"}}"#), Shape::Error(_)));
        assert_eq!(shape(r#"{"id":"m","type":"message","content":["#), Shape::Answer);
    }

    #[test]
    fn a_beginning_that_says_little_is_not_judged() {
        for beginning in
            ["{", r#"{"id":"m""#, r#"{"typ"#, r#"{"type":"#, r#"{"type":"err"#, r#"{"type":"error","#]
        {
            let shape = shape_of_answer(Call::Messages, &Beginning::Plain(beginning.as_bytes().into()));
            assert_eq!(shape, Shape::Unclear, "{beginning}");
        }
    }

    #[test]
    fn a_response_object_with_a_null_error_is_an_answer() {
        let body = br#"{"id":"r","object":"response","error":null,"status":"completed"}"#;
        assert_eq!(shape_of_answer(Call::Responses, &Beginning::Plain(body.into())), Shape::Answer);
    }

    #[test]
    fn what_does_not_show_through_its_coding_is_not_judged() {
        let decoded = |text: &str, is_whole| Beginning::Decoded { text: text.into(), is_whole };
        let shape = |beginning: Beginning<'_>| shape_of_answer(Call::Messages, &beginning);
        assert_eq!(shape(decoded("", false)), Shape::Hidden);
        assert_eq!(shape(decoded("{", false)), Shape::Hidden);
        assert_eq!(shape(decoded("", true)), Shape::Foreign);
        assert_eq!(shape(decoded("<html>", false)), Shape::Foreign);
        assert_eq!(shape(decoded(r#"{"ok":true}"#, true)), Shape::Unclear);
        assert!(matches!(shape(decoded(r#"{"error":{"message":"no"}}"#, true)), Shape::Error(_)));
        assert_eq!(shape(Beginning::Hidden), Shape::Answer);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(1000))]

        #[test]
        fn one_walk_sees_what_a_look_for_each_sees(
            members in proptest::collection::vec(
                (
                    proptest::sample::select(["error", "type", "role", "x"].to_vec()),
                    proptest::sample::select(
                        ["null", "{\"code\":\"c\"}", "\"error\"", "\"message\"", "[]", "nul"].to_vec()
                    ),
                ),
                0..5,
            ),
            cut in 0usize..100,
        ) {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", members.join(","));
            let text = &text.as_bytes()[..cut.clamp(1, text.len())];
            let is_named = |(name, value): (&[u8], _)| {
                [&b"type"[..], b"role"].contains(&name) && !may_say_error(value)
            };
            let expected = match ErrorText::of(text) {
                Some(error) => Shape::Error(error),
                None if TopLevel::of(text).any(is_named) => Shape::Answer,
                None => Shape::Unclear,
            };
            assert_eq!(shape_of_text(Call::Messages, text), expected);
        }
    }
}
