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

/// The most bytes of sizes, extensions and trailers beyond [`BESIDE_BYTES_A_BYTE`]: as many as hyper takes.
const BESIDE_BYTES_MAX: usize = 16 * 1024;
/// How many of them may come with each byte of the body, however long it is: a chunk of one byte has 5.
const BESIDE_BYTES_A_BYTE: usize = 16;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// By the last chunk.
    Chunked {
        /// Where in the chunks it is.
        chunks: Chunks,
        /// How much more has come of sizes, extensions and trailers than the body accounts for.
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
                *beside_bytes += taken - data.len();
                *beside_bytes = beside_bytes.saturating_sub(data.len() * BESIDE_BYTES_A_BYTE);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: Framing = Framing::Chunked { chunks: Chunks::Start, beside_bytes: 0 };

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
            for (framing, mut bytes) in [(CHUNKED, chunked), (Framing::Length(whole.len() as u64), whole.clone())] {
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
        let mut framing = CHUNKED;
        let bytes = b"2\r\nab\r\nzz\r\n";
        let (data, taken) = framing.take(bytes).unwrap();
        assert_eq!((&data[..], taken), (&b"ab"[..], 7));
        assert!(framing.take(&bytes[taken..]).is_err());
    }

    #[test]
    fn a_body_of_single_bytes_goes_on_for_as_long_as_it_likes_and_extensions_do_not() {
        let mut framing = CHUNKED;
        assert!((0..50_000).all(|_| framing.take(b"1\r\na\r\n").is_ok()));
        let padded = format!("1;{}\r\na\r\n", "x".repeat(1000));
        assert!((0..20).any(|_| framing.take(padded.as_bytes()).is_err()));
    }

    #[test]
    fn between_two_bytes_of_a_body_not_much_may_stand() {
        let trailers = "x-trailer: y\r\n".repeat(2_000);
        let mut framing = CHUNKED;
        framing.take(b"1\r\na\r\n0\r\n").unwrap();
        assert!(trailers.as_bytes().chunks(1000).any(|piece| framing.take(piece).is_err()));
    }
}
