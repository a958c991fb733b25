//! A request body that can be sent again: slices of what the client sent, never copied.

use std::convert::Infallible;
use std::fmt;
use std::io::IoSlice;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use qcc_fsm::Stamp;

use super::wire::Admission;

/// A body held as the chunks it came in. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct ReplayBody {
    chunks: Chunks,
    next: usize,
    /// How much of the next chunk is out already.
    out_bytes: usize,
    left_bytes: usize,
}

#[derive(Clone, Debug)]
enum Chunks {
    /// As most bodies are.
    One(Bytes),
    Several(Arc<[Bytes]>),
}

impl Default for Chunks {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Deref for Chunks {
    type Target = [Bytes];

    fn deref(&self) -> &[Bytes] {
        match self {
            Self::One(chunk) => std::slice::from_ref(chunk),
            Self::Several(chunks) => chunks,
        }
    }
}

impl From<Bytes> for ReplayBody {
    fn from(chunk: Bytes) -> Self {
        Self { left_bytes: chunk.len(), chunks: Chunks::One(chunk), ..Self::default() }
    }
}

impl ReplayBody {
    /// A body of these chunks.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let left_bytes = chunks.iter().map(Bytes::len).sum();
        Self { left_bytes, chunks: Chunks::Several(chunks.into()), ..Self::default() }
    }

    /// All bytes in one slice: the chunk itself where there is one only.
    pub fn contiguous(&self) -> Bytes {
        match &*self.chunks {
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl Buf for ReplayBody {
    fn remaining(&self) -> usize {
        self.left_bytes
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.get(self.next).map_or(&[], |chunk| &chunk[self.out_bytes..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let after = self.chunks.get(self.next + 1..).unwrap_or_default().iter().map(Bytes::as_ref);
        let pieces = [self.chunk()].into_iter().chain(after).filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut bytes: usize) {
        self.left_bytes -= bytes;
        while let Some(chunk) = self.chunks.get(self.next) {
            let rest = chunk.len() - self.out_bytes;
            if bytes < rest {
                self.out_bytes += bytes;
                return;
            }
            bytes -= rest;
            (self.next, self.out_bytes) = (self.next + 1, 0);
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.has_remaining() {
            return Poll::Ready(None);
        }
        let Some(chunk) = self.chunks.get(self.next) else { return Poll::Ready(None) };
        let chunk = chunk.slice(self.out_bytes..);
        self.advance(chunk.len());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes as u64)
    }
}

/// What a request on a shared connection needs to be sent, and what became of it.
pub(super) struct Permit {
    admission: Arc<dyn Admission>,
    stamp: Stamp,
    withdrawn: AtomicBool,
    refused: AtomicBool,
    begun: AtomicBool,
}

impl Permit {
    pub fn new(admission: Arc<dyn Admission>, stamp: Stamp) -> Self {
        Self {
            admission,
            stamp,
            withdrawn: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            begun: AtomicBool::new(false),
        }
    }

    pub fn is_current(&self) -> bool {
        !self.withdrawn.load(Ordering::Acquire) && self.admission.is_current(self.stamp)
    }

    /// Nobody wants the answer any more. What has begun goes on.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether the body was held back because the endpoint had left service.
    pub fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// Whether some of the body was handed over.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}

/// A body that looks at its permit before it gives its first bytes.
pub(super) struct AdmittedBody {
    body: ReplayBody,
    permit: Arc<Permit>,
}

/// The endpoint left service before the body was sent.
#[derive(Debug)]
pub(super) struct NotAdmitted;

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint left service before the request was written")
    }
}

impl std::error::Error for NotAdmitted {}

impl AdmittedBody {
    pub fn new(body: ReplayBody, permit: Arc<Permit>) -> Self {
        Self { body, permit }
    }
}

impl Body for AdmittedBody {
    type Data = Bytes;
    type Error = NotAdmitted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotAdmitted>>> {
        if !self.permit.has_begun() {
            // Release, paired with the Acquire of whoever hears of the stream's end.
            if !self.permit.is_current() {
                self.permit.refused.store(true, Ordering::Release);
                return Poll::Ready(Some(Err(NotAdmitted)));
            }
            self.permit.begun.store(true, Ordering::Release);
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
