//! Upstreams in memory: each answers in the very call that brings it the end of a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use hyper::StatusCode;
use hyper::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use memchr::memmem;
use qcc::upstream::{Connecting, Network, Pending, Socket, Transport, Unconnected};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::text_of;
use crate::inputs::{answer_body, bare_headers, error_body, events, success_headers};

/// What an upstream answers, whatever it is asked.
#[derive(Clone)]
pub struct Answer {
    /// As the network brings them.
    pieces: Arc<[Bytes]>,
    /// What it ends with, and does not contain before.
    pub end: Bytes,
}

impl Answer {
    /// 1 KB of JSON, in one piece.
    pub fn whole() -> Self {
        Self::of_length(StatusCode::OK, success_headers(), answer_body())
    }

    /// The same with two headers.
    pub fn bare() -> Self {
        Self::of_length(StatusCode::OK, bare_headers(), answer_body())
    }

    /// A key that is refused.
    pub fn refusal() -> Self {
        Self::of_length(StatusCode::UNAUTHORIZED, success_headers(), error_body())
    }

    /// A stream of 50 events, each in a piece of its own.
    pub fn stream() -> Self {
        let mut headers = success_headers();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let chunk = |event: Vec<u8>| [format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
        let mut pieces = vec![head(StatusCode::OK, &headers)];
        pieces.extend(events().into_iter().map(chunk).map(Bytes::from));
        let end = Bytes::from_static(b"0\r\n\r\n");
        pieces.push(end.clone());
        Self { pieces: pieces.into(), end }
    }

    /// Whether it is one.
    pub fn is_stream(&self) -> bool {
        self.pieces.len() > 1
    }

    fn of_length(status: StatusCode, mut headers: HeaderMap, body: Vec<u8>) -> Self {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let whole = [&head(status, &headers)[..], &body].concat();
        Self { pieces: [Bytes::from(whole)].into(), end: body.into() }
    }
}

fn head(status: StatusCode, headers: &HeaderMap) -> Bytes {
    format!("HTTP/1.1 {status}\r\n{}\r\n", text_of(headers)).into()
}

/// A network on which the upstream at port 1 gives the first answer, that at port 2 the second.
pub struct InMemory(pub Vec<Answer>);

impl Network for InMemory {
    fn connect<'a>(&'a self, _: &'a str, port: u16) -> Connecting<'a> {
        let answer = self.0.get(usize::from(port).wrapping_sub(1)).cloned();
        Box::pin(async move {
            match answer {
                Some(answer) => Ok(Socket::Other(Box::new(Wire::to(answer)))),
                None => Err(Unconnected::Refused(io::ErrorKind::ConnectionRefused.into())),
            }
        })
    }
}

/// A connection to an upstream. Each piece of its answer is waited for once, as on a socket.
pub struct Wire {
    answer: Answer,
    /// What is missing of the request that is being written.
    missing_bytes: usize,
    /// The pieces that have not arrived.
    to_come: usize,
    arrived: Bytes,
    reader: Option<Waker>,
}

impl Wire {
    /// One that is open.
    pub fn to(answer: Answer) -> Self {
        Self { answer, missing_bytes: 0, to_come: 0, arrived: Bytes::new(), reader: None }
    }

    /// Takes a part of a request; a head is in one part.
    fn take(&mut self, part: &[u8]) {
        let missing = if self.missing_bytes == 0 { request_bytes(part) } else { self.missing_bytes };
        self.missing_bytes = missing.saturating_sub(part.len());
        if self.missing_bytes == 0 {
            self.to_come = self.answer.pieces.len();
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// How long a request is that begins with this part.
fn request_bytes(part: &[u8]) -> usize {
    const LENGTH: &[u8] = b"content-length: ";
    let head = memmem::find(part, b"\r\n\r\n").map_or(part.len(), |end| end + 4);
    let digits = memmem::find(&part[..head], LENGTH).map_or(head, |at| at + LENGTH.len());
    let digits = part[digits..head].iter().take_while(|byte| byte.is_ascii_digit());
    head + digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

impl Transport for Wire {
    fn pending(&self) -> Pending {
        if self.to_come == 0 && self.arrived.is_empty() { Pending::Nothing } else { Pending::Bytes }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.arrived.is_empty() {
            if self.to_come == 0 {
                self.reader = Some(cx.waker().clone());
            } else {
                self.arrived = self.answer.pieces[self.answer.pieces.len() - self.to_come].clone();
                self.to_come -= 1;
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let taken = self.arrived.len().min(buf.remaining());
        buf.put_slice(&self.arrived[..taken]);
        self.arrived.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        self.take(part);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| self.take(part));
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
