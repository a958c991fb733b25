//! The last check before the wire.
//!
//! Between a choice and the moment at which the request's first byte is written, the endpoint may be
//! found to be down. The attempt loop looks again when it has a connection, but hyper writes later, in
//! the connection's own task. So the stream itself asks once more in the very call that writes the
//! first byte: a request whose ticket is no longer current is never on the wire. In the same call it looks
//! whether a kept connection was closed meanwhile: then nothing is written, so the request can't have been
//! taken, and another connection may carry it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use qcc_fsm::Stamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Pending;
use super::connect::Stream;

/// Says whether a request that was chosen at `stamp` may still be sent.
pub trait Admission: Send + Sync {
    /// Whether the endpoint is still in the period that the stamp is of.
    fn is_current(&self, stamp: Stamp) -> bool;
}

/// What a connection was before the request in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// Opened for this request.
    New,
    /// It lay idle, so that the upstream may have closed it.
    Kept,
}

/// The most bytes of an upstream before an answer's head is whole, informational answers included, of which it may
/// send any number (RFC 9110 §15.2). More than twice what hyper takes for one head, and with it some of the body.
const BEFORE_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// In place of a number where none is counted.
const UNCOUNTED: usize = usize::MAX;

/// Asked before anything is written to a stream, and told of what is read. An error keeps the bytes from going on
/// and ends the connection.
pub(super) trait Sentry: Send + Sync {
    fn before_write(&self, stream: &Stream) -> io::Result<()>;
    fn after_read(&self, bytes: usize) -> io::Result<()>;
}

/// What an HTTP/1.1 connection and its stream know of the request in hand.
pub(super) struct Gate {
    admission: Arc<dyn Admission>,
    /// Set while a request waits for its first byte to be written.
    waiting: AtomicBool,
    armed: Mutex<Option<(Stamp, History)>>,
    refused: AtomicBool,
    written: AtomicBool,
    /// How many bytes may still come before the head of an answer is there.
    before_answer_bytes: AtomicUsize,
}

impl Gate {
    pub(super) fn new(admission: Arc<dyn Admission>) -> Self {
        Self {
            admission,
            waiting: AtomicBool::new(false),
            armed: Mutex::new(None),
            refused: AtomicBool::new(false),
            written: AtomicBool::new(false),
            before_answer_bytes: AtomicUsize::new(UNCOUNTED),
        }
    }

    /// Arms the check for the next request.
    pub(super) fn arm(&self, stamp: Stamp, history: History) {
        *self.armed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((stamp, history));
        self.refused.store(false, Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
        self.before_answer_bytes.store(BEFORE_ANSWER_BYTES_MAX, Ordering::Relaxed);
        // Release, paired with the Acquire in `before_write`: who sees it waiting sees the stamp.
        self.waiting.store(true, Ordering::Release);
    }

    /// The head of the answer is there.
    pub(super) fn note_answer(&self) {
        self.before_answer_bytes.store(UNCOUNTED, Ordering::Relaxed);
    }

    /// Whether the armed request was stopped here because the endpoint left service.
    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// Whether a byte of the armed request was written.
    pub(super) fn wrote(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }
}

impl Sentry for Gate {
    fn before_write(&self, stream: &Stream) -> io::Result<()> {
        if !self.waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        let armed = self.armed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        // Taken already: it was refused, and what asks again gets the same answer.
        let (stamp, history) = armed.ok_or_else(closed)?;
        // Bytes that nobody asked for (a 408, a TLS alert) are the beginning of an end.
        if history == History::Kept && stream.pending() != Pending::Nothing {
            return Err(closed());
        }
        if !self.admission.is_current(stamp) {
            self.refused.store(true, Ordering::Release);
            return Err(io::Error::other("the endpoint left service before the request was written"));
        }
        self.waiting.store(false, Ordering::Relaxed);
        self.written.store(true, Ordering::Release);
        Ok(())
    }

    fn after_read(&self, bytes: usize) -> io::Result<()> {
        // Relaxed: it only counts. Nobody else counts down, so a change in between is the answer, or the next request.
        let left = self.before_answer_bytes.load(Ordering::Relaxed);
        if left == UNCOUNTED {
            return Ok(());
        }
        let less = left.checked_sub(bytes).ok_or_else(|| {
            io::Error::other(format!("no answer within the first {BEFORE_ANSWER_BYTES_MAX} bytes"))
        })?;
        let _ = self.before_answer_bytes.compare_exchange(left, less, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }
}

pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the upstream had closed the connection")
}

/// A stream that asks its sentry before it writes.
///
/// A peer that answers early closes without having read the request, and writing it on fails then. What it has said
/// waits to be read all the same: its answer, or that it has not taken the request. So from such a failure on nothing
/// is written, and it is told by the read that finds no more.
pub(super) struct GuardedStream<S> {
    stream: Stream,
    sentry: Arc<S>,
    write_failed: Option<io::ErrorKind>,
}

impl<S: Sentry> GuardedStream<S> {
    pub(super) fn new(stream: Stream, sentry: Arc<S>) -> Self {
        Self { stream, sentry, write_failed: None }
    }

    /// Begins a write, which is to be made only where no earlier one has failed.
    fn write(
        &mut self,
        bytes: usize,
        write: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.sentry.before_write(&self.stream)?;
        if self.write_failed.is_some() {
            return Poll::Ready(Ok(bytes));
        }
        let written = write(Pin::new(&mut self.stream));
        self.unless_closed(written, bytes)
    }

    /// What a write came to, or `instead` when the peer has closed.
    fn unless_closed<T>(&mut self, polled: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match ready!(polled) {
            Err(error) if is_closed_by_peer(&error) => {
                self.write_failed = Some(error.kind());
                Poll::Ready(Ok(instead))
            }
            done => Poll::Ready(done),
        }
    }
}

fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

impl<S: Sentry> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.sentry.after_read(buf.filled().len() - before)?;
        // The kernel tells of a reset once, and the write has heard of it: what was cut off would look ended here.
        match self.write_failed {
            Some(kind) if buf.filled().len() == before => Poll::Ready(Err(kind.into())),
            Some(_) | None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: Sentry> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(buf.len(), |stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        self.write(bytes, |stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_closed(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
