//! The body of an answer, read as its client takes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::super::pool::Pool;
use super::Exchange;
use crate::chunked::ChunkedBody;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// By the last chunk.
    Chunked(ChunkedBody),
    /// By the end of the connection.
    UntilClose,
}

impl Framing {
    /// Takes what these bytes carry of the body out of them: a slice of them where that is all that they are.
    fn take_out_of(&mut self, unread: &mut Bytes) -> io::Result<Bytes> {
        match self {
            Self::Length(left) => {
                let length = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                Ok(unread.split_to(length))
            }
            Self::Chunked(_) => {
                let (data, taken) = self.take(unread)?;
                // An empty rest would keep what it is the rest of; an empty slice does not.
                *unread = unread.slice(taken..);
                Ok(data)
            }
            Self::UntilClose => Ok(std::mem::take(unread)),
        }
    }

    /// What these bytes carry of the body, and how many of them are its.
    fn take(&mut self, bytes: &[u8]) -> io::Result<(Bytes, usize)> {
        match self {
            Self::Length(left) => {
                let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                Ok((Bytes::copy_from_slice(&bytes[..length]), length))
            }
            Self::Chunked(chunks) => {
                let mut data = Vec::with_capacity(bytes.len());
                let taken = chunks.take(bytes, &mut data)?;
                Ok((data.into(), taken))
            }
            Self::UntilClose => Ok((Bytes::copy_from_slice(bytes), bytes.len())),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
            Self::UntilClose => false,
        }
    }
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
            let data = match exchange.unread() {
                Some(unread) => Some(framing.take_out_of(unread)?),
                None => ready!(exchange.poll_read(cx, |fresh| framing.take(fresh)))?,
            };
            let Some(data) = data else {
                self.exchange = None;
                return Poll::Ready(match self.framing {
                    Framing::UntilClose => None,
                    Framing::Length(_) | Framing::Chunked(_) => Some(Err(io::Error::new(
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
            (Some(_), Framing::Chunked(_) | Framing::UntilClose) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_chunks() -> Framing {
        Framing::Chunked(ChunkedBody::default())
    }

    /// What comes of a body that is read in these pieces, and how many bytes are not its.
    fn read(mut framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let (mut data, mut surplus) = (Vec::new(), 0);
        for piece in pieces {
            let taken = if framing.is_over() {
                0
            } else {
                framing.take(piece).map_or(0, |(part, taken)| {
                    data.extend_from_slice(&part);
                    taken
                })
            };
            surplus += piece.len() - taken;
        }
        assert!(framing.is_over() || framing == Framing::UntilClose);
        (data, surplus)
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            trailer in proptest::option::of("x-[a-z]{1,5}: [a-z]{0,5}\r\n"),
            surplus in proptest::collection::vec(any::<u8>(), 0..10),
            cuts in proptest::collection::vec(0usize..400, 0..8),
        ) {
            let whole = parts.concat();
            let mut chunked: Vec<u8> = Vec::new();
            for part in &parts {
                chunked.extend(format!("{:x};a=b\r\n", part.len()).into_bytes());
                chunked.extend(part);
                chunked.extend(b"\r\n");
            }
            chunked.extend(format!("0\r\n{}\r\n", trailer.unwrap_or_default()).into_bytes());
            for (framing, mut bytes) in [(in_chunks(), chunked), (Framing::Length(whole.len() as u64), whole.clone())] {
                bytes.extend(&surplus);
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
                cuts.extend([0, bytes.len()]);
                cuts.sort_unstable();
                let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
                prop_assert_eq!(read(framing, &pieces), (whole.clone(), surplus.len()));
            }
        }
    }

    #[test]
    fn what_came_before_a_malformed_chunk_is_given_and_then_the_error() {
        let mut framing = in_chunks();
        let bytes = b"2\r\nab\r\nzz\r\n";
        let (data, taken) = framing.take(bytes).unwrap();
        assert_eq!((&data[..], taken), (&b"ab"[..], 7));
        assert!(framing.take(&bytes[taken..]).is_err());
    }

    #[test]
    fn a_body_of_single_bytes_goes_on_for_as_long_as_it_likes_and_extensions_do_not() {
        let mut framing = in_chunks();
        assert!((0..50_000).all(|_| framing.take(b"1\r\na\r\n").is_ok()));
        let padded = format!("1;{}\r\na\r\n", "x".repeat(1000));
        assert!((0..20).any(|_| framing.take(padded.as_bytes()).is_err()));
    }

    #[test]
    fn between_two_bytes_of_a_body_not_much_may_stand() {
        let trailers = "x-trailer: y\r\n".repeat(2_000);
        let mut framing = in_chunks();
        framing.take(b"1\r\na\r\n0\r\n").unwrap();
        assert!(trailers.as_bytes().chunks(1000).any(|piece| framing.take(piece).is_err()));
    }
}
