//! Connections kept for the next request, and the exchange over one.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use qcc_fsm::Stamp;
use tokio::time::{Instant, timeout};

use super::body::ReplayBody;
use super::connect::{ConnectError, Stream};
use super::wire::{Admission, Gate, GatedStream};

/// How many idle connections an endpoint keeps.
const IDLE_MAX: usize = 512;
/// How long a connection may lie idle: below the keep-alive time of common servers (60–75 s), so that
/// it is rarely the upstream that closes first.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);
/// How long a pooled connection may take to become ready once its last answer has been read.
const READY_WITHIN: Duration = Duration::from_millis(50);

/// The idle connections of an endpoint, the most recently used on top.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<ReplayBody>,
    gate: Arc<Gate>,
    since: Instant,
}

impl Pool {
    pub(super) async fn take(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let Idle { mut sender, gate, since } = self.lock().pop()?;
            let fresh = since.elapsed() < IDLE_AGE_MAX && !sender.is_closed();
            let ready = sender.is_ready() || (fresh && becomes_ready(&mut sender).await);
            if fresh && ready {
                return Some(Connection { sender, gate, pool: self.clone(), reused: true });
            }
        }
    }

    fn put(&self, sender: SendRequest<ReplayBody>, gate: Arc<Gate>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            #[allow(clippy::disallowed_methods, reason = "the edge: ages of connections")]
            idle.push(Idle { sender, gate, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A panic while a vector is pushed or popped leaves a vector.
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn becomes_ready(sender: &mut SendRequest<ReplayBody>) -> bool {
    matches!(timeout(READY_WITHIN, sender.ready()).await, Ok(Ok(())))
}

/// A connection in hand. Dropped, it is closed.
pub struct Connection {
    sender: SendRequest<ReplayBody>,
    gate: Arc<Gate>,
    pool: Arc<Pool>,
    reused: bool,
}

/// A connection that comes back to the pool once its answer has been read to the end.
pub struct Returned(Connection);

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// The endpoint left service before the first byte was written. Nothing was sent.
    Refused,
    /// The pooled connection was already closed. Nothing was sent.
    Unsent(hyper::Error),
    /// It broke after something was written: the upstream may have taken the request.
    Lost(hyper::Error),
}

impl Connection {
    pub(super) async fn open(
        stream: Stream,
        admission: Arc<dyn Admission>,
        pool: &Arc<Pool>,
    ) -> Result<Self, ConnectError> {
        let gate = Arc::new(Gate::new(admission));
        let io = TokioIo::new(GatedStream { stream, gate: gate.clone() });
        let (sender, connection) =
            http1::Builder::new().handshake(io).await.map_err(ConnectError::Handshake)?;
        // It ends by itself when the sender and the answer's body are gone: that is how a request is
        // cancelled. Its error reaches the exchange too, so nothing is lost here.
        tokio::spawn(connection);
        Ok(Self { sender, gate, pool: pool.clone(), reused: false })
    }

    /// Whether it served a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives it back unused.
    pub fn give_back(self) {
        self.pool.put(self.sender, self.gate);
    }

    /// Sends the request, if `stamp` is still current when its first byte is about to be written, and
    /// waits for the head of the answer.
    ///
    /// # Errors
    /// [`SendError`] says whether anything was sent.
    pub async fn send(
        mut self,
        request: Request<ReplayBody>,
        stamp: Stamp,
    ) -> Result<(Response<Incoming>, Returned), SendError> {
        self.gate.arm(stamp);
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, Returned(self))),
            Err(_) if self.gate.refused() => Err(SendError::Refused),
            Err(error) if !self.gate.wrote() => Err(SendError::Unsent(error.into_error())),
            Err(error) => Err(SendError::Lost(error.into_error())),
        }
    }
}

impl Returned {
    /// Gives the connection back. To be called when the answer's body has ended; else drop it, which
    /// closes the connection and so cancels the request.
    pub fn give_back(self) {
        self.0.give_back();
    }
}
