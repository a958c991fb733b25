//! What a simulated endpoint says, at the pace of a quick model.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

/// Before a whole answer, and before each event of a stream.
const THINKING: Duration = Duration::from_millis(60);
const EVENT_PAUSE: Duration = Duration::from_millis(20);
const NONE: Duration = Duration::ZERO;

const JSON: &str = "application/json";

pub struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Paced,
}

impl Reply {
    pub fn refused_key() -> Self {
        Self::error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key")
    }

    pub fn failure() -> Self {
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "Internal server error")
    }

    pub fn models() -> Self {
        let models = json!({"data": [{"type": "model", "id": "demo-model"}], "has_more": false});
        Self { status: StatusCode::OK, content_type: JSON, body: Paced::new([models.to_string()], NONE) }
    }

    /// A model that repeats what it is told: a verification code comes back, and a client recognises
    /// the answer to its own request.
    pub fn to_chat(request: &[u8]) -> Self {
        let request: Value = serde_json::from_slice(request).unwrap_or_default();
        let told = request["messages"][0]["content"].as_str().unwrap_or_default();
        if request["stream"] == json!(true) {
            let body = Paced::new(events(told), EVENT_PAUSE);
            return Self { status: StatusCode::OK, content_type: "text/event-stream", body };
        }
        let message = message(json!([{"type": "text", "text": told}]));
        Self { status: StatusCode::OK, content_type: JSON, body: Paced::new([message.to_string()], THINKING) }
    }

    fn error(status: StatusCode, kind: &str, message: &str) -> Self {
        let error = json!({"type": "error", "error": {"type": kind, "message": message}});
        Self { status, content_type: JSON, body: Paced::new([error.to_string()], NONE) }
    }
}

fn message(content: Value) -> Value {
    json!({
        "id": "msg_demo", "type": "message", "role": "assistant", "model": "demo-model",
        "content": content, "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

fn events(told: &str) -> Vec<String> {
    let delta = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let block = json!({"type": "text", "text": ""});
    let end =
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}});
    let mut events = vec![
        json!({"type": "message_start", "message": message(json!([]))}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        delta(told),
    ];
    events.extend([" one", " two", " three", " four", " five"].map(delta));
    events.extend([json!({"type": "content_block_stop", "index": 0}), end, json!({"type": "message_stop"})]);
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect()
}

/// A body that comes in parts, with a pause before each.
pub struct Paced {
    parts: VecDeque<Bytes>,
    pause: Duration,
    until: Pin<Box<Sleep>>,
}

impl Paced {
    fn new(parts: impl IntoIterator<Item = String>, pause: Duration) -> Self {
        let parts = parts.into_iter().map(Bytes::from).collect();
        Self { parts, pause, until: Box::pin(sleep(pause)) }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.parts.is_empty() {
            return Poll::Ready(None);
        }
        ready!(this.until.as_mut().poll(context));
        this.until = Box::pin(sleep(this.pause));
        Poll::Ready(this.parts.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }
}
