//! The three forms of a call, and the streams and errors of each.

use serde_json::{Value, json};

use super::support::{Answer, Recorded, llm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Messages,
    Chat,
    Responses,
}

pub const ALL: [Protocol; 3] = [Protocol::Messages, Protocol::Chat, Protocol::Responses];

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Whole,
    Streamed,
}

pub const BOTH: [Mode; 2] = [Mode::Whole, Mode::Streamed];

impl Mode {
    pub fn of(request: &Recorded) -> Self {
        if request.json()["stream"] == true { Self::Streamed } else { Self::Whole }
    }
}

impl Protocol {
    pub fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
        }
    }

    pub fn is_openai(self) -> bool {
        self != Self::Messages
    }

    pub fn request(self, marker: &str, mode: Mode) -> Value {
        let request = match self {
            Self::Messages => llm::message(marker),
            Self::Chat => llm::chat(marker),
            Self::Responses => llm::response(marker),
        };
        match mode {
            Mode::Whole => request,
            Mode::Streamed => llm::streamed(request),
        }
    }

    /// A whole answer.
    pub fn answer(self, text: &str) -> Value {
        match self {
            Self::Messages => llm::message_answer(text),
            Self::Chat => llm::chat_answer(text),
            Self::Responses => llm::response_answer(text),
        }
    }

    /// A stream as its events, one delta a piece.
    pub fn events(self, pieces: &[&str]) -> Vec<String> {
        match self {
            Self::Messages => llm::message_events(pieces),
            Self::Chat => llm::chat_events(pieces),
            Self::Responses => {
                let mut events = llm::response_events(pieces);
                let item = json!({"id": "msg_test", "type": "message", "role": "assistant",
                                  "status": "in_progress", "content": []});
                let added = json!({"type": "response.output_item.added", "output_index": 0, "item": item});
                events.insert(1, typed("response.output_item.added", &added));
                events
            }
        }
    }

    /// Events before the first that carries output.
    pub fn events_before_content(self) -> usize {
        match self {
            Self::Messages => llm::EVENTS_BEFORE_CONTENT,
            Self::Chat => 1,
            Self::Responses => 2,
        }
    }

    /// An answer in the form that was asked for.
    pub fn well(self, mode: Mode, text: &str) -> Answer {
        match mode {
            Mode::Whole => Answer::json(200, &self.answer(text)),
            Mode::Streamed => Answer::events(self.events(&[text])),
        }
    }

    /// The body of that answer.
    pub fn well_body(self, mode: Mode, text: &str) -> Vec<u8> {
        match mode {
            Mode::Whole => self.answer(text).to_string().into_bytes(),
            Mode::Streamed => self.events(&[text]).concat().into_bytes(),
        }
    }

    /// An error body in the vendor's shape; `kind` is Anthropic's type or OpenAI's code.
    pub fn error(self, kind: &str, message: &str) -> Value {
        match self {
            Self::Messages => llm::anthropic_error(kind, message),
            Self::Chat | Self::Responses => {
                json!({"error": {"message": message, "type": "requests", "param": null, "code": kind}})
            }
        }
    }

    /// The same as an event of a stream.
    pub fn error_event(self, kind: &str, message: &str) -> String {
        match self {
            Self::Messages => typed("error", &self.error(kind, message)),
            Self::Chat => format!("data: {}\n\n", self.error(kind, message)),
            Self::Responses => {
                let mut response = llm::response_answer("");
                response["status"] = "failed".into();
                response["output"] = json!([]);
                response["error"] = json!({"code": kind, "message": message});
                typed("response.failed", &json!({"type": "response.failed", "response": response}))
            }
        }
    }

    /// The name of an overload in this protocol.
    pub fn overload(self) -> &'static str {
        match self {
            Self::Messages => "overloaded_error",
            Self::Chat | Self::Responses => "server_is_overloaded",
        }
    }
}

fn typed(name: &str, event: &Value) -> String {
    format!("event: {name}\ndata: {event}\n\n")
}
