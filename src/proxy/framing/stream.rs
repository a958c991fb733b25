//! The guard as hyper sees it: a connection on which every request is framed in one way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Follower, Refusal, Stop};
use crate::proxy::answers::OwnAnswer;
use crate::proxy::passing::pass_writes_to;

/// What hyper reads in the place of a refused head: a request, so that its answer waits for those before
/// it and closes the connection as every answer of that kind does.
pub(super) const STAND_IN: &[u8] = b"QCC-REFUSED / HTTP/1.1\r\nconnection: close\r\n\r\n";
const STAND_IN_METHOD: &str = "QCC-REFUSED";
/// How much hyper gets in one read. It doubles its room, 8 KiB at first, whenever a read fills it, and keeps it as long as
/// the connection: a byte less than the room that is to be the last. More would save a long body few reads, and cost an
/// open stream 64 KiB.
pub(super) const PORTION_BYTES_MAX: usize = 32 * 1024 - 1;
/// How long a client that is still sending is listened to after its answer: closing at once would reset
/// the connection, and with it the answer.
const LINGER: Duration = Duration::from_secs(1);

/// A connection whose inbound bytes are read before hyper reads them.
pub struct Guarded<S> {
    pub(super) stream: S,
    pub(super) follower: Follower,
    /// What was read but not passed on: `cleared` bytes that may be, then an incomplete head.
    pub(super) held: Vec<u8>,
    cleared: usize,
    refusals: Refusals,
    linger: Option<Pin<Box<Sleep>>>,
}

/// Tells the request that stands for a refused one.
#[derive(Clone, Default)]
pub struct Refusals(Arc<OnceLock<Refusal>>);

impl Refusals {
    /// The answer to a request that stands for a refused one.
    pub fn answer_to<B>(&self, request: &Request<B>) -> Option<OwnAnswer> {
        // The method alone is no proof: a client may send it. Nor is the refusal: one before it is answered.
        let refusal = self.0.get().filter(|_| request.method().as_str() == STAND_IN_METHOD)?;
        let message = format!("qcc: the request's head {}", refusal.as_str());
        Some(match refusal.is_of_size() {
            true => OwnAnswer::head_too_large(message),
            false => OwnAnswer::bad_request(message),
        })
    }
}

impl<S> Guarded<S> {
    /// Guards a connection on which nothing has been read.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            follower: Follower::default(),
            held: Vec::new(),
            cleared: 0,
            refusals: Refusals::default(),
            linger: None,
        }
    }

    /// What to ask before a request is served.
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// Takes what was read into `buf` from `start` on, and leaves there what may be passed on.
    fn take_fresh(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let fresh = &buf.filled()[start..];
        if self.held.is_empty() {
            // The usual way, without a copy: heads that come whole, and bodies.
            let passed = self.follower.follow(fresh);
            self.held.extend_from_slice(&fresh[passed..]);
            buf.set_filled(start + passed);
        } else {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            self.cleared = self.follower.follow(&self.held);
        }
        if let Some(stop) = self.follower.stopped() {
            self.held.truncate(self.cleared);
            if let Stop::Head(refusal) = stop {
                self.held.extend_from_slice(STAND_IN);
                self.cleared = self.held.len();
                let _ = self.refusals.0.set(refusal);
            }
        }
    }

    fn pass_cleared(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.cleared.min(buf.remaining()).min(PORTION_BYTES_MAX);
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.cleared -= length;
        if self.held.is_empty() {
            // Most heads come whole, so the room is not kept.
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        loop {
            if this.cleared > 0 {
                this.pass_cleared(buf);
                return Poll::Ready(Ok(()));
            }
            match this.follower.stopped() {
                None => {}
                // Nothing follows, and an end would break off the answers under way.
                Some(Stop::Head(_)) => return Poll::Pending,
                // The body ends before its end, for which it is refused.
                Some(Stop::Body) => return Poll::Ready(Ok(())),
            }
            let mut portion = (&mut this.stream).take(PORTION_BYTES_MAX as u64);
            ready!(Pin::new(&mut portion).poll_read(cx, buf))?;
            if buf.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            this.take_fresh(buf, start);
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    pass_writes_to!(stream);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.follower.expects_more() {
                return Poll::Ready(Ok(()));
            }
        }
        // The timer first: a client that sends without a pause must not outrun it.
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if linger.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut room = [0; 4096];
        loop {
            let mut ignored = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut ignored));
            if read.is_err() || ignored.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
