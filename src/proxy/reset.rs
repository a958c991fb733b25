//! Answers that only the end of the connection ends, as HTTP/1.0 has them where their length is not known (RFC 9112
//! §6.3), and nginx asks in HTTP/1.0 unless told otherwise. One that is cut must not look whole, so the connection
//! ends in a reset then.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use hyper::body::{Body, Frame, SizeHint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::outgoing::OutgoingBody;
use super::relay::Aborted;

/// Whether a connection that ended now would end within an answer. A clone is of the same connection. Relaxed: an
/// answer and its connection are of one task.
#[derive(Clone, Default)]
pub struct Unfinished(Arc<AtomicBool>);

impl Unfinished {
    /// The body of an answer to a request of this version.
    pub(super) fn until_end_of(&self, body: OutgoingBody, version: Version) -> Marked {
        let marks = match body {
            OutgoingBody::Relay(_) => version < Version::HTTP_11,
            OutgoingBody::Full(_) => false,
        };
        if marks {
            self.0.store(true, Ordering::Relaxed);
        }
        Marked { body, unfinished: marks.then(|| self.clone()) }
    }
}

/// A body that marks its connection as unfinished until it has ended.
pub struct Marked {
    body: OutgoingBody,
    unfinished: Option<Unfinished>,
}

impl Body for Marked {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take()
            && self.body.is_end_stream()
        {
            unfinished.0.store(false, Ordering::Relaxed);
        }
    }
}

/// A client's connection.
pub struct ClientStream {
    tcp: TcpStream,
    unfinished: Unfinished,
}

impl ClientStream {
    /// Ends in a reset while it is `unfinished`.
    pub fn new(tcp: TcpStream, unfinished: Unfinished) -> Self {
        Self { tcp, unfinished }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.unfinished.0.load(Ordering::Relaxed) {
            // What can't be reset is closed.
            let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
