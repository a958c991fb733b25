//! A limit on how long a client may take nothing of what is sent to it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream to a peer that has to take something within a limit, as long as something waits to be sent. One that
/// does not ties up its connection, its upstream's, and what is buffered between.
pub struct Taken<S> {
    stream: S,
    limit: Duration,
    /// Running while the peer takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    /// `limit` is the longest time between two writes of which the kernel takes something.
    pub fn within(limit: Duration, stream: S) -> Self {
        Self { stream, limit, stall: None }
    }

    /// What a write came to, or that the peer has taken nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        stall.as_mut().poll(cx).map(|()| {
            let why = format!("the client has taken nothing for {:?}", self.limit);
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_stalled(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::clock::Stopwatch;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_after_the_limit() {
        let (near, _far) = duplex(64);
        let begun = Stopwatch::start();
        let error = Taken::within(LIMIT, near).write_all(&[7; 65]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_served_to_the_end() {
        let (near, mut far) = duplex(1);
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            while far.read_buf(&mut read).await.unwrap() > 0 {
                sleep(LIMIT * 9 / 10).await;
            }
            read
        });
        let mut near = Taken::within(LIMIT, near);
        near.write_all(&[7; 20]).await.unwrap();
        drop(near);
        assert_eq!(reading.await.unwrap(), [7; 20]);
    }
}
