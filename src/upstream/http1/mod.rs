//! One HTTP/1.1 connection: one request at a time, driven by the task of whoever waits for the answer.
//!
//! Nothing runs between the check that the endpoint is still in service and the write of the request's first byte: both
//! are in one call. A request and its answer take no task of their own, no channel, and no buffer that outlives what
//! is in it, so that a stream that waits for its next event costs little more than its socket.

mod body;
mod head;
mod request;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::{Method, StatusCode};
use memchr::memchr;
use qcc_fsm::Stamp;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::unconstrained;

use super::Pending;
use super::age;
use super::connect::Stream;
use super::connection::{SendError, Unsent};
use super::head::Draft;
use super::pool::Pool;
use super::wire::{Admission, History};
use crate::alarm::Alarm;
use crate::answer::Answer;
use crate::clock::{Deadline, Stopwatch};
pub(super) use body::Http1Body;
use head::{AnswerHead, Read};
use request::Outgoing;

/// How much of an answer is read at once.
const READ_BYTES_MAX: usize = 16 * 1024;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of an upstream before an answer's head is whole, informational answers included, of which it may
/// send any number (RFC 9110 §15.2).
const BEFORE_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Boxed once, since it is handed from pool to exchange and back with every request.
pub(super) struct Http1 {
    stream: Stream,
    admission: Arc<dyn Admission>,
    ends: Deadline,
    /// Until when it may lie idle.
    idle_until: Deadline,
    /// How long it may lie idle after the answer in hand; zero where it can't be used again.
    idle_max: Duration,
    /// The proxy that reads our requests, where one does.
    reader: Option<Arc<str>>,
    /// Rings where an answer does not come in time.
    alarm: Alarm,
}

impl Http1 {
    pub(super) fn new(stream: Stream, admission: Arc<dyn Admission>, reader: Option<Arc<str>>) -> Box<Self> {
        let (ends, idle_max) = (age::end_of_life(), age::IDLE_MAX);
        Box::new(Self {
            stream,
            admission,
            ends,
            idle_until: ends,
            idle_max,
            reader,
            alarm: Alarm::default(),
        })
    }

    /// Begins to lie idle.
    pub(super) fn rest(&mut self) {
        self.idle_until = self.ends.min(Deadline::after(self.idle_max));
    }

    /// Whether it may be given another request, as far as its age tells and the runtime has heard of it.
    pub(super) fn is_fresh(&mut self) -> bool {
        !self.idle_until.is_reached() && self.is_silent()
    }

    /// Whether the upstream has said nothing unasked: a kept connection says something only when it is at its end. What
    /// TLS says below that is taken up here.
    fn is_silent(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 1];
        let mut buf = ReadBuf::uninit(&mut space);
        // Nobody is to be woken: it is asked again before it is used.
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut buf).is_pending()
    }

    /// Sends a request, unless the endpoint has left service or the upstream has closed the connection, and awaits
    /// the head of the answer.
    pub(super) async fn send(
        self: Box<Self>,
        draft: Draft<'_>,
        stamp: Stamp,
        history: History,
        pool: &Arc<Pool>,
        patience: Duration,
    ) -> Result<Answer<Http1Body>, SendError> {
        let method = draft.method;
        let outgoing = Outgoing::new(&pool.head, draft);
        let mut exchange = Exchange::new(self, outgoing);
        // Unconstrained: a task that has used up its turns would have the first write wait, and over TLS what waits is
        // not looked at again. An answer's head is short enough to be read at one turn.
        let mut deadline = None;
        let answered = unconstrained(poll_fn(|cx| {
            if !exchange.outgoing.has_begun() {
                exchange.connection.check(stamp, history)?;
            }
            if let Poll::Ready(head) = exchange.poll_head(cx, method) {
                return Poll::Ready(head.map_err(lost));
            }
            let deadline = *deadline.get_or_insert_with(|| Stopwatch::start().after(patience));
            exchange.connection.alarm.poll(cx, deadline).map(|()| Err(SendError::Silent))
        }));
        let AnswerHead { status, fields, framing, idle_max } = *answered.await?;
        // To be passed on it would have to be asked for: what follows it is no HTTP.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Switched);
        }
        // Only a proxy says so (RFC 9110 §15.5.8), and it has passed nothing on.
        if let (Some(proxy), StatusCode::PROXY_AUTHENTICATION_REQUIRED) =
            (&exchange.connection.reader, status)
        {
            return Err(SendError::Unsent(Unsent::ByProxy(proxy.clone())));
        }
        exchange.connection.idle_max = idle_max;
        Ok(Answer { status, fields, body: Http1Body::new(exchange, framing, pool.clone()) })
    }

    /// The last look before the first byte. What the upstream has closed has taken nothing, so that another
    /// connection may carry the request.
    fn check(&mut self, stamp: Stamp, history: History) -> Result<(), SendError> {
        let is_open = match history {
            // Asks the socket itself: what the runtime has heard of it is late. Bytes that nobody asked for (a 408, a
            // TLS alert) are the beginning of an end.
            History::Kept => {
                let has_nothing_above = matches!(self.stream, Stream::Plain(_)) || self.is_silent();
                has_nothing_above && self.stream.pending() == Pending::Nothing
            }
            // TLS may have more to say after the handshake.
            History::New => self.stream.pending() != Pending::End,
        };
        if !is_open {
            return Err(SendError::Unsent(match history {
                History::New => Unsent::Closed,
                History::Kept => Unsent::Stale,
            }));
        }
        if !self.admission.is_current(stamp) {
            return Err(SendError::Refused);
        }
        Ok(())
    }
}

/// A request that is being sent, and its answer.
pub(super) struct Exchange {
    connection: Box<Http1>,
    outgoing: Outgoing,
    /// What was read and is not taken up yet.
    unread: Bytes,
    /// How many bytes have come before the head of the answer is whole.
    before_answer_bytes: usize,
}

impl Exchange {
    fn new(connection: Box<Http1>, outgoing: Outgoing) -> Box<Self> {
        Box::new(Self { connection, outgoing, unread: Bytes::new(), before_answer_bytes: 0 })
    }

    /// Writes the request, and reads meanwhile: a peer may answer before it has all of it.
    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<io::Result<Box<AnswerHead>>> {
        self.outgoing.write(cx, &mut self.connection.stream)?;
        let mut has_new_line = false;
        loop {
            while has_new_line {
                match head::read(&self.unread, method)? {
                    Read::Final(length, head) => {
                        self.take_up(length);
                        return Poll::Ready(Ok(head));
                    }
                    Read::Informational(length) => {
                        self.take_up(length);
                        has_new_line = !self.unread.is_empty();
                    }
                    Read::Partial => has_new_line = false,
                }
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                let why = format!("the answer's head is longer than {HEAD_BYTES_MAX} bytes");
                return Poll::Ready(Err(io::Error::other(why)));
            }
            let before = std::mem::take(&mut self.unread);
            let mut unread = Bytes::new();
            let read = self.poll_stream(cx, |fresh| {
                // What is no answer shows at once; but looking again at each byte would be slow.
                has_new_line = before.is_empty() || memchr(b'\n', fresh).is_some();
                unread = joined(&before, fresh);
                fresh.len()
            });
            self.unread = if unread.is_empty() { before } else { unread };
            let fresh_bytes = ready!(read)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"))?;
            self.before_answer_bytes += fresh_bytes;
            if self.before_answer_bytes > BEFORE_ANSWER_BYTES_MAX {
                return Poll::Ready(Err(io::Error::other(format!(
                    "no answer within the first {BEFORE_ANSWER_BYTES_MAX} bytes"
                ))));
            }
        }
    }

    /// What came with the head of the answer, or behind a body's piece, if anything did.
    fn unread(&mut self) -> Option<&mut Bytes> {
        Some(&mut self.unread).filter(|unread| !unread.is_empty())
    }

    /// Reads on in the answer, once nothing is unread, and gives what `take` makes of it; `take` says too how many of the
    /// bytes it has taken. None when the connection is at its end.
    fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> io::Result<(T, usize)>,
    ) -> Poll<io::Result<Option<T>>> {
        self.outgoing.write(cx, &mut self.connection.stream)?;
        let mut surplus = Bytes::new();
        let read = self.poll_stream(cx, |fresh| {
            let (data, taken) = take(fresh)?;
            surplus = Bytes::copy_from_slice(&fresh[taken..]);
            Ok(data)
        });
        self.unread = surplus;
        read.map(|read| read.and_then(Option::transpose))
    }

    /// Reads from the connection; none at its end. The space for it is on the stack: nothing is held by who waits.
    fn poll_stream<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES_MAX];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.connection.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(match (buf.filled(), self.outgoing.refused()) {
            // The kernel tells of a reset once, and the write has heard of it: what was cut off would look ended here.
            ([], Some(kind)) => Err(kind.into()),
            ([], None) => Ok(None),
            (fresh, _) => Ok(Some(take(fresh))),
        })
    }

    fn take_up(&mut self, length: usize) {
        self.unread.advance(length);
        if self.unread.is_empty() {
            // An empty rest would keep what it is the rest of.
            self.unread = Bytes::new();
        }
    }

    /// The connection, where the answer is over and another request may follow.
    fn into_reusable(self) -> Option<Box<Http1>> {
        let is_reusable =
            self.outgoing.is_done() && self.unread.is_empty() && !self.connection.idle_max.is_zero();
        is_reusable.then_some(self.connection)
    }
}

fn joined(before: &Bytes, fresh: &[u8]) -> Bytes {
    if before.is_empty() { Bytes::copy_from_slice(fresh) } else { [before, fresh].concat().into() }
}

fn lost(error: io::Error) -> SendError {
    SendError::Lost(Box::new(error))
}
