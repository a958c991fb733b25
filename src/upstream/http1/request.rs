//! A request's bytes on their way out.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use bytes::buf::Chain;
use tokio::io::AsyncWrite;

use super::super::ReplayBody;
use super::super::head::{Draft, HeadWriter, Keyed};
use super::super::wire::is_closed_by_peer;

/// A body up to this size is put behind its head: to write one piece costs the kernel less than to write two, and less
/// than the copy costs.
const COPIED_BYTES_MAX: usize = 8 * 1024;
/// How many pieces are written at once, at most. A body seldom has more.
const PIECES_MAX: usize = 4;

/// What is left to write of a request. What is written is let go: others wait for the room that a body takes.
pub(super) enum Outgoing {
    Writing(Chain<Head, ReplayBody>),
    Flushing,
    Done,
    /// The peer takes no more. What it has said waits to be read all the same: its answer, or that it has not taken
    /// the request.
    Refused(io::ErrorKind),
}

type Head = Cursor<Keyed>;

impl Outgoing {
    /// A request that is addressed and authorised by the endpoint's own writer.
    pub(super) fn new(writer: &HeadWriter, draft: Draft<'_>) -> Self {
        let body_bytes = draft.body.remaining();
        if body_bytes > COPIED_BYTES_MAX {
            return Self::Writing(Cursor::new(writer.bytes(&draft, 0)).chain(draft.body));
        }
        let mut whole = writer.bytes(&draft, body_bytes);
        let mut body = draft.body;
        while body.has_remaining() {
            whole.push(body.chunk());
            body.advance(body.chunk().len());
        }
        Self::Writing(Cursor::new(whole).chain(ReplayBody::default()))
    }

    /// Whether any of it may have been written.
    pub(super) fn has_begun(&self) -> bool {
        match self {
            Self::Writing(bytes) => bytes.first_ref().position() > 0,
            Self::Flushing | Self::Done | Self::Refused(_) => true,
        }
    }

    /// Whether all of it was written.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How the peer refused to take more, if it did.
    pub(super) fn refused(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Refused(kind) => Some(*kind),
            Self::Writing(_) | Self::Flushing | Self::Done => None,
        }
    }

    /// Writes as much as can be written now; to be called again when it wakes the task, for as long as it is not done.
    ///
    /// # Errors
    /// When the connection breaks otherwise than by the peer's closing it.
    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match self.poll_write(cx, stream) {
            Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {
                *self = Self::Refused(error.kind());
                Ok(())
            }
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while let Self::Writing(bytes) = self {
            let is_in_pieces = bytes.chunk().len() < bytes.remaining() && stream.is_write_vectored();
            let written = if is_in_pieces {
                let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
                let count = bytes.chunks_vectored(&mut pieces);
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &pieces[..count]))?
            } else {
                ready!(Pin::new(&mut *stream).poll_write(cx, bytes.chunk()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(written);
            if !bytes.has_remaining() {
                *self = Self::Flushing;
            }
        }
        if matches!(self, Self::Flushing) {
            ready!(Pin::new(stream).poll_flush(cx))?;
            *self = Self::Done;
        }
        Poll::Ready(Ok(()))
    }
}
