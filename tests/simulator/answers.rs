//! What upstreams say: answers of which every byte tells whose they are.

use crate::dial::header;
use crate::mood::{Plan, When};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Stream,
    Whole,
    Count,
    Models,
    /// A check for its list of models, or for any answer.
    ListCheck,
    /// A chat check, with its code.
    ChatCheck(String),
}

impl Ask {
    pub fn of(head: &str, body: &[u8]) -> Self {
        let is_user = header(head, "x-sim-request").is_some();
        let body = String::from_utf8_lossy(body);
        match (is_user, head.starts_with("GET ")) {
            (true, true) => Self::Models,
            (false, true) => Self::ListCheck,
            (true, false) if head.contains("/count_tokens") => Self::Count,
            (true, false) if body.contains("\"stream\":true") => Self::Stream,
            (true, false) => Self::Whole,
            (false, false) => {
                let code = body.split("nothing else: ").nth(1).unwrap_or_default();
                Self::ChatCheck(code.chars().take(6).collect())
            }
        }
    }

    fn makes_work(&self) -> bool {
        matches!(self, Self::Stream | Self::Whole | Self::ChatCheck(_))
    }
}

/// An answer, ready to be sent.
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// The body in the pieces in which it is sent.
    pub pieces: Vec<Vec<u8>>,
    is_chunked: bool,
    /// The piece with which the content begins; none where there is none.
    pub content: Option<usize>,
}

impl Answer {
    pub fn to(ask: &Ask, plan: Plan, exchange: usize, words: usize, has_model_list: bool) -> Self {
        let id = format!("x{exchange}");
        if *ask == Ask::ListCheck && !has_model_list && plan.weight() < 15 {
            return error(404, "not_found_error", "no such path", exchange, &[]);
        }
        match plan {
            Plan::KeyRefused => error(401, "authentication_error", "invalid x-api-key", exchange, &[]),
            Plan::Forbidden => error(403, "permission_error", "not for this key", exchange, &[]),
            Plan::NoMoney => error(402, "billing_error", "nothing left", exchange, &[]),
            Plan::SpendLimit => {
                error(429, "rate_limit_error", "your credit balance is too low", exchange, &[])
            }
            Plan::RateLimited(None) => error(429, "rate_limit_error", "slow down", exchange, &[]),
            Plan::RateLimited(Some(secs)) => {
                let wait = format!("retry-after: {secs}");
                error(429, "rate_limit_error", "slow down", exchange, &[&wait])
            }
            Plan::Overloaded => error(529, "overloaded_error", "overloaded", exchange, &[]),
            Plan::Busy(secs) => error(503, "api_error", "busy", exchange, &[&format!("retry-after: {secs}")]),
            Plan::ServerError(status) => error(status, "api_error", "it broke", exchange, &[]),
            Plan::BadRequest => error(400, "invalid_request_error", "no such field", exchange, &[]),
            Plan::UnknownModel => error(404, "not_found_error", "model: claude-x", exchange, &[]),
            Plan::Page => whole("text/html", format!("<html>{id}</html>"), exchange, None),
            Plan::Nothing => whole("application/json", String::new(), exchange, None),
            Plan::ErrorBody => error(200, "api_error", "it broke", exchange, &[]),
            Plan::Liar if ask.makes_work() => {
                let text = format!("{{\"error\":{{\"type\":\"api_error\",\"message\":\"call us {id}\"}}}}");
                whole("application/json", text, exchange, None)
            }
            Plan::Good
            | Plan::Slow
            | Plan::Liar
            | Plan::ErrorEvent(_)
            | Plan::Unfinished(_)
            | Plan::CutBeforeHead(_)
            | Plan::Cut(..)
            | Plan::Hang
            | Plan::Stall(_) => good(ask, plan, exchange, words),
        }
    }

    /// All of it as it goes over the wire, in pieces; the head is the first one.
    pub fn on_wire(&self) -> Vec<Vec<u8>> {
        let mut wire = vec![self.head.clone().into_bytes()];
        for piece in &self.pieces {
            wire.push(match self.is_chunked {
                true => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                false => piece.clone(),
            });
        }
        if self.is_chunked {
            wire.push(b"0\r\n\r\n".to_vec());
        }
        wire
    }

    pub fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

fn head(status: u16, kind: &str, exchange: usize, framing: &str, more: &[&str]) -> String {
    let mut head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nx-sim-exchange: {exchange}\r\n{framing}\r\n");
    for line in more {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

fn error(status: u16, kind: &str, message: &str, exchange: usize, more: &[&str]) -> Answer {
    let body = format!(
        "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"{message}\"}},\"request_id\":\"x{exchange}\"}}"
    );
    let length = format!("content-length: {}", body.len());
    let head = head(status, "application/json", exchange, &length, more);
    Answer { status, head, pieces: vec![body.into_bytes()], is_chunked: false, content: None }
}

fn whole(kind: &str, body: String, exchange: usize, content: Option<usize>) -> Answer {
    let length = format!("content-length: {}", body.len());
    let head = head(200, kind, exchange, &length, &[]);
    // In pieces, as a network may deliver it.
    let pieces = body.as_bytes().chunks(100).map(<[u8]>::to_vec).collect();
    Answer { status: 200, head, pieces, is_chunked: false, content }
}

fn good(ask: &Ask, plan: Plan, exchange: usize, words: usize) -> Answer {
    let texts: Vec<String> = (0..words).map(|word| format!("<x{exchange} {word}/{words}>")).collect();
    let message = |text: &str| {
        format!(
            "{{\"id\":\"x{exchange}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"stop_reason\":\"end_turn\"}}"
        )
    };
    let json = "application/json";
    match ask {
        Ask::Stream => stream(&texts, plan, exchange),
        Ask::Whole => whole(json, message(&texts.concat()), exchange, None),
        Ask::ChatCheck(code) => whole(json, message(&format!("It is {code}.")), exchange, None),
        Ask::Count => whole(json, format!("{{\"input_tokens\":{exchange}}}"), exchange, None),
        Ask::Models | Ask::ListCheck => {
            whole(json, format!("{{\"data\":[{{\"id\":\"claude-x{exchange}\"}}]}}"), exchange, None)
        }
    }
}

fn stream(texts: &[String], plan: Plan, exchange: usize) -> Answer {
    let event = |name: &str, data: String| format!("event: {name}\ndata: {data}\n\n").into_bytes();
    let mut pieces = vec![
        event(
            "message_start",
            format!(
                "{{\"type\":\"message_start\",\"message\":{{\"id\":\"x{exchange}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}}}}"
            ),
        ),
        event(
            "content_block_start",
            "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"
                .to_owned(),
        ),
    ];
    let error = event(
        "error",
        "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"}}".to_owned(),
    );
    let content = pieces.len();
    let early = matches!(plan, Plan::ErrorEvent(When::BeforeContent) | Plan::Unfinished(When::BeforeContent));
    if !early {
        pieces.extend(texts.iter().map(|text| {
            event(
                "content_block_delta",
                format!(
                    "{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}"
                ),
            )
        }));
    }
    match plan {
        Plan::ErrorEvent(_) => pieces.push(error),
        Plan::Unfinished(_) => {}
        _ => {
            pieces.push(event(
                "content_block_stop",
                "{\"type\":\"content_block_stop\",\"index\":0}".to_owned(),
            ));
            pieces.push(event(
                "message_delta",
                "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}"
                    .to_owned(),
            ));
            pieces.push(event("message_stop", "{\"type\":\"message_stop\"}".to_owned()));
        }
    }
    let head = head(200, "text/event-stream", exchange, "transfer-encoding: chunked", &[]);
    Answer { status: 200, head, pieces, is_chunked: true, content: (!early).then_some(content) }
}
