//! Clients, each with its manner, and what they can tell of an answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::answers::{Part, REQUEST_MARK};
use super::ledger::World;
use super::schedule::{Kind, Manner, Order};
use super::support::http::{Framing, Head, dechunk};
use super::support::llm;

/// Longer than any way through the endpoints may take, all time limits together.
const CLIENT_LIMIT: Duration = Duration::from_secs(60);
/// Idle connections kept for the next request.
const KEPT_MAX: usize = 32;

pub struct Clients {
    address: SocketAddr,
    token: String,
    world: Arc<World>,
    /// With the request that each served last.
    kept: Mutex<Vec<(TcpStream, u64)>>,
    /// Times to the head of answers that were complete.
    heads: Mutex<Vec<Duration>>,
}

/// What came of a request, as its client tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All of it, well-formed.
    Complete,
    /// A refusal, by the proxy or an endpoint.
    Refused(u16),
    /// The connection broke, so that the client knows.
    Aborted,
    /// The client left.
    Left,
}

impl Clients {
    pub fn new(address: SocketAddr, token: &str, world: &Arc<World>) -> Self {
        let (kept, heads) = (Mutex::default(), Mutex::default());
        Self { address, token: token.into(), world: world.clone(), kept, heads }
    }

    pub fn hang_up(&self) {
        self.kept.lock().unwrap().clear();
    }

    /// The times to the head, sorted.
    pub fn times(&self) -> Vec<Duration> {
        let mut times = self.heads.lock().unwrap().clone();
        times.sort_unstable();
        times
    }

    /// Sends it, and tells what came of it; what must not be is a violation.
    pub async fn ask(&self, order: Order) -> Option<Told> {
        let told = match timeout(CLIENT_LIMIT, self.exchange(&order)).await {
            Err(_) => Err(format!("no end within {CLIENT_LIMIT:?}")),
            Ok(told) => told,
        };
        self.world.client_gone(order.id);
        match told {
            Ok(told) => {
                self.world.count(match &told {
                    Told::Refused(status) => format!("told {status}"),
                    Told::Complete | Told::Aborted | Told::Left => format!("told {told:?}"),
                });
                Some(told)
            }
            Err(why) => {
                let taken = self.world.taken(order.id);
                self.world.violation(format!("{order:?}: {why}; taken as {taken:?}"));
                None
            }
        }
    }

    async fn exchange(&self, order: &Order) -> Result<Told, String> {
        let request = self.request(order);
        let kept = order.reuses_connection.then(|| self.kept.lock().unwrap().pop()).flatten();
        let (mut stream, earlier) = match kept {
            Some((stream, earlier)) => (stream, Some(earlier)),
            None => (self.connect(order.manner).await?, None),
        };
        let begun = Instant::now();
        if let Manner::LeavesSending(length) = order.manner {
            let _ = stream.write_all(&request[..length.min(request.len() - 1)]).await;
            return Ok(Told::Left);
        }
        if let Err(error) = stream.write_all(&request).await {
            return Err(format!("the request could not be sent: {error}"));
        }
        let answer = match order.manner {
            Manner::LeavesAfter(patience) => {
                match timeout(patience, read(&mut stream, order.manner, begun)).await {
                    Ok(answer) => answer,
                    Err(_) => return Ok(Told::Left),
                }
            }
            Manner::LeavesAtByte(_) | Manner::LeavesSending(_) | Manner::Patient | Manner::Slow => {
                read(&mut stream, order.manner, begun).await
            }
        };
        let after = |why: String| match earlier {
            Some(earlier) => format!("{why}; its connection served request {earlier} before"),
            None => why,
        };
        let Some(answer) = answer.map_err(after)? else { return Ok(Told::Left) };
        let told = answer.told(order).map_err(after)?;
        if told == Told::Complete {
            self.heads.lock().unwrap().push(answer.to_head);
        }
        let mut kept = self.kept.lock().unwrap();
        if told != Told::Aborted
            && order.manner != Manner::Slow
            && answer.keeps_connection()
            && kept.len() < KEPT_MAX
        {
            kept.push((stream, order.id));
        }
        Ok(told)
    }

    async fn connect(&self, manner: Manner) -> Result<TcpStream, String> {
        let socket = TcpSocket::new_v4().unwrap();
        if manner == Manner::Slow {
            socket.set_recv_buffer_size(4_096).unwrap();
        }
        let stream = socket.connect(self.address).await.map_err(|error| format!("refused: {error}"))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn request(&self, order: &Order) -> Vec<u8> {
        let Order { id, kind, session, padding, .. } = order;
        let marker = format!("{REQUEST_MARK}{id}. {}", "p".repeat(*padding));
        let (path, body) = match kind {
            Kind::Messages => ("/v1/messages?beta=true", llm::message(&marker)),
            Kind::MessagesStream => ("/v1/messages", llm::streamed(llm::message(&marker))),
            Kind::Chat => ("/v1/chat/completions", llm::chat(&marker)),
            Kind::ChatStream => ("/v1/chat/completions", llm::streamed(llm::chat(&marker))),
            Kind::Responses => ("/v1/responses", llm::response(&marker)),
            Kind::ResponsesStream => ("/v1/responses", llm::streamed(llm::response(&marker))),
            Kind::CountTokens => ("/v1/messages/count_tokens", llm::message(&marker)),
            Kind::Models => ("/v1/models", Value::Null),
        };
        let credential = match id % 2 {
            0 => format!("x-api-key: {}", self.token),
            _ => format!("authorization: Bearer {}", self.token),
        };
        let mut head = if *kind == Kind::Models {
            format!("GET {path}?{REQUEST_MARK}{id}. HTTP/1.1\r\n")
        } else {
            format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n")
        };
        head += &format!("host: {}\r\n{credential}\r\n", self.address);
        if let Some(session) = session {
            head += &format!("x-claude-code-session-id: session-{session}\r\n");
        }
        if *kind == Kind::Models {
            return (head + "\r\n").into_bytes();
        }
        let body = body.to_string();
        (head + &format!("content-length: {}\r\n\r\n{body}", body.len())).into_bytes()
    }
}

struct Answer {
    head: Head,
    body: Vec<u8>,
    is_whole: bool,
    to_head: Duration,
}

/// None when the client left on its own.
async fn read(stream: &mut TcpStream, manner: Manner, begun: Instant) -> Result<Option<Answer>, String> {
    let leaves_at = if let Manner::LeavesAtByte(bytes) = manner { bytes } else { usize::MAX };
    let (mut unread, mut known): (Vec<u8>, Option<(Head, usize, Duration)>) = (Vec::new(), None);
    let mut piece = vec![0; if manner == Manner::Slow { 2_048 } else { 65_536 }];
    loop {
        if known.is_none() {
            known = Head::parse(&unread).map(|(head, length)| (head, length, begun.elapsed()));
        }
        if let Some((head, length, to_head)) = &known
            && let Some(body) = whole_body(head, &unread[*length..])?
        {
            return Ok(Some(Answer { head: head.clone(), body, is_whole: true, to_head: *to_head }));
        }
        if unread.len() >= leaves_at {
            return Ok(None);
        }
        // Slow only for so long that the rest is the same.
        if manner == Manner::Slow && unread.len() < 100_000 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => unread.extend_from_slice(&piece[..length]),
            ended @ (Ok(0) | Err(_)) => {
                let Some((head, length, to_head)) = known else {
                    return Err(format!("the connection ended without an answer ({ended:?}), {unread:?}"));
                };
                let rest = &unread[length..];
                let body =
                    if head.framing() == Framing::Chunked { dechunk(rest).body } else { rest.to_vec() };
                return Ok(Some(Answer { head, body, is_whole: false, to_head }));
            }
        }
    }
}

/// The body, once it is complete as HTTP says. What comes after it was sent to nobody.
fn whole_body(head: &Head, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (body, length) = match head.framing() {
        Framing::Length(length) if bytes.len() >= length => (bytes[..length].to_vec(), length),
        Framing::Chunked if bytes.ends_with(b"\r\n0\r\n\r\n") || bytes.starts_with(b"0\r\n\r\n") => {
            let decoded = dechunk(bytes);
            if !decoded.complete {
                return Ok(None);
            }
            (decoded.body, decoded.consumed)
        }
        Framing::Length(_) | Framing::Chunked => return Ok(None),
        Framing::None => return Err("an answer without a length".into()),
    };
    if bytes.len() > length {
        return Err(format!("{} bytes after the answer", bytes.len() - length));
    }
    Ok(Some(body))
}

impl Answer {
    fn keeps_connection(&self) -> bool {
        self.is_whole
            && !self.head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn told(&self, order: &Order) -> Result<Told, String> {
        let status = self.head.status();
        let text = String::from_utf8_lossy(&self.body);
        self.check_parts(order, &Part::all_in(&text))?;
        if status != 200 {
            let allowed = [307, 403, 429, 500, 502, 503, 529];
            if !allowed.contains(&status) || self.head.header("location").is_some() {
                return Err(format!("{:?}: {text}", self.head));
            }
            return Ok(if self.is_whole { Told::Refused(status) } else { Told::Aborted });
        }
        let is_complete =
            if order.kind.is_stream() { is_whole_stream(order.kind, &text) } else { is_whole_text(&text) };
        match (self.is_whole, is_complete) {
            (true, true) => Ok(Told::Complete),
            (true, false) => {
                Err(format!("an answer that looks complete and is not: {:?} {text:?}", self.head))
            }
            (false, _) => Ok(Told::Aborted),
        }
    }

    /// Every part is of this request, and all are by the endpoint that the head names.
    fn check_parts(&self, order: &Order, parts: &[Part]) -> Result<(), String> {
        let mut endpoints: BTreeSet<&str> = parts.iter().map(|part| part.endpoint.as_str()).collect();
        if !parts.is_empty() {
            endpoints.extend(self.head.header("x-qcc-endpoint"));
        }
        if endpoints.len() > 1 || parts.iter().any(|part| part.id != order.id) {
            return Err(format!("parts of other answers: {:?} {parts:?}", self.head));
        }
        Ok(())
    }
}

/// All parts in their order, and none twice.
fn are_in_order(parts: &[Part]) -> bool {
    let count = parts.first().map_or(0, |part| part.count);
    count > 0 && parts.len() == count && parts.iter().enumerate().all(|(number, part)| part.number == number)
}

fn is_whole_text(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok() && are_in_order(&Part::all_in(text))
}

fn is_whole_stream(kind: Kind, text: &str) -> bool {
    let mut parts = Vec::new();
    let mut last = String::new();
    for event in text.split_terminator("\n\n") {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or("");
        if data == "[DONE]" {
            last = data.into();
            continue;
        }
        let Ok(data) = serde_json::from_str::<Value>(data) else { return false };
        last = data["type"].as_str().unwrap_or("").to_owned();
        let delta = match kind {
            Kind::ChatStream => &data["choices"][0]["delta"]["content"],
            Kind::ResponsesStream if last == "response.output_text.delta" => &data["delta"],
            Kind::MessagesStream => &data["delta"]["text"],
            Kind::ResponsesStream
            | Kind::Messages
            | Kind::Chat
            | Kind::Responses
            | Kind::CountTokens
            | Kind::Models => &Value::Null,
        };
        parts.extend(Part::all_in(delta.as_str().unwrap_or("")));
    }
    ["message_stop", "[DONE]", "response.completed"].contains(&last.as_str()) && are_in_order(&parts)
}
