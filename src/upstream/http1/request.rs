//! A request's bytes on their way out.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use bytes::buf::Chain;
use tokio::io::AsyncWrite;
use zeroize::Zeroizing;

use super::super::ReplayBody;
use super::super::wire::is_closed_by_peer;

/// How many pieces are written at once, at most. A body seldom has more.
const PIECES_MAX: usize = 8;

/// What is left to write of a request.
pub(super) struct Outgoing {
    /// The head holds the endpoint's key, and is wiped.
    bytes: Chain<Cursor<Zeroizing<Vec<u8>>>, ReplayBody>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    Flushing,
    Done,
    /// The peer takes no more. What it has said waits to be read all the same: its answer, or that it has not taken
    /// the request.
    Refused(io::ErrorKind),
}

impl Outgoing {
    pub(super) fn new(head: Zeroizing<Vec<u8>>, body: ReplayBody) -> Self {
        Self { bytes: Cursor::new(head).chain(body), state: State::Writing }
    }

    /// Whether all of it was written.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How the peer refused to take more, if it did.
    pub(super) fn refused(&self) -> Option<io::ErrorKind> {
        match self.state {
            State::Refused(kind) => Some(kind),
            State::Writing | State::Flushing | State::Done => None,
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
                self.state = State::Refused(error.kind());
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
        while self.state == State::Writing {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = self.bytes.chunks_vectored(&mut pieces);
            let written = match stream.is_write_vectored() {
                true => ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &pieces[..count]))?,
                false => ready!(Pin::new(&mut *stream).poll_write(cx, &pieces[0]))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
            if !self.bytes.has_remaining() {
                self.state = State::Flushing;
            }
        }
        if self.state == State::Flushing {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}
