//! What an error body says, for people and for judging.

use super::json::{TopLevel, as_string};

/// The type, code and message of an error, in either vendor's shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorText {
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`, or `error.details.error_code`.
    pub code: Option<String>,
    /// `error.message`.
    pub message: Option<String>,
}

impl ErrorText {
    /// Reads `{"error": {…}}`, which may be cut off; nothing where there is none.
    pub fn of(body: &[u8]) -> Option<Self> {
        let (_, error) = TopLevel::of(body).find(|(name, _)| *name == b"error")?;
        Self::of_member(error)
    }

    /// The same of the member's value.
    pub(super) fn of_member(error: &[u8]) -> Option<Self> {
        // The text may be cut off within it.
        if b"null".starts_with(error) {
            return None;
        }
        if let Some(message) = as_string(error) {
            return Some(Self { message: Some(message), ..Self::default() });
        }
        let mut found = Self::default();
        for (name, value) in TopLevel::of(error) {
            match name {
                b"type" => found.kind = as_string(value),
                b"code" => found.code = as_string(value),
                b"message" => found.message = as_string(value),
                b"details" => {
                    let detail = TopLevel::of(value).find(|(name, _)| *name == b"error_code");
                    found.code = found.code.or_else(|| as_string(detail?.1));
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// In one line: `authentication_error: invalid x-api-key`. It is as the upstream wrote it:
    /// [`Endpoint::shown`](crate::cluster::Endpoint::shown) makes it fit to be shown.
    pub fn line(&self) -> String {
        let kind = self.kind.as_deref().or(self.code.as_deref()).unwrap_or("error");
        match &self.message {
            Some(message) => format!("{kind}: {message}"),
            None => kind.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_vendors_errors_are_read() {
        let anthropic =
            br#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
        assert_eq!(ErrorText::of(anthropic).unwrap().line(), "authentication_error: invalid x-api-key");
        let openai =
            br#"{"error":{"message":"no","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
        assert_eq!(ErrorText::of(openai).unwrap().code.as_deref(), Some("rate_limit_exceeded"));
        let detailed =
            br#"{"error":{"type":"invalid_request_error","details":{"error_code":"spend_limit_exceeded"}}}"#;
        assert_eq!(ErrorText::of(detailed).unwrap().code.as_deref(), Some("spend_limit_exceeded"));
    }

    #[test]
    fn a_null_error_is_none() {
        let body = br#"{"id":"r","error":null}"#;
        for cut in 0..=body.len() {
            assert_eq!(ErrorText::of(&body[..cut]), None, "cut at {cut}");
        }
    }
}
