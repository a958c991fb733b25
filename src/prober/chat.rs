//! The chat check: a question that only a working model answers.

use hyper::http::uri::PathAndQuery;
use serde_json::{Value, json};

use crate::config::Protocol;

/// The length of a verification code. A model repeats six characters exactly; 36^6 codes make a chance
/// hit, or an answer from a cache, as good as impossible.
const CODE_CHARS: usize = 6;
const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Room for a reasoning model's thinking, which it does without being asked, and for the code.
const TOKENS_MAX: u32 = 2_048;
/// What is asked where neither the configuration nor traffic names a model.
const ANTHROPIC_MODEL: &str = "claude-haiku-4-5";
const OPENAI_MODEL: &str = "gpt-5-mini";

/// A new verification code.
pub(super) fn new_code() -> String {
    (0..CODE_CHARS).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}

/// Where the chat goes.
pub(super) fn target(protocol: Protocol) -> PathAndQuery {
    PathAndQuery::from_static(match protocol {
        Protocol::Anthropic => "/v1/messages",
        Protocol::OpenAi => "/v1/chat/completions",
    })
}

/// The model that is asked where nothing names one.
pub(super) const fn small_model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Anthropic => ANTHROPIC_MODEL,
        Protocol::OpenAi => OPENAI_MODEL,
    }
}

/// The chat that asks for the code.
pub(super) fn request(protocol: Protocol, model: &str, code: &str) -> String {
    let question = format!("Reply with exactly this code and nothing else: {code}");
    let messages = json!([{"role": "user", "content": question}]);
    let body = match protocol {
        Protocol::Anthropic => json!({
            "model": model,
            "max_tokens": TOKENS_MAX,
            "messages": messages,
        }),
        Protocol::OpenAi => json!({
            "model": model,
            "max_completion_tokens": TOKENS_MAX,
            "messages": messages,
        }),
    };
    body.to_string()
}

/// Whether some text of the answer holds the code, in upper or lower case. Thinking is no text.
pub(super) fn says(protocol: Protocol, body: &[u8], code: &str) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
    let texts = match protocol {
        Protocol::Anthropic => texts_of_parts(&answer["content"]),
        Protocol::OpenAi => answer["choices"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|choice| texts_of_parts(&choice["message"]["content"]))
            .collect(),
    };
    texts.iter().any(|text| text.to_ascii_uppercase().contains(code))
}

/// The content as a text, or as parts of which those of type `text` count.
fn texts_of_parts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => {
            let is_text = |part: &&Value| part["type"] == "text";
            parts.iter().filter(is_text).filter_map(|part| part["text"].as_str()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_counts_in_any_text_block_and_any_case() {
        let answer = br#"{"content":[{"type":"thinking","thinking":"the code"},{"type":"text","text":"It is: ab12cd."}]}"#;
        assert!(says(Protocol::Anthropic, answer, "AB12CD"));
        let answer = br#"{"choices":[{"message":{"role":"assistant","content":"AB12CD"}}]}"#;
        assert!(says(Protocol::OpenAi, answer, "AB12CD"));
    }

    #[test]
    fn a_200_without_the_code_in_a_text_is_nothing() {
        for answer in [
            "",
            "{}",
            "null",
            "[]",
            "AB12CD",
            r#"{"error":{"message":"AB12CD"}}"#,
            r#"{"content":[{"type":"thinking","thinking":"AB12CD"}]}"#,
            r#"{"content":[{"type":"text","text":"AB12C"}]}"#,
            r#"{"content":[]}"#,
        ] {
            assert!(!says(Protocol::Anthropic, answer.as_bytes(), "AB12CD"), "{answer}");
        }
    }

    #[test]
    fn codes_are_six_capitals_and_digits_and_differ() {
        let codes: std::collections::HashSet<String> = (0..100).map(|_| new_code()).collect();
        assert!(codes.len() > 95);
        assert!(codes.iter().all(|code| code.len() == 6 && code.bytes().all(|b| ALPHABET.contains(&b))));
    }
}
