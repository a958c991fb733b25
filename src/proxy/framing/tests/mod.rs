mod agreed;
mod naive;
mod passed;
mod refused;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::stream::PORTION_BYTES_MAX;
use super::{Guarded, Stop};

/// What a client sends, piece by piece, then its end.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client's.
    Eof,
    /// Nothing comes, and nothing ends.
    Silence,
}

/// What hyper would read of these pieces with room for `room` bytes at a time.
fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, room: usize) -> (Vec<u8>, End, Guarded<Pieces>) {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec);
    let mut guarded = Guarded::new(Pieces(pieces.collect()));
    let (mut read, mut room) = (Vec::new(), vec![0; room]);
    loop {
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut guarded).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Pending => return (read, End::Silence, guarded),
            Poll::Ready(result) => result.unwrap(),
        }
        if buf.filled().is_empty() {
            return (read, End::Eof, guarded);
        }
        assert!(buf.filled().len() <= PORTION_BYTES_MAX, "hyper's room would grow");
        read.extend_from_slice(buf.filled());
    }
}

fn stop_of(guarded: &Guarded<Pieces>) -> Option<Stop> {
    guarded.follower.stopped()
}
