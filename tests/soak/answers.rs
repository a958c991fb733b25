//! What the endpoints answer. Each part of an answer says whose it is, so that a client can tell an answer
//! that is whole from one that is not, and one endpoint's from another's.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::schedule::Kind;
use super::support::http::{Head, chunk};
use super::support::llm;
use super::upstream::{After, Fault, Script};

/// What stands before a request's number in its body or its query.
pub const REQUEST_MARK: &str = "soak-";
const PART_MARK: &str = "[part ";

/// One part of an answer: of which request, by which endpoint, which of how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub id: u64,
    pub endpoint: String,
    pub number: usize,
    pub count: usize,
}

impl Part {
    fn text(&self, padding: usize) -> String {
        let Part { id, endpoint, number, count } = self;
        format!("{PART_MARK}{id} {endpoint} {number} {count}]{}", "x".repeat(padding))
    }

    /// All parts that stand in a text.
    pub fn all_in(text: &str) -> Vec<Part> {
        let after_marks = text.split(PART_MARK).skip(1);
        let words = after_marks.filter_map(|rest| Some(rest.split_once(']')?.0.split(' ')));
        let parts = words.filter_map(|mut words| {
            Some(Part {
                id: words.next()?.parse().ok()?,
                endpoint: words.next()?.to_owned(),
                number: words.next()?.parse().ok()?,
                count: words.next()?.parse().ok()?,
            })
        });
        parts.collect()
    }
}

/// What a request asks for.
pub struct Asked {
    /// None for a check of the program's own.
    pub id: Option<u64>,
    pub kind: Option<Kind>,
    body: Value,
}

impl Asked {
    pub fn read(head: &Head, body: &[u8]) -> Self {
        let target = head.start_line.split(' ').nth(1).unwrap_or("").to_owned();
        let path = target.split('?').next().unwrap_or("");
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let streams = body["stream"] == true;
        let kind = match path {
            "/v1/messages" if streams => Some(Kind::MessagesStream),
            "/v1/messages" => Some(Kind::Messages),
            "/v1/chat/completions" if streams => Some(Kind::ChatStream),
            "/v1/chat/completions" => Some(Kind::Chat),
            "/v1/responses" if streams => Some(Kind::ResponsesStream),
            "/v1/responses" => Some(Kind::Responses),
            "/v1/messages/count_tokens" => Some(Kind::CountTokens),
            "/v1/models" => Some(Kind::Models),
            _ => None,
        };
        let text = format!("{target} {}", llm::last_user_text(&body));
        let id = text.split(REQUEST_MARK).nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
        Self { id, kind, body }
    }
}

/// What an endpoint with this fault does about a request.
pub fn script(fault: Fault, asked: &Asked, endpoint: &str, rng: &mut Rng) -> Script {
    let is_light = asked.kind.is_none_or(Kind::is_light);
    match fault {
        Fault::None | Fault::Down => good(asked, endpoint, rng),
        Fault::RefusesKey => refusal(401, &[]),
        Fault::RateLimits => refusal(429, &["retry-after: 1"]),
        Fault::Fails => refusal(if rng.bool() { 500 } else { 503 }, &[]),
        Fault::Overloaded => refusal(529, &[]),
        Fault::Redirects => refusal(307, &["location: http://127.0.0.1:9/"]),
        Fault::Hangs => Script { sent: 0, after: After::Hang, ..good(asked, endpoint, rng) },
        Fault::CutsAtAnyByte => {
            let whole = good(asked, endpoint, rng);
            Script { sent: rng.usize(..whole.wire.len()), after: After::Close, ..whole }
        }
        Fault::ResetsAtAnyByte => {
            let whole = good(asked, endpoint, rng);
            Script { sent: rng.usize(..whole.wire.len()), after: After::Reset, ..whole }
        }
        Fault::Trickles => {
            let whole = good(asked, endpoint, rng);
            // In about 100 pieces, within half a second.
            Script { piece: whole.wire.len() / 100 + 1, pause: Duration::from_millis(4), ..whole }
        }
        // Of what no model works on the proxy does not judge the shape.
        Fault::Garbage if is_light => refusal(500, &[]),
        Fault::Garbage => match rng.u8(..3) {
            0 => failure(200, "text/html", &[], "<html>welcome</html>"),
            1 => failure(200, "application/json", &[], ""),
            _ => failure(200, "application/json", &[], "<html>welcome</html>"),
        },
        Fault::NotHttp => {
            let wire = b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec();
            Script { after: After::Close, ..at_once(wire.len(), wire) }
        }
        Fault::ClosesAfterAnswer => Script { after: After::Close, ..good(asked, endpoint, rng) },
        Fault::AnnouncesTooMuch => announcing_too_much(asked, endpoint, rng),
        Fault::SendsMoreThanAnnounced => {
            let whole = good(asked, endpoint, rng);
            // An answer that nobody asked for, which would pass for one to whatever is asked next.
            let part = Part { id: 0, endpoint: "unasked".into(), number: 0, count: 1 };
            let body = llm::message_answer(&part.text(0)).to_string();
            let wire =
                [whole.wire, head(200, "application/json", &[], Some(body.len())), body.into()].concat();
            Script { sent: wire.len(), piece: wire.len(), pause: Duration::ZERO, wire, ..whole }
        }
    }
}

fn head(status: u16, kind: &str, lines: &[&str], length: Option<usize>) -> Vec<u8> {
    let framing = match length {
        Some(length) => format!("content-length: {length}"),
        None => "transfer-encoding: chunked".to_owned(),
    };
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\n{framing}\r\n");
    lines.iter().for_each(|line| text += &format!("{line}\r\n"));
    (text + "\r\n").into_bytes()
}

fn refusal(status: u16, lines: &[&str]) -> Script {
    let body = llm::anthropic_error("api_error", &format!("the endpoint says {status}"));
    failure(status, "application/json", lines, &body.to_string())
}

fn failure(status: u16, kind: &str, lines: &[&str], body: &str) -> Script {
    let wire = [head(status, kind, lines, Some(body.len())), body.into()].concat();
    Script { is_failure: true, ..at_once(wire.len(), wire) }
}

/// A whole answer, of which nothing is shown before the byte at `content`.
fn at_once(content: usize, wire: Vec<u8>) -> Script {
    Script {
        content: (content, wire.len()),
        sent: wire.len(),
        piece: wire.len().max(1),
        pause: Duration::ZERO,
        after: After::Keep,
        is_failure: false,
        wire,
    }
}

fn good(asked: &Asked, endpoint: &str, rng: &mut Rng) -> Script {
    let whole = |body: Value| {
        let body = body.to_string();
        let head = head(200, "application/json", &[], Some(body.len()));
        at_once(head.len(), [head, body.into()].concat())
    };
    let (Some(id), Some(kind)) = (asked.id, asked.kind) else {
        // A check, which may hold a code to be repeated.
        return whole(match asked.kind {
            Some(Kind::Models) => llm::model_list(),
            Some(Kind::Chat) => llm::chat_answer(&llm::codes_in(&llm::last_user_text(&asked.body))),
            Some(Kind::Responses) => llm::response_answer(&llm::codes_in(&llm::last_user_text(&asked.body))),
            Some(
                Kind::Messages
                | Kind::MessagesStream
                | Kind::ChatStream
                | Kind::ResponsesStream
                | Kind::CountTokens,
            )
            | None => llm::message_answer(&llm::codes_in(&llm::last_user_text(&asked.body))),
        });
    };
    let part = |number, count| Part { id, endpoint: endpoint.into(), number, count };
    if kind.is_stream() {
        return stream(kind, part, rng);
    }
    let text = part(0, 1).text(if rng.u8(..10) == 0 { rng.usize(..300_000) } else { rng.usize(..3_000) });
    whole(match kind {
        Kind::Chat | Kind::ChatStream => llm::chat_answer(&text),
        Kind::Responses | Kind::ResponsesStream => llm::response_answer(&text),
        Kind::Messages | Kind::MessagesStream => llm::message_answer(&text),
        Kind::CountTokens => json!({"input_tokens": 7, "by": part(0, 1).text(0)}),
        Kind::Models => {
            let mut list = llm::model_list();
            list["by"] = part(0, 1).text(0).into();
            list
        }
    })
}

fn stream(kind: Kind, part: impl Fn(usize, usize) -> Part, rng: &mut Rng) -> Script {
    let is_large = rng.u8(..10) == 0;
    let count = rng.usize(1..=if is_large { 200 } else { 40 });
    let padding = if is_large { 4_000 } else { 200 };
    let texts: Vec<String> =
        (0..count).map(|number| part(number, count).text(rng.usize(..padding))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let events = match kind {
        Kind::ChatStream | Kind::Chat => llm::chat_events(&texts),
        Kind::ResponsesStream | Kind::Responses => llm::response_events(&texts),
        Kind::MessagesStream | Kind::Messages | Kind::CountTokens | Kind::Models => {
            llm::message_events(&texts)
        }
    };
    let mut wire = head(200, "text/event-stream", &[], None);
    let mut content = None;
    for event in events {
        let start = wire.len();
        wire.extend_from_slice(&chunk(event.as_bytes()));
        if content.is_none() && event.contains(PART_MARK) {
            content = Some((start, wire.len()));
        }
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let (piece, pause) = match rng.u8(..3) {
        0 => (wire.len(), Duration::ZERO),
        _ => (rng.usize(64..4_096), Duration::from_millis(2)),
    };
    let content = content.expect("a stream has content");
    Script { content, piece, pause, ..at_once(wire.len(), wire) }
}

/// More is announced than comes, then the connection ends.
fn announcing_too_much(asked: &Asked, endpoint: &str, rng: &mut Rng) -> Script {
    let whole = good(asked, endpoint, rng);
    let (known, length) = Head::parse(&whole.wire).expect("an answer has a head");
    let body = &whole.wire[length..];
    let (kind, body) = match known.header("content-length") {
        Some(_) => ("application/json", body.to_vec()),
        None => ("text/event-stream", super::support::http::dechunk(body).body),
    };
    let head = head(200, kind, &[], Some(body.len() + 100));
    // All of it may have been shown, the last event of a stream included.
    let content = (head.len(), usize::MAX);
    let wire = [head, body].concat();
    Script { content, after: After::Close, ..at_once(0, wire) }
}
