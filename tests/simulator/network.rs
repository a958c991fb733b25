//! Connections in memory: latency, order kept, ends by FIN or RST, and a bound on what is under way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use qcc::upstream::Pending;

/// How a side of a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Rst,
}

/// What flows one way.
struct Lane {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    capacity: usize,
    last_arrival: Instant,
    end: Option<(Instant, End)>,
    /// From when on the writer hears that nobody reads.
    unread_from: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new(capacity: usize) -> Self {
        Self {
            under_way: VecDeque::new(),
            bytes: 0,
            capacity,
            last_arrival: Instant::now(),
            end: None,
            unread_from: None,
            reader: None,
            writer: None,
        }
    }

    fn arrival(&mut self, latency: Duration) -> Instant {
        self.last_arrival = self.last_arrival.max(Instant::now() + latency);
        self.last_arrival
    }

    fn finish(&mut self, latency: Duration, end: End) {
        if self.end.is_none() {
            self.end = Some((self.arrival(latency), end));
        }
        wake(&mut self.reader);
    }

    /// When something is there to be read.
    fn next(&self) -> Option<Instant> {
        self.under_way.front().map(|(at, _)| *at).or(self.end.map(|(at, _)| at))
    }
}

fn wake(waker: &mut Option<Waker>) {
    waker.take().into_iter().for_each(Waker::wake);
}

/// One side of a connection. Dropped, it is closed: with FIN, or with RST where it leaves something unread.
pub struct Side {
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
    latency: Duration,
    /// Rings when the next bytes arrive.
    arrival: Option<Pin<Box<Sleep>>>,
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Two sides; `capacity` is how many bytes may be under way to the first one.
pub fn connection(latency: Duration, capacity: usize) -> (Side, Side) {
    let there = Arc::new(Mutex::new(Lane::new(256 * 1024)));
    let back = Arc::new(Mutex::new(Lane::new(capacity)));
    let side = |incoming: &Arc<_>, outgoing: &Arc<_>| Side {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        latency,
        arrival: None,
    };
    (side(&back, &there), side(&there, &back))
}

impl Side {
    /// Ends both ways at once.
    pub fn cut(&mut self, end: End) {
        lock(&self.outgoing).finish(self.latency, end);
        let mut incoming = lock(&self.incoming);
        incoming.unread_from.get_or_insert(Instant::now() + self.latency);
        wake(&mut incoming.writer);
    }

    /// Whether what is written now is never read, though the writer has not heard of it.
    pub fn is_doomed(&self) -> bool {
        lock(&self.outgoing).unread_from.is_some()
    }

    pub fn pending(&self) -> Pending {
        let lane = lock(&self.incoming);
        match lane.next() {
            Some(at) if at <= Instant::now() && lane.under_way.is_empty() => Pending::End,
            Some(at) if at <= Instant::now() => Pending::Bytes,
            Some(_) | None => Pending::Nothing,
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let leaves_unread = !lock(&self.incoming).under_way.is_empty();
        self.cut(if leaves_unread { End::Rst } else { End::Fin });
    }
}

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut lane = lock(&this.incoming);
        let Some(next) = lane.next() else {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if next > Instant::now() {
            // What comes earlier than this (an end, say) wakes it too.
            lane.reader = Some(cx.waker().clone());
            drop(lane);
            let arrival = match &mut this.arrival {
                Some(arrival) if arrival.deadline() == next => arrival,
                other => other.insert(Box::pin(sleep_until(next))),
            };
            if arrival.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let Some((_, mut bytes)) = lane.under_way.pop_front() else {
            return match lane.end {
                Some((_, End::Rst)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Some((_, End::Fin)) | None => Poll::Ready(Ok(())),
            };
        };
        let taken = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..taken]);
        if taken < bytes.len() {
            lane.under_way.push_front((next, bytes.split_off(taken)));
        }
        lane.bytes -= taken;
        wake(&mut lane.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut lane = lock(&this.outgoing);
        let is_full = lane.bytes >= lane.capacity;
        if lane.unread_from.is_some_and(|from| is_full || from <= Instant::now()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if lane.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if is_full {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let at = lane.arrival(this.latency);
        lane.bytes += buf.len();
        lane.under_way.push_back((at, buf.to_vec()));
        wake(&mut lane.reader);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.outgoing).finish(self.latency, End::Fin);
        Poll::Ready(Ok(()))
    }
}
