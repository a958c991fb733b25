//! The last check before the wire.
//!
//! Between a choice and the moment at which the request's first byte is written, the endpoint may be
//! found to be down. The attempt loop looks again when it has a connection, but hyper writes later, in
//! the connection's own task. So the stream itself asks once more in the very call that writes the
//! first byte: a request whose ticket is no longer current is never on the wire.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use qcc_fsm::Stamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;

/// Says whether a request that was chosen at `stamp` may still be sent.
pub trait Admission: Send + Sync {
    /// Whether the endpoint is still in the period that the stamp is of.
    fn is_current(&self, stamp: Stamp) -> bool;
}

/// What a connection and its stream know of the request in hand.
pub(super) struct Gate {
    admission: Arc<dyn Admission>,
    /// Set while a request waits for its first byte to be written.
    waiting: AtomicBool,
    stamp: Mutex<Option<Stamp>>,
    refused: AtomicBool,
    written: AtomicBool,
}

impl Gate {
    pub(super) fn new(admission: Arc<dyn Admission>) -> Self {
        Self {
            admission,
            waiting: AtomicBool::new(false),
            stamp: Mutex::new(None),
            refused: AtomicBool::new(false),
            written: AtomicBool::new(false),
        }
    }

    /// Arms the check for the next request.
    pub(super) fn arm(&self, stamp: Stamp) {
        *self.stamp.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(stamp);
        self.refused.store(false, Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
        // Release, paired with the Acquire in `pass`: who sees it waiting sees the stamp.
        self.waiting.store(true, Ordering::Release);
    }

    /// Whether the armed request was stopped here.
    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// Whether a byte of the armed request was written.
    pub(super) fn wrote(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    fn pass(&self) -> io::Result<()> {
        if !self.waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        let stamp = self.stamp.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(stamp) = stamp
            && !self.admission.is_current(stamp)
        {
            self.refused.store(true, Ordering::Release);
            return Err(io::Error::other("the endpoint left service before the request was written"));
        }
        self.waiting.store(false, Ordering::Relaxed);
        self.written.store(true, Ordering::Release);
        Ok(())
    }
}

/// A stream that asks its gate before the first byte of each request.
pub(super) struct GatedStream {
    pub(super) stream: Stream,
    pub(super) gate: Arc<Gate>,
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.gate.pass()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gate.pass()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
