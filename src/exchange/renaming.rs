//! The one change that is ever made to a body: an endpoint's own name for the model, where its
//! configuration has one.

use bytes::Bytes;

use super::json::TopLevel;
use crate::upstream::ReplayBody;

/// The body with another `model`. Every other byte is the client's, and none is copied.
pub fn with_model(body: &ReplayBody, name: &str) -> ReplayBody {
    let whole = body.contiguous();
    let name = Bytes::from(serde_json::Value::from(name).to_string());
    let mut chunks = Vec::new();
    let mut done = 0;
    // Of members of the same name some readers take the first and some the last one.
    // One without a value is no JSON: it stays so.
    for (_, value) in TopLevel::of(&whole).filter(|(name, value)| *name == b"model" && !value.is_empty()) {
        let start = value.as_ptr().addr() - whole.as_ptr().addr();
        chunks.extend([whole.slice(done..start), name.clone()]);
        done = start + value.len();
    }
    chunks.push(whole.slice(done..));
    ReplayBody::new(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(text: &str, name: &str) -> String {
        let body = ReplayBody::new(vec![Bytes::copy_from_slice(text.as_bytes())]);
        String::from_utf8(with_model(&body, name).contiguous().to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_at_the_top_level_is_replaced() {
        let text = r#" {"metadata":{"model":"x"}, "model" : "claude-opus-4" ,"messages":[{"model":"y"}]}"#;
        let expected = r#" {"metadata":{"model":"x"}, "model" : "relay/opus" ,"messages":[{"model":"y"}]}"#;
        assert_eq!(renamed(text, "relay/opus"), expected);
    }

    #[test]
    fn a_name_is_written_as_json_writes_it() {
        assert_eq!(renamed(r#"{"model":"a"}"#, "b\"\\ü"), r#"{"model":"b\"\\ü"}"#);
    }

    #[test]
    fn all_of_several_models_are_replaced() {
        assert_eq!(renamed(r#"{"model":"a","model":"b"}"#, "c"), r#"{"model":"c","model":"c"}"#);
    }

    #[test]
    fn a_model_without_a_value_stays_without_one() {
        assert_eq!(renamed(r#"{"model":,"model":"a"}"#, "c"), r#"{"model":,"model":"c"}"#);
        assert_eq!(renamed(r#"{"model":"a","model":"#, "c"), r#"{"model":"c","model":"#);
    }

    #[test]
    fn what_has_no_model_stays_as_it_is() {
        for text in ["", "{}", "[1]", "--boundary", r#"{"messages":[]}"#] {
            assert_eq!(renamed(text, "c"), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_parser_sees_the_same_object_but_for_the_model(
            members in proptest::collection::btree_map("[a-z\"\\\\]{0,6}", "[a-z{}\\[\\],:\"\\\\]{0,8}", 0..6),
            name in "[a-z/\"\\\\é]{1,8}",
        ) {
            let mut members = members;
            members.insert("model".into(), "claude".into());
            let text = serde_json::to_string(&members).unwrap();
            members.insert("model".into(), name.clone());
            assert_eq!(renamed(&text, &name), serde_json::to_string(&members).unwrap());
        }
    }
}
