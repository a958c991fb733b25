//! The calls whose exchanges are cut: small answers, so that every byte of them can be an end.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::support::faults::{Delimited, answer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Messages,
    MessagesStreamed,
    MessagesStreamedGzip,
    Chat,
    ChatStreamed,
    Responses,
    ResponsesStreamed,
    CountTokens,
    Models,
}

pub use Kind::*;

const SSE: &str = "text/event-stream";

/// An answer as its bytes, and what may be made of it where it ends too soon.
#[derive(Clone)]
pub struct Scene {
    pub kind: Kind,
    pub delimited: Delimited,
    pub bytes: Vec<u8>,
    /// The body, without what delimits it.
    pub body: Vec<u8>,
    /// With so many bytes the client may have got some.
    pub committed_from: usize,
    /// With so many bytes the client must have got some.
    pub committed_at: usize,
    /// With so many bytes nothing is missing, however the connection ends; none where it must end well.
    pub complete_at: Option<usize>,
    /// With so many bytes nothing is missing if it ends well.
    pub closed_at: usize,
}

impl Kind {
    pub fn is_openai(self) -> bool {
        matches!(self, Chat | ChatStreamed | Responses | ResponsesStreamed)
    }

    /// Whether another endpoint is asked though the first one may have billed it.
    pub fn is_free(self) -> bool {
        matches!(self, CountTokens | Models)
    }

    pub fn method(self) -> &'static str {
        if self == Models { "GET" } else { "POST" }
    }

    pub fn path(self) -> &'static str {
        match self {
            Messages | MessagesStreamed | MessagesStreamedGzip => "/v1/messages",
            Chat | ChatStreamed => "/v1/chat/completions",
            Responses | ResponsesStreamed => "/v1/responses",
            CountTokens => "/v1/messages/count_tokens",
            Models => "/v1/models",
        }
    }

    pub fn request(self) -> &'static str {
        match self {
            Messages | CountTokens => r#"{"model":"claude-1","messages":[]}"#,
            MessagesStreamed | MessagesStreamedGzip => r#"{"model":"claude-1","stream":true,"messages":[]}"#,
            Chat => r#"{"model":"gpt-1","messages":[]}"#,
            ChatStreamed => r#"{"model":"gpt-1","stream":true,"messages":[]}"#,
            Responses => r#"{"model":"gpt-1","input":"hi"}"#,
            ResponsesStreamed => r#"{"model":"gpt-1","stream":true,"input":"hi"}"#,
            Models => "",
        }
    }

    pub fn is_streamed(self) -> bool {
        matches!(self, MessagesStreamed | MessagesStreamedGzip | ChatStreamed | ResponsesStreamed)
    }

    /// The events of a stream, or a body in two pieces; `from` tells whose it is.
    pub fn pieces(self, from: &str) -> Vec<String> {
        match self {
            Messages => vec![
                format!(r#"{{"id":"of {from}","type":"message","#),
                r#""content":[{"type":"text","text":"a \" ] }"}],"usage":{}}"#.into(),
            ],
            Chat => vec![
                format!(r#"{{"id":"of {from}","object":"chat.completion","#),
                r#""choices":[{"message":{"content":"hi"}}]}"#.into(),
            ],
            Responses => vec![
                format!(r#"{{"id":"of {from}","object":"response","#),
                r#""output":[{"type":"message","content":[]}]}"#.into(),
            ],
            CountTokens => vec![format!(r#"{{"of":"{from}","#), r#""input_tokens":7}"#.into()],
            Models => vec![
                format!(r#"{{"first_id":"of {from}","#),
                r#""data":[{"id":"claude-1","type":"model"}]}"#.into(),
            ],
            MessagesStreamed | MessagesStreamedGzip => vec![
                format!(
                    "event: message_start\ndata: {{\"type\":\"message_start\",\"id\":\"of {from}\"}}\n\n"
                ),
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n".into(),
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".into(),
            ],
            ChatStreamed => vec![
                format!("data: {{\"id\":\"of {from}\",\"choices\":[]}}\n\n"),
                "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n".into(),
                "data: [DONE]\n\n".into(),
            ],
            ResponsesStreamed => vec![
                format!("data: {{\"type\":\"response.created\",\"id\":\"of {from}\"}}\n\n"),
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n".into(),
                "data: {\"type\":\"response.completed\"}\n\n".into(),
            ],
        }
    }

    pub fn scene(self, delimited: Delimited, from: &str) -> Scene {
        let pieces = self.pieces(from);
        let texts: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let zipped = gzip(&texts.concat());
        let (kind, headers, body) = match self {
            MessagesStreamedGzip => (SSE, "content-encoding: gzip\r\n", zipped.chunks(40).collect()),
            MessagesStreamed | ChatStreamed | ResponsesStreamed => (SSE, "", texts),
            Messages | Chat | Responses | CountTokens | Models => ("application/json", "", texts),
        };
        let bytes = answer(kind, headers, delimited, &body);
        let head_bytes = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let after = |part: &str| {
            bytes.windows(part.len()).position(|window| window == part.as_bytes()).unwrap() + part.len()
        };
        let body_from = match delimited {
            Delimited::Chunks => after(&format!("\r\n\r\n{:x}\r\n", body[0].len())),
            Delimited::Length | Delimited::Close => head_bytes,
        };
        let (committed_from, committed_at) = match self {
            // Its first member is enough to see the answer by, its second one must be.
            Messages | Chat | Responses | CountTokens | Models => (body_from + 1, after(&pieces[0])),
            MessagesStreamedGzip => (body_from + 1, body_from + 1),
            MessagesStreamed | ChatStreamed | ResponsesStreamed => (after(&pieces[1]), after(&pieces[1])),
        };
        let complete_at = match (self, delimited) {
            // The last event says it all.
            (MessagesStreamed | ChatStreamed | ResponsesStreamed, _) => Some(after(&pieces[2])),
            (_, Delimited::Length | Delimited::Chunks) => Some(bytes.len()),
            (_, Delimited::Close) => None,
        };
        let closed_at = match (self, delimited) {
            // An end of the body is all that the last line needs.
            (ChatStreamed, Delimited::Close) => after("[DONE]"),
            (_, _) => complete_at.unwrap_or(bytes.len()),
        };
        let body = body.concat();
        Scene { kind: self, delimited, bytes, body, committed_from, committed_at, complete_at, closed_at }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
