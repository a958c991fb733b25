//! A simulated endpoint: an HTTP server that keeps a record of all that it receives.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::replies::{Paced, Reply};

/// The header by which a client's request is told from a check: its number.
pub const REQUEST_NUMBER: &str = "x-demo-request";
/// Whether the status said that dead-key is down when the client sent the request: `yes` or `no`.
pub const REFUSAL_KNOWN: &str = "x-demo-refusal-known";

/// Before a refusal: time for others to be on their way to the same endpoint, which is the race.
const LOOKING_UP_A_KEY: Duration = Duration::from_millis(10);

/// What an endpoint is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Good,
    DeadKey,
    Flaky,
    Relay,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Good, Self::DeadKey, Self::Flaky, Self::Relay];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::DeadKey => "dead-key",
            Self::Flaky => "flaky",
            Self::Relay => "relay",
        }
    }
}

/// Something that an endpoint received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub what: Asked,
    pub status: u16,
    /// When its head arrived and when its answer was ready, by the one count of all endpoints.
    pub arrived: u64,
    pub answered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By the prober.
    ModelList,
    /// A chat by the prober.
    ChatCheck,
    /// A client's request.
    Chat(Knowledge),
}

/// What the proxy's status said when a client sent its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    RefusalUnknown,
    RefusalKnown,
}

impl Knowledge {
    /// In the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefusalUnknown => "no",
            Self::RefusalKnown => "yes",
        }
    }
}

/// An endpoint on a port of this machine.
pub struct Simulated {
    pub role: Role,
    pub address: SocketAddr,
    mind: Arc<Mind>,
}

struct Mind {
    role: Role,
    sequence: Arc<AtomicU64>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    received: Vec<Received>,
    /// Of dead-key: it refuses everything from its first refusal on.
    has_refused: bool,
    /// Of flaky: it fails until it has failed a check.
    has_failed_a_check: bool,
}

impl Simulated {
    pub async fn start(role: Role, sequence: Arc<AtomicU64>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mind = Arc::new(Mind { role, sequence, memory: Mutex::default() });
        tokio::spawn(accept(listener, mind.clone()));
        Ok(Self { role, address, mind })
    }

    /// All that it received so far.
    pub fn received(&self) -> Vec<Received> {
        self.mind.memory().received.clone()
    }
}

async fn accept(listener: TcpListener, mind: Arc<Mind>) {
    // An endpoint that takes no more connections shows as one that failed.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, mind.clone()));
    }
}

async fn serve(stream: TcpStream, mind: Arc<Mind>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let mind = mind.clone();
        async move { Ok::<_, Infallible>(mind.answer(request).await) }
    });
    // The proxy may close a connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Mind {
    async fn answer(&self, request: Request<Incoming>) -> Response<Paced> {
        let arrived = self.sequence.fetch_add(1, Ordering::Relaxed);
        let what = asked(request.uri().path(), request.headers());
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if self.role == Role::DeadKey && matches!(what, Asked::Chat(_)) {
            sleep(LOOKING_UP_A_KEY).await;
        }
        let reply = self.decide(what, &body);
        let status = reply.status.as_u16();
        let answered = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.memory().received.push(Received { what, status, arrived, answered });
        response(reply)
    }

    fn decide(&self, what: Asked, body: &[u8]) -> Reply {
        let mut memory = self.memory();
        match (self.role, what) {
            (Role::DeadKey, Asked::ChatCheck | Asked::Chat(_)) => {
                memory.has_refused = true;
                Reply::refused_key()
            }
            (Role::DeadKey, Asked::ModelList) if memory.has_refused => Reply::refused_key(),
            (Role::Flaky, Asked::ChatCheck) if !memory.has_failed_a_check => {
                memory.has_failed_a_check = true;
                Reply::failure()
            }
            (Role::Flaky, Asked::Chat(_)) if !memory.has_failed_a_check => Reply::failure(),
            (Role::Good | Role::DeadKey | Role::Flaky | Role::Relay, Asked::ModelList) => Reply::models(),
            (Role::Good | Role::Flaky | Role::Relay, Asked::ChatCheck | Asked::Chat(_)) => {
                Reply::to_chat(body)
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change of it is one step.
        self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn asked(path: &str, headers: &HeaderMap) -> Asked {
    if path == "/v1/models" {
        return Asked::ModelList;
    }
    if !headers.contains_key(REQUEST_NUMBER) {
        return Asked::ChatCheck;
    }
    // What a client doesn't say is counted against the promise.
    let is_unknown =
        headers.get(REFUSAL_KNOWN).is_some_and(|known| known == Knowledge::RefusalUnknown.as_str());
    Asked::Chat(if is_unknown { Knowledge::RefusalUnknown } else { Knowledge::RefusalKnown })
}

fn response(reply: Reply) -> Response<Paced> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if reply.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}
