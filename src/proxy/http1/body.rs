//! How a request's body is delimited, and what of it has come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::super::body::Source;
use super::inbound::Inbound;
use crate::chunked::{ChunkedBody, Malformed};

/// What asks a client for a body that it holds back (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the end of a body is told, and where in it we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// By the last chunk.
    Chunked(ChunkedBody),
}

impl Default for Framing {
    /// No body.
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Framing {
    /// Whether all of the body has come.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
        }
    }

    /// Adds what these bytes carry of the body to `data`, and gives how many of them are its.
    ///
    /// # Errors
    /// When its chunks are malformed, once what came before that was given.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                data.extend_from_slice(&bytes[..length]);
                *left -= length as u64;
                Ok(length)
            }
            Self::Chunked(chunks) => chunks.take(bytes, data),
        }
    }
}

/// The body of the request in hand on a connection.
pub(super) struct RequestBody<'c, S> {
    inbound: &'c mut Inbound<S>,
    /// What is left to write before the client sends it.
    unsaid: &'static [u8],
    declared_bytes: Option<u64>,
}

impl<'c, S> RequestBody<'c, S> {
    /// One that comes unasked.
    pub(super) fn new(inbound: &'c mut Inbound<S>) -> Self {
        let declared_bytes = match inbound.body {
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) => None,
        };
        Self { inbound, unsaid: &[], declared_bytes }
    }

    /// One that is held back until it is asked for.
    pub(super) fn held_back(inbound: &'c mut Inbound<S>) -> Self {
        Self { unsaid: CONTINUE, ..Self::new(inbound) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Source for RequestBody<'_, S> {
    fn declared_bytes(&self) -> Option<u64> {
        self.declared_bytes
    }

    fn is_over(&self) -> bool {
        self.inbound.body.is_over()
    }

    fn take_whole(&mut self) -> Option<Bytes> {
        match self.inbound.body {
            Framing::Length(length) if self.unsaid.is_empty() => {
                let whole = self.inbound.take(usize::try_from(length).ok()?)?.freeze();
                self.inbound.body = Framing::default();
                Some(whole)
            }
            Framing::Length(_) | Framing::Chunked(_) => None,
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, data: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while !self.unsaid.is_empty() {
            let written = ready!(Pin::new(&mut self.inbound.stream).poll_write(cx, self.unsaid))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsaid = &self.unsaid[written..];
        }
        let Inbound { stream, unread, body, .. } = &mut *self.inbound;
        match body {
            // Straight to where it is to be.
            Framing::Length(left) if unread.is_empty() => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX);
                let mut room = data.limit(length);
                let read = std::pin::pin!(stream.read_buf(&mut room));
                *left -= match ready!(read.poll(cx))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => read as u64,
                };
            }
            Framing::Length(_) | Framing::Chunked(_) => {
                if unread.is_empty() && ready!(self.inbound.poll_fill(cx))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                let Inbound { unread, body, .. } = &mut *self.inbound;
                let taken = body.take(unread, data)?;
                self.inbound.skip(taken);
            }
        }
        Poll::Ready(Ok(()))
    }
}
