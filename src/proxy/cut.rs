//! An end of a connection that can't be taken for the end of an answer.
//!
//! In HTTP/1.0, which gateways in front of this one may speak (nginx did by default), only the end of its connection
//! ends a stream (RFC 9112 §6.3). So a connection on which an answer is broken off must not end as others do.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::passing::pass_writes_to;

/// Whether answers on a connection may end with it.
#[derive(Clone, Debug, Default)]
pub struct EndsAnswers(Arc<AtomicBool>);

impl EndsAnswers {
    /// From now on they may. Relaxed, as the look at it: the connection's own task does both.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that is reset when it is dropped before it was ended, if answers may end with it. What the kernel
/// still holds for the client is lost then, so others end as they are (FIN).
pub struct ResetIfCut {
    tcp: TcpStream,
    ends_answers: EndsAnswers,
    is_ended: bool,
}

impl ResetIfCut {
    /// `ends_answers` may be noted at any time.
    pub fn new(tcp: TcpStream, ends_answers: EndsAnswers) -> Self {
        Self { tcp, ends_answers, is_ended: false }
    }
}

impl Drop for ResetIfCut {
    fn drop(&mut self) {
        if !self.is_ended && self.ends_answers.0.load(Ordering::Relaxed) {
            // Of a client that is gone it may fail.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for ResetIfCut {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for ResetIfCut {
    pass_writes_to!(tcp);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ended = true;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
