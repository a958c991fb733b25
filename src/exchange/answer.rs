//! Whether a 200 is the answer that was asked for, by its first bytes.

use super::json::TopLevel;
use super::{Call, ErrorText};

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
}

/// Judges the beginning of the body of a 2xx; `prefix` holds up to 8 KiB of it. A compressed body can't
/// be looked into and counts as an answer.
pub fn shape_of_answer(call: Call, prefix: &[u8], is_compressed: bool) -> Shape {
    if prefix.trim_ascii().is_empty() {
        return Shape::Foreign;
    }
    if is_compressed || !call.speaks_for_health() {
        return Shape::Answer;
    }
    if prefix.trim_ascii_start()[0] != b'{' {
        return Shape::Foreign;
    }
    if let Some(error) = ErrorText::of(prefix) {
        return Shape::Error(error);
    }
    // Each protocol's answers name themselves early; a relay that leaves that out sends the content.
    let names: &[&[u8]] = match call {
        Call::Messages => &[b"type", b"content", b"role"],
        Call::ChatCompletions | Call::Completions => &[b"choices", b"object"],
        Call::Responses => &[b"output", b"object", b"status"],
        Call::Embeddings => &[b"data", b"object"],
        Call::CountTokens | Call::Models | Call::Other => return Shape::Answer,
    };
    let known = TopLevel::of(prefix).any(|(name, value)| names.contains(&name) && !may_say_error(value));
    if known { Shape::Answer } else { Shape::Unclear }
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
        let shape = |body: &str| shape_of_answer(Call::Messages, body.as_bytes(), false);
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
            let shape = shape_of_answer(Call::Messages, beginning.as_bytes(), false);
            assert_eq!(shape, Shape::Unclear, "{beginning}");
        }
    }

    #[test]
    fn a_response_object_with_a_null_error_is_an_answer() {
        let body = br#"{"id":"r","object":"response","error":null,"status":"completed"}"#;
        assert_eq!(shape_of_answer(Call::Responses, body, false), Shape::Answer);
    }
}
