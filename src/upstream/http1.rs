//! One HTTP/1.1 connection: one request at a time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use qcc_fsm::Stamp;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::age::{self, Age};
use super::body::ReplayBody;
use super::connect::{ConnectError, Stream};
use super::connection::{SendError, Unsent};
use super::ending::{HandedOver, unless_ended};
use super::wire::{Admission, Gate, GuardedStream, History};
use crate::clock::Stopwatch;

/// How long a pooled connection may take to become ready once its last answer has been read.
const READY_WITHIN: Duration = Duration::from_millis(50);

/// How much of an answer is read at once, and how long its head may be: what a client that takes nothing holds.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Boxed once, since it is handed from pool to exchange and back with every request.
pub(super) struct Http1 {
    sender: SendRequest<ReplayBody>,
    /// Its other end is dropped once the connection is.
    ended: oneshot::Receiver<()>,
    gate: Arc<Gate>,
    age: Age,
    /// Since when it has been idle, if it is.
    idle: Stopwatch,
    idle_max: Duration,
    /// The proxy that reads our requests, where one does.
    reader: Option<Arc<str>>,
}

impl Http1 {
    pub(super) async fn open(
        stream: Stream,
        admission: Arc<dyn Admission>,
        reader: Option<Arc<str>>,
    ) -> Result<Box<Self>, ConnectError> {
        let gate = Arc::new(Gate::new(admission));
        let io = TokioIo::new(GuardedStream::new(stream, gate.clone()));
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(ConnectError::Handshake)?;
        // It ends by itself when the sender and the answer's body are gone: that is how a request is
        // cancelled. Its error reaches the exchange too, so nothing is lost here.
        let (alive, ended) = oneshot::channel();
        tokio::spawn(async move {
            let _ = connection.await;
            drop(alive);
        });
        let (age, idle) = (Age::new(), Stopwatch::start());
        Ok(Box::new(Self { sender, ended, gate, age, idle, idle_max: age::IDLE_MAX, reader }))
    }

    /// Begins to lie idle.
    pub(super) fn rest(&mut self) {
        self.idle = Stopwatch::start();
    }

    /// Whether it may be given another request, as far as its age and what hyper has heard tell.
    pub(super) fn is_fresh(&self) -> bool {
        self.idle.elapsed() < self.idle_max && !self.age.is_over() && !self.sender.is_closed()
    }

    /// Awaits that the last answer is out of the way; false when the connection is closed instead.
    pub(super) async fn becomes_ready(&mut self) -> bool {
        self.sender.is_ready() || matches!(timeout(READY_WITHIN, self.sender.ready()).await, Ok(Ok(())))
    }

    pub(super) async fn send(
        &mut self,
        request: Request<ReplayBody>,
        stamp: Stamp,
        history: History,
    ) -> Result<Response<Incoming>, SendError> {
        self.gate.arm(stamp, history);
        let mut sending = pin!(self.sender.try_send_request(request));
        let sent = match unless_ended(&mut sending, &mut self.ended).await {
            HandedOver::Told(sent) => sent,
            HandedOver::Untold if !self.gate.wrote() => return Err(SendError::Unsent(Unsent::NotTakenUp)),
            HandedOver::Untold => sending.await,
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(_) if self.gate.refused() => return Err(SendError::Refused),
            Err(error) if !self.gate.wrote() => {
                let error = error.into_error();
                return Err(SendError::Unsent(match history {
                    History::New => Unsent::Closed(error),
                    History::Kept => Unsent::Stale(error),
                }));
            }
            Err(error) => return Err(SendError::Lost(error.into_error())),
        };
        self.gate.note_answer();
        // To be passed on it would have to be asked for: what follows it is no HTTP.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Switched);
        }
        // Only a proxy says so (RFC 9110 §15.5.8), and it has passed nothing on.
        if let (Some(proxy), StatusCode::PROXY_AUTHENTICATION_REQUIRED) = (&self.reader, response.status()) {
            return Err(SendError::Unsent(Unsent::ByProxy(proxy.clone())));
        }
        self.idle_max = match settle_length(&mut response) {
            Lengths::Agree => age::idle_allowed(response.headers()),
            Lengths::Differ => Duration::ZERO,
        };
        Ok(response)
    }
}

/// What an answer's head says of its body's length.
enum Lengths {
    Agree,
    /// In two ways, of which the next reader may take the other one.
    Differ,
}

/// Leaves the one length in the head that the body is read by, so that nobody after us reads it by another one. An
/// upstream that says it in two ways is not trusted with another request on the connection (RFC 9112 §6.3).
fn settle_length(response: &mut Response<Incoming>) -> Lengths {
    let read_by = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let has_coding = headers.contains_key(TRANSFER_ENCODING);
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    let agrees = match (said.next(), said.next()) {
        (None, _) => true,
        (Some(length), None) => !has_coding && !length.as_bytes().contains(&b','),
        (Some(_), Some(_)) => false,
    };
    if agrees {
        return Lengths::Agree;
    }
    // Where there is no body, as after HEAD, the length may be that of another one.
    match read_by.filter(|&length| !has_coding && length > 0) {
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
    Lengths::Differ
}
