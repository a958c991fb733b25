//! An answer on its way to a client over HTTP/1 (RFC 9112 §6).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body;
use hyper::{StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::outgoing::OutgoingBody;
use super::super::relay::Aborted;
use super::inbound::Inbound;
use crate::answer::Answer;
use crate::fields::write_line;
use crate::text::content_length;

/// How much of an answer is put together before it is written: what is there at once goes out at once.
const WRITTEN_BYTES_MAX: usize = 16 * 1024;
/// Room in a head for what is not in its headers: the status line, how the body is delimited, the connection's end.
const BESIDE_BYTES_MAX: usize = 128;

/// What an answer has to suit.
pub(super) struct Asked {
    pub version: Version,
    pub is_head: bool,
    /// Whether another request may follow, as far as its client and what came of it say.
    pub is_kept: bool,
}

impl Asked {
    /// By a request that was not understood.
    pub(super) fn by_nobody() -> Self {
        Self { version: Version::HTTP_11, is_head: false, is_kept: false }
    }
}

/// Whether a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Keep,
    Close,
}

/// An answer that is being written.
pub(super) struct Delivery {
    body: OutgoingBody,
    framing: Framing,
    /// What is put together, and how much of it is written. Nothing is held while nothing comes.
    bytes: Vec<u8>,
    written: usize,
    pub after: After,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
    UntilClose,
    /// Not at all: it is longer than was said.
    Broken,
}

impl Delivery {
    /// An answer of which the head is written first. What its headers say of the connection and of the body's end is
    /// said anew.
    pub(super) fn new(answer: Answer<OutgoingBody>, asked: &Asked) -> Self {
        let Answer { status, fields, body } = answer;
        let room = fields.bytes_max() + body.bytes_at_hand().min(WRITTEN_BYTES_MAX) + BESIDE_BYTES_MAX;
        let mut bytes = Vec::with_capacity(room);
        push_status_line(&mut bytes, asked.version, status);
        let (mut said_length, mut closes) = (None, false);
        for field in fields.iter() {
            match field.name {
                b"content-length" => said_length = content_length(field.value),
                b"connection" => closes |= field.value == b"close",
                b"transfer-encoding" => {}
                _ => field.write_to(&mut bytes),
            }
        }
        let has_no_body =
            asked.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = body.size_hint().exact().or(said_length);
        let framing = match length {
            _ if has_no_body => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if asked.version == Version::HTTP_10 => Framing::UntilClose,
            None => Framing::Chunked,
        };
        // Where there is no body it is that of the one which there would be (RFC 9110 §8.6).
        match length.filter(|_| status != StatusCode::NO_CONTENT) {
            Some(length) => {
                write_line(&mut bytes, "content-length", itoa::Buffer::new().format(length));
            }
            None if framing == Framing::Chunked => write_line(&mut bytes, "transfer-encoding", "chunked"),
            None => {}
        }
        let is_kept = asked.is_kept && !closes && framing != Framing::UntilClose;
        let after = if is_kept { After::Keep } else { After::Close };
        match (after, asked.version) {
            (After::Close, _) => write_line(&mut bytes, "connection", "close"),
            (After::Keep, Version::HTTP_10) => write_line(&mut bytes, "connection", "keep-alive"),
            (After::Keep, _) => {}
        }
        bytes.extend_from_slice(b"\r\n");
        // What is not to be read is let go.
        let body = if has_no_body { OutgoingBody::empty() } else { body };
        Self { body, framing, bytes, written: 0, after }
    }

    /// Writes it to its end, as fast as its body comes and the client takes it.
    ///
    /// # Errors
    /// When it is not delivered whole, and must not look so.
    pub(super) async fn deliver<S>(mut self, inbound: &mut Inbound<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        poll_fn(|cx| self.poll_deliver(cx, inbound)).await
    }

    fn poll_deliver<S>(&mut self, cx: &mut Context<'_>, inbound: &mut Inbound<S>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let delivered = loop {
            let gathered = self.poll_gather(cx);
            match self.poll_write(cx, &mut inbound.stream) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
            match gathered {
                Poll::Ready(Gathered::More) => {}
                Poll::Ready(Gathered::End) => break Poll::Ready(Ok(())),
                Poll::Ready(Gathered::Cut) => break Poll::Ready(Err(io::Error::other(Aborted))),
                Poll::Pending => break Poll::Pending,
            }
        };
        match delivered {
            Poll::Pending => inbound.poll_left(cx).map(|()| Err(io::Error::other("the client left"))),
            Poll::Ready(_) => delivered,
        }
    }

    /// Puts together what there is of the body, until that is enough to be written.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Gathered> {
        while self.bytes.len() < WRITTEN_BYTES_MAX {
            match self.framing {
                Framing::Length(0) if self.body.is_end_stream() => return Poll::Ready(Gathered::End),
                // What fits of the rest is not what comes next.
                Framing::Broken => return Poll::Ready(Gathered::Cut),
                Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {}
            }
            match ready!(self.body.poll_next(cx)) {
                Some(Ok(data)) => {
                    if !self.push(&data) {
                        return Poll::Ready(Gathered::Cut);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Gathered::Cut),
                None => return Poll::Ready(self.end()),
            }
        }
        Poll::Ready(Gathered::More)
    }

    /// False where the body is longer than was said.
    fn push(&mut self, data: &Bytes) -> bool {
        if data.is_empty() {
            return true;
        }
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    self.framing = Framing::Broken;
                    return false;
                }
            },
            Framing::Chunked => {
                push_hex(&mut self.bytes, data.len());
                self.bytes.extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => {}
            Framing::Broken => return false,
        }
        self.bytes.extend_from_slice(data);
        if self.framing == Framing::Chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
        true
    }

    fn end(&mut self) -> Gathered {
        match self.framing {
            Framing::Length(0) | Framing::UntilClose => Gathered::End,
            // As many as were said have not come.
            Framing::Length(_) | Framing::Broken => Gathered::Cut,
            Framing::Chunked => {
                self.bytes.extend_from_slice(b"0\r\n\r\n");
                self.framing = Framing::Length(0);
                Gathered::End
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        (self.bytes, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

/// What putting together came to.
enum Gathered {
    /// Enough for now.
    More,
    /// All that was left.
    End,
    /// What there was, and no end.
    Cut,
}

fn push_status_line(bytes: &mut Vec<u8>, version: Version, status: StatusCode) {
    bytes.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    // RFC 9112 §4: the words may be left out, and the space before them not.
    bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

fn push_hex(bytes: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let digit = number >> (digit * 4) & 0xf;
        bytes.push(b"0123456789abcdef"[digit]);
    }
}
