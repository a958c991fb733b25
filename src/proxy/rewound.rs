//! A stream whose first bytes were looked at, as if they had not been.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::passing::pass_writes_to;

/// Reads `begun` again before anything else.
pub struct Rewound<S> {
    begun: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    /// `begun` is what was read of it.
    pub fn new(begun: Vec<u8>, stream: S) -> Self {
        Self { begun, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.begun.is_empty() || buf.remaining() == 0 {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let again = this.begun.len().min(buf.remaining());
        buf.put_slice(&this.begun[..again]);
        this.begun.drain(..again);
        // What came after them, in the same call: they are few bytes, and heads are best read whole.
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    pass_writes_to!(stream);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
