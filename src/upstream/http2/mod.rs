//! One HTTP/2 connection: many requests at a time, each a stream of its own.
//!
//! The check before the wire can't be made as on HTTP/1.1, where the stream's first byte is the request's: here
//! frames of many requests share the stream. It is made when the request is handed to the connection, and again
//! when its body's first bytes are, which is not before the upstream lets the stream open. A body that is refused
//! resets its stream, so that no request reaches the endpoint whole on a ticket that is no longer current.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::Authority;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use qcc_fsm::Stamp;
use tokio::sync::{Notify, watch};

mod ending;
mod writes;

use super::age;
use super::body::{AdmittedBody, Permit, ReplayBody};
use super::connect::{ConnectError, Stream};
use super::connection::{SendError, Unsent};
use super::turns::Turn;
use super::wire::Admission;
use crate::clock::Deadline;
use ending::{HandedOver, unless_ended};
use writes::{CountedStream, Writes};

/// How many exchanges share a connection: when it is lost they all are, and a hundred are common for a server.
pub(super) const STREAMS_MAX: usize = 32;
/// In place of a number that the upstream has not told yet: more than it can tell, which has 32 bits.
const UNTOLD: usize = usize::MAX - 1;
/// How much of an answer may come before its client takes it. Answers are rarely larger, so that a round trip
/// seldom holds one up.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// As much for all streams together, so that clients that take nothing can't hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX as u32;
/// A connection that is gone without a word is noticed within the two together, in use or not.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Http2 {
    sender: SendRequest<AdmittedBody>,
    /// Its other end is dropped once the connection is.
    ended: watch::Receiver<()>,
    admission: Arc<dyn Admission>,
    authority: Authority,
    ends: Deadline,
    writes: Arc<Writes>,
    /// Exchanges on it now.
    active: AtomicUsize,
    allowed: Arc<Allowed>,
    /// It gets no more requests.
    retired: AtomicBool,
}

/// How many streams the upstream takes at once.
struct Allowed {
    /// None until the upstream has said it: more than it takes would be refused.
    streams: AtomicUsize,
    /// It may have said something.
    look: Notify,
}

/// A place among the exchanges of a connection.
pub(super) struct Place(Arc<Http2>);

impl Http2 {
    /// Nobody but the opener has a place before the upstream has said how many there are: until then the `turn` is
    /// kept, and then `places` is set, which is what the next connection goes by.
    pub(super) async fn open(
        stream: Stream,
        admission: Arc<dyn Admission>,
        authority: Authority,
        turn: Option<Turn>,
        places: &Arc<AtomicUsize>,
    ) -> Result<Arc<Self>, ConnectError> {
        let allowed = Arc::new(Allowed { streams: AtomicUsize::new(0), look: Notify::new() });
        let writes = Arc::new(Writes::new(allowed.clone()));
        let io = TokioIo::new(CountedStream::new(stream, writes.clone()));
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_max_send_streams(UNTOLD)
            .handshake(io)
            .await
            .map_err(ConnectError::Handshake)?;
        let (said, places, mut turn) = (allowed.clone(), places.clone(), turn);
        let (alive, ended) = watch::channel(());
        // It ends by itself when the pool and all exchanges have let go of it.
        tokio::spawn(async move {
            let _alive = alive;
            let mut connection = pin!(connection);
            loop {
                let driven = std::future::poll_fn(|cx| {
                    let ended = connection.as_mut().poll(cx);
                    // Relaxed: a hint. A request too many waits its turn, and its ticket is looked at after that.
                    let streams = connection.current_max_send_streams();
                    if streams != UNTOLD {
                        let streams = streams.clamp(1, STREAMS_MAX);
                        said.streams.store(streams, Ordering::Relaxed);
                        places.store(streams, Ordering::Relaxed);
                        turn = None;
                    }
                    ended
                });
                tokio::select! {
                    biased;
                    _ = driven => return,
                    () = said.look.notified() => {}
                }
            }
        });
        Ok(Arc::new(Self {
            sender,
            ended,
            admission,
            authority,
            ends: age::end_of_life(),
            writes,
            active: AtomicUsize::new(0),
            allowed,
            retired: AtomicBool::new(false),
        }))
    }

    /// A place for an exchange; none when all are taken.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let room = self.room();
        let more = |active: usize| (active < room).then_some(active + 1);
        // Relaxed: it only counts.
        let taken = self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(self.clone()))
    }

    /// The place of whoever opened it, which it has whatever the bounds are.
    pub(super) fn place_of_opener(self: &Arc<Self>) -> Place {
        self.active.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    fn room(&self) -> usize {
        self.allowed.streams.load(Ordering::Relaxed)
    }

    /// Whether a request could be given to it now.
    pub(super) fn has_room(&self) -> bool {
        self.is_fresh() && self.active.load(Ordering::Relaxed) < self.room()
    }

    /// Whether no exchange is on it.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
    }

    /// Whether it may be given more requests, as far as its age and what hyper has heard tell.
    pub(super) fn is_fresh(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.ends.is_reached() && !self.sender.is_closed()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    /// Whom the requests on it are addressed to.
    pub(super) fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub(super) async fn send(
        &self,
        request: Request<ReplayBody>,
        stamp: Stamp,
    ) -> Result<Response<Incoming>, SendError> {
        let connection = &self.0;
        let permit = Arc::new(Permit::new(connection.admission.clone(), stamp));
        if !permit.is_current() {
            return Err(SendError::Refused);
        }
        let has_body = !request.body().is_end_stream();
        let request = request.map(|body| AdmittedBody::new(body, permit.clone()));
        let writes_before = connection.writes.count();
        if connection.active.load(Ordering::Relaxed) == 1 {
            connection.writes.look_first();
        }
        let withdrawal = Withdrawal(Some(&permit));
        let mut sending = pin!(connection.sender.clone().try_send_request(request));
        let mut ended = connection.ended.clone();
        let sent = match unless_ended(&mut sending, ended.changed()).await {
            HandedOver::Told(sent) => sent,
            // Of what was taken up, tasks of hyper's own tell, which may not have run yet. It is withdrawn with this.
            HandedOver::Untold
                if has_body && !permit.has_begun() || connection.writes.count() == writes_before =>
            {
                return Err(SendError::Unsent(Unsent::NotTakenUp));
            }
            HandedOver::Untold => sending.await,
        };
        withdrawal.call_off();
        let mut error = match sent {
            Ok(response) => {
                // Its settings came before its first answer.
                connection.allowed.look.notify_one();
                return Ok(response);
            }
            Err(error) => error,
        };
        if permit.was_refused() {
            return Err(SendError::Refused);
        }
        let was_handed_over = error.take_message().is_none();
        let error = error.into_error();
        let was_written = was_handed_over && connection.writes.count() != writes_before;
        let is_whole = permit.has_begun() || !has_body;
        if was_written && is_whole && !was_never_processed(&error) {
            return Err(SendError::Lost(error.into()));
        }
        // It is at its end, or full; what runs on it may finish.
        connection.retired.store(true, Ordering::Relaxed);
        Err(SendError::Unsent(Unsent::Declined(error)))
    }
}

/// Withdraws a request whose client has left while it waited for its turn: hyper would send it when the turn comes.
struct Withdrawal<'a>(Option<&'a Permit>);

impl Withdrawal<'_> {
    fn call_off(mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.0.into_iter().for_each(Permit::withdraw);
    }
}

/// What the upstream says it has not touched, so that it is safe to send again (RFC 9113 §8.7): a stream refused,
/// or one above the last that a GOAWAY names.
fn was_never_processed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let is_refusal = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (is_refusal || cause.is_go_away())
    })
}
