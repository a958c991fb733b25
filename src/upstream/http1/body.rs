//! The body of an answer, read as its client takes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::super::pool::Pool;
use super::Exchange;
use crate::chunked::{Chunks, Progress};

/// The most bytes that may stand between two bytes of a chunked body, or after the last one: as many as hyper takes.
const BESIDE_BYTES_MAX: usize = 16 * 1024;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// By the last chunk.
    Chunked {
        /// Where in the chunks it is.
        chunks: Chunks,
        /// What has come since the last byte of the body: sizes, extensions, trailers.
        beside_bytes: usize,
    },
    /// By the end of the connection.
    UntilClose,
}

impl Framing {
    /// What these bytes carry of the body, and how many of them are its.
    fn take(&mut self, bytes: &[u8]) -> io::Result<(Bytes, usize)> {
        match self {
            Self::Length(left) => {
                let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                Ok((Bytes::copy_from_slice(&bytes[..length]), length))
            }
            Self::Chunked { chunks, beside_bytes } => {
                let mut data = Vec::with_capacity(bytes.len());
                let (taken, progress) = chunks.read(bytes, |piece| data.extend_from_slice(piece));
                *beside_bytes = if data.is_empty() { *beside_bytes + taken } else { 0 };
                match progress {
                    Progress::More if *beside_bytes > BESIDE_BYTES_MAX => Err(malformed()),
                    // What came before is the client's; the next look finds what is malformed again.
                    Progress::Malformed if data.is_empty() => Err(malformed()),
                    Progress::More | Progress::End | Progress::Malformed => Ok((data.into(), taken)),
                }
            }
            Self::UntilClose => Ok((Bytes::copy_from_slice(bytes), bytes.len())),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked { chunks: Chunks::End, .. })
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer's chunks are malformed")
}

/// A body as it comes. When it is over its connection goes back to the pool, if it may be used again; dropped before
/// that, it closes its connection, which cancels the request.
pub(in crate::upstream) struct Http1Body {
    /// None once the body is over, or has failed.
    exchange: Option<Box<Exchange>>,
    framing: Framing,
    pool: Arc<Pool>,
}

impl Http1Body {
    pub(super) fn new(exchange: Box<Exchange>, framing: Framing, pool: Arc<Pool>) -> Self {
        let mut body = Self { exchange: Some(exchange), framing, pool };
        body.end_if_over();
        body
    }

    /// Whether only the end of its connection ends it (RFC 9112 §6.3, the last rule): whether something is missing
    /// then does not show.
    pub fn ends_by_close(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    fn end_if_over(&mut self) {
        if self.framing.is_over()
            && let Some(exchange) = self.exchange.take()
            && let Some(connection) = exchange.into_reusable()
        {
            self.pool.put(connection);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        while let Some(exchange) = &mut self.exchange {
            let framing = &mut self.framing;
            let Some(data) = ready!(exchange.poll_read(cx, |bytes| framing.take(bytes)))? else {
                self.exchange = None;
                return Poll::Ready(match self.framing {
                    Framing::UntilClose => None,
                    Framing::Length(_) | Framing::Chunked { .. } => Some(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection was closed within the answer",
                    ))),
                });
            };
            self.end_if_over();
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
        Poll::Ready(None)
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let data = ready!(this.poll_data(cx));
        if matches!(data, Some(Err(_))) {
            this.exchange = None;
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.exchange, &self.framing) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Framing::Length(left)) => SizeHint::with_exact(*left),
            (Some(_), Framing::Chunked { .. } | Framing::UntilClose) => SizeHint::default(),
        }
    }
}
