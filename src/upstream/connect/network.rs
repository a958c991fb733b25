//! Where connections come from: TCP, or a network that a simulation puts in its place.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::descriptors::Place;
use super::local::Whose;
use super::race;

/// A peer that is gone without a word is noticed within a minute: a stream may be silent for minutes,
/// and what is between drops connections that are.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(15))
    .with_retries(3);

/// How much of an answer the kernel holds for a client that takes nothing: left to itself it keeps megabytes. Over a
/// distance of 100 ms it is enough for 5 MB/s, and an answer is written more slowly.
const UNREAD_BYTES_MAX: usize = 512 * 1024;

/// Whatever connects to a host. One dynamic call a connection; what is read and written goes to the socket.
pub trait Network: Send + Sync {
    /// A new connection. It sets no limit of its own; dropped, it is given up.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a>;
}

/// A connection that is coming about.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Socket, Unconnected>> + Send + 'a>>;

/// Why none came about.
#[derive(Debug)]
pub enum Unconnected {
    /// The name does not resolve.
    Lookup(io::Error),
    /// No address took the connection, or there is no way from here to any.
    Refused(io::Error),
    /// This machine can't open one: descriptors, ports or memory are used up.
    Local(io::Error),
}

impl From<race::Unreached> for Unconnected {
    fn from(race::Unreached { error, whose }: race::Unreached) -> Self {
        match whose {
            Whose::Ours => Self::Local(error),
            Whose::Theirs | Whose::NoWayFromHere => Self::Refused(error),
        }
    }
}

/// The bytes of a connection as the network carries them.
pub enum Socket {
    /// A TCP connection.
    Tcp(TcpConnection),
    /// Another network's.
    Other(Box<dyn Transport>),
}

/// A TCP connection, with its place among those that the process may have.
pub struct TcpConnection {
    tcp: TcpStream,
    _place: Place,
}

/// One that is not counted.
impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(TcpConnection { tcp, _place: Place::default() })
    }
}

/// A connection of another network than TCP.
pub trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// What waits to be read, without waiting and without taking it.
    fn pending(&self) -> Pending;
}

/// What waits to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing, and the connection is open.
    Nothing,
    /// Some bytes.
    Bytes,
    /// The peer has closed, or the connection is broken.
    End,
}

/// The machine's own network: names are looked up by its resolver, and their addresses raced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let place = Place::take().ok_or_else(|| Unconnected::Local(Errno::MFILE.into()))?;
            let addresses = match tokio::net::lookup_host((host, port)).await {
                Ok(addresses) => addresses,
                Err(error) if Whose::of_lookup(&error) == Whose::Ours => {
                    return Err(Unconnected::Local(error));
                }
                Err(error) => return Err(Unconnected::Lookup(error)),
            };
            let tcp = race::connect(addresses.collect()).await?;
            prepare(&tcp).map_err(Unconnected::Refused)?;
            Ok(Socket::Tcp(TcpConnection { tcp, _place: place }))
        })
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    // A request is written in one go, and its answer is waited for: batching only delays it.
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    // Less than asked for will do.
    let _ = socket.set_recv_buffer_size(UNREAD_BYTES_MAX);
    socket.set_tcp_keepalive(&KEEPALIVE)
}

impl Socket {
    /// What the kernel holds unread. Asks the socket itself: what the runtime has heard of it is late.
    pub(super) fn pending(&self) -> Pending {
        let tcp = match self {
            Self::Tcp(TcpConnection { tcp, .. }) => tcp,
            Self::Other(transport) => return transport.pending(),
        };
        match SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Pending::End,
            Ok(_) => Pending::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pending::Nothing,
            Err(_) => Pending::End,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(TcpConnection { tcp, .. }) => Pin::new(tcp).poll_read(cx, buf),
            Self::Other(transport) => Pin::new(transport).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(TcpConnection { tcp, .. }) => Pin::new(tcp).poll_write(cx, buf),
            Self::Other(transport) => Pin::new(transport).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(TcpConnection { tcp, .. }) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Other(transport) => Pin::new(transport).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(TcpConnection { tcp, .. }) => tcp.is_write_vectored(),
            Self::Other(transport) => transport.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(TcpConnection { tcp, .. }) => Pin::new(tcp).poll_flush(cx),
            Self::Other(transport) => Pin::new(transport).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(TcpConnection { tcp, .. }) => Pin::new(tcp).poll_shutdown(cx),
            Self::Other(transport) => Pin::new(transport).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_out_of_reach_from_here_has_failed_and_a_shortage_here_is_none_of_its_doing() {
        let unconnected =
            |whose| Unconnected::from(race::Unreached { error: io::Error::from(Errno::ADDRNOTAVAIL), whose });
        assert!(matches!(unconnected(Whose::NoWayFromHere), Unconnected::Refused(_)));
        assert!(matches!(unconnected(Whose::Theirs), Unconnected::Refused(_)));
        assert!(matches!(unconnected(Whose::Ours), Unconnected::Local(_)));
    }
}
