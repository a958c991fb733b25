//! A request body that can be sent again: slices of what the client sent, never copied.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body held as the chunks it came in. A clone shares them and starts over.
#[derive(Clone, Debug, Default)]
pub struct ReplayBody {
    chunks: Arc<[Bytes]>,
    next: usize,
    left_bytes: u64,
}

impl ReplayBody {
    /// A body of these chunks.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let left_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into(), next: 0, left_bytes }
    }

    /// All bytes in one slice: the chunk itself where there is one only.
    pub fn contiguous(&self) -> Bytes {
        match &*self.chunks {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
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
        let Some(chunk) = self.chunks.get(self.next).cloned() else { return Poll::Ready(None) };
        self.next += 1;
        self.left_bytes -= chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
