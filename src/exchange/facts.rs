//! What a request's body says that decides where it goes and how its answer is read.

use std::sync::Arc;

use super::json::{self, TopLevel};
use super::session::SessionClues;

/// The fields of a request that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// `model`.
    pub model: Option<Arc<str>>,
    /// `stream`: whether an event stream is asked for.
    pub stream: bool,
}

impl RequestFacts {
    /// Reads them from a request's body, with what tells its session, in one pass; what is no JSON object
    /// has none.
    pub fn with_clues(body: &[u8]) -> (Self, SessionClues<'_>) {
        let (mut facts, mut clues) = (Self::default(), SessionClues::default());
        for (name, value) in TopLevel::of(body) {
            match name {
                b"model" => facts.model = json::as_string(value).map(Arc::from),
                b"stream" => facts.stream = value == b"true",
                _ => clues.note(name, value),
            }
        }
        (facts, clues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_top_level_counts() {
        let body =
            br#"{"messages":[{"role":"user","content":"{\"model\":\"x\",\"stream\":true}"}],"model":"m"}"#;
        let (facts, _) = RequestFacts::with_clues(body);
        assert_eq!(facts, RequestFacts { model: Some("m".into()), stream: false });
    }

    #[test]
    fn a_body_that_is_no_object_has_no_facts() {
        assert_eq!(RequestFacts::with_clues(b""), Default::default());
        assert_eq!(RequestFacts::with_clues(b"--boundary"), Default::default());
    }
}
