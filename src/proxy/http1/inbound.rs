//! What comes on a client's connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::body::Framing;

/// How much is read at once of what is not the rest of a body of known length.
const READ_BYTES_MAX: usize = 16 * 1024;
/// How much is taken of a client that sends more before it has its answer, so as to see when it leaves.
const EARLY_BYTES_MAX: usize = 16 * 1024;

/// A connection as it is read.
pub(super) struct Inbound<S> {
    pub stream: S,
    /// What came and is not taken up yet: the beginning of a head, or of a body, or what was sent early.
    pub unread: BytesMut,
    /// What is left to come of the body of the request in hand.
    pub body: Framing,
}

impl<S> Inbound<S> {
    /// A connection on which so much has been read.
    pub fn new(begun: &[u8], stream: S) -> Self {
        Self { stream, unread: BytesMut::from(begun), body: Framing::default() }
    }

    /// Takes up so many bytes, if there are.
    pub fn take(&mut self, length: usize) -> Option<BytesMut> {
        if length > self.unread.len() {
            return None;
        }
        let taken = self.unread.split_to(length);
        self.let_go();
        Some(taken)
    }

    /// Passes over so many bytes of those that are there.
    pub fn skip(&mut self, length: usize) {
        self.unread.advance(length);
        self.let_go();
    }

    /// An empty rest would keep what it is the rest of.
    fn let_go(&mut self) {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Inbound<S> {
    /// Reads on, and gives how many bytes came; 0 at the connection's end. The space for it is on the stack: nothing is
    /// held by who waits.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES_MAX];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        match self.unread.is_empty() {
            true => self.unread = BytesMut::from(buf.filled()),
            false => self.unread.extend_from_slice(buf.filled()),
        }
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ready when the client has left, while the request in hand is worked on. What it sends meanwhile is kept, up to a
    /// limit, beyond which its leaving is seen when its answer is written.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The rest of a refused body is not waited for.
        while self.body.is_over() && self.unread.len() < EARLY_BYTES_MAX {
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}
