//! The way from the program to its upstreams: what the program is given in place of TCP.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use qcc::upstream::{Connecting, Network, Pending, Socket, Transport, Unconnected};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use crate::mood::Unreachable;
use crate::network::{Side, connection};
use crate::{upstream, world};

/// Hosts of the world.
pub struct World;

impl Network for World {
    fn connect<'a>(&'a self, host: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let found = world::with(|state| {
                let place = state.place_of_host(host)?;
                let unreachable = state.places[place].mood.unreachable();
                state.trace(format_args!("dial {host} {unreachable:?}"));
                if !matches!(unreachable, None | Some(Unreachable::ShortHere)) {
                    state.note_failing_dial(place);
                }
                state.look();
                Some((place, state.places[place].latency, unreachable))
            });
            let Some((place, latency, unreachable)) = found else {
                world::with(|state| {
                    state.violated(format_args!("a connection to {host}, which nobody named"))
                });
                return Err(Unconnected::Lookup(io::ErrorKind::NotFound.into()));
            };
            // There and back.
            sleep(latency * 2).await;
            match unreachable {
                None => {}
                Some(Unreachable::NoName) => return Err(Unconnected::Lookup(io::ErrorKind::NotFound.into())),
                Some(Unreachable::Refused) => {
                    return Err(Unconnected::Refused(io::ErrorKind::ConnectionRefused.into()));
                }
                Some(Unreachable::Silent) => pending().await,
                Some(Unreachable::ShortHere) => {
                    // EMFILE
                    return Err(Unconnected::Local(io::Error::from_raw_os_error(24)));
                }
            }
            let (ours, theirs) = connection(latency, 64 * 1024);
            let exchange = Arc::new(AtomicUsize::new(NONE));
            tokio::spawn(upstream::serve(place, theirs, exchange.clone()));
            Ok(Socket::Other(Box::new(Wire { place, side: ours, exchange, left_bytes: 0 })))
        })
    }
}

/// In place of an exchange's number.
pub const NONE: usize = usize::MAX;

/// A connection as the program holds it. It sees each request at its first byte.
struct Wire {
    place: usize,
    side: Side,
    /// The number of the exchange under way.
    exchange: Arc<AtomicUsize>,
    /// What is missing of the request that is being written.
    left_bytes: usize,
}

impl Wire {
    fn see(&mut self, bytes: &[u8]) {
        if self.left_bytes > 0 {
            match self.left_bytes.checked_sub(bytes.len()) {
                Some(left) => self.left_bytes = left,
                None => world::with(|state| state.violated("more was written than the request is long")),
            }
            return;
        }
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return world::with(|state| state.violated("a request's head was written in pieces"));
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length: usize =
            header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = &bytes[end + 4..];
        match length.checked_sub(body.len()) {
            Some(left) => self.left_bytes = left,
            None => world::with(|state| state.violated("a second request follows the first unasked")),
        }
        let pending = self.side.pending();
        let exchange = world::with(|state| {
            state.look();
            if pending != Pending::Nothing {
                state.violated(format_args!("stale: a request goes to a connection that holds {pending:?}"));
            }
            state.begin_exchange(self.place, &head, self.side.is_doomed())
        });
        self.exchange.store(exchange, Ordering::Relaxed);
    }
}

/// The value of a header, if it is there.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Transport for Wire {
    fn pending(&self) -> Pending {
        self.side.pending()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let exchange = self.exchange.load(Ordering::Relaxed);
        world::with_if_any(|state| {
            if exchange != NONE {
                state.note_dropped(exchange);
            }
        });
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.side).poll_write(cx, buf);
        // One that fails too: the program can't know how much of it arrived.
        if written.is_ready() {
            self.see(buf);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}
