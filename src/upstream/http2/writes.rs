//! What was written on a connection, and since when.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::Pending;
use super::super::connect::Stream;
use super::super::wire::is_closed_by_peer;
use super::Allowed;

/// Counts the writes, so that it is known when none was made since a request came.
pub(super) struct Writes {
    count: AtomicU64,
    /// Set when the next write is the first after a while, so that the upstream may have closed.
    look: AtomicBool,
    allowed: Arc<Allowed>,
}

impl Writes {
    pub fn new(allowed: Arc<Allowed>) -> Self {
        Self { count: AtomicU64::new(0), look: AtomicBool::new(false), allowed }
    }

    pub fn count(&self) -> u64 {
        // Acquire, paired with the Release in `before`: no write that an error came of is missed.
        self.count.load(Ordering::Acquire)
    }

    pub fn look_first(&self) {
        self.look.store(true, Ordering::Relaxed);
    }

    /// An error keeps the bytes from going on, and ends the connection.
    fn before(&self, stream: &Stream) -> io::Result<()> {
        // Bytes that wait are no sign: pings and windows come at any time.
        if self.look.swap(false, Ordering::Relaxed) && stream.pending() == Pending::End {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the upstream had closed the connection",
            ));
        }
        self.count.fetch_add(1, Ordering::Release);
        // What the upstream has said is acknowledged once it is in force (RFC 9113 §6.5.3).
        if self.allowed.streams.load(Ordering::Relaxed) == 0 {
            self.allowed.look.notify_one();
        }
        Ok(())
    }
}

/// A stream that has its writes counted.
///
/// A peer that answers early closes without having read the request, and writing it on fails then. What it has said
/// waits to be read all the same: its answer, or that it has not taken the request. So from such a failure on nothing
/// is written, and it is told by the read that finds no more.
pub(super) struct CountedStream {
    stream: Stream,
    writes: Arc<Writes>,
    write_failed: Option<io::ErrorKind>,
}

impl CountedStream {
    pub(super) fn new(stream: Stream, writes: Arc<Writes>) -> Self {
        Self { stream, writes, write_failed: None }
    }

    /// Begins a write, which is to be made only where no earlier one has failed.
    fn write(
        &mut self,
        bytes: usize,
        write: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.writes.before(&self.stream)?;
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

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        // The kernel tells of a reset once, and the write has heard of it: what was cut off would look ended here.
        match self.write_failed {
            Some(kind) if buf.filled().len() == before => Poll::Ready(Err(kind.into())),
            Some(_) | None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for CountedStream {
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
