//! Connections: name look-up, TCP, a proxy's tunnel, TLS.

mod egress;
mod error;
mod local;
mod race;
mod stream;
mod tunnel;

pub use egress::Egress;
pub use error::{ConnectError, ProxyFault};
pub(super) use stream::{Application, Pending, Stream};

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::warn;

use super::OriginError;
use super::descriptors::Place;
use crate::clock::Stopwatch;
use crate::config::{BaseUrl, CaFile, ProxyUrl};
use local::Whose;
use tunnel::Tunnel;

/// A peer that is gone without a word is noticed within a minute: a stream may be silent for minutes,
/// and what is between drops connections that are.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(15))
    .with_retries(3);

/// How much of an answer the kernel holds for a client that takes nothing: left to itself it keeps megabytes. Over a
/// distance of 100 ms it is enough for 5 MB/s, and an answer is written more slowly.
const UNREAD_BYTES_MAX: usize = 512 * 1024;
/// How often it is told that this machine is short of something.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How an endpoint is connected to.
pub(super) struct Connector {
    host: String,
    port: u16,
    /// Whose host and port they are, where it is not the endpoint itself.
    proxy: Option<ProxyUrl>,
    tunnel: Option<Tunnel>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Who is trusted besides the platform's authorities.
    ca_file: Option<CaFile>,
    limit: Duration,
    warned: Mutex<Option<Stopwatch>>,
}

impl Connector {
    pub(super) fn new(base_url: &BaseUrl, egress: &Egress<'_>) -> Result<Self, OriginError> {
        let tls = if base_url.is_https() {
            let host = base_url.host().to_owned();
            let name = ServerName::try_from(host)
                .map_err(|error| OriginError(format!("{base_url} can't be a TLS server: {error}")))?;
            Some((TlsConnector::from(egress.tls()?), name))
        } else {
            None
        };
        let proxy = egress.proxy().cloned();
        let (host, port) = match &proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (base_url.host(), base_url.port()),
        };
        let (host, limit) = (host.to_owned(), egress.connect_limit());
        let tunnel = proxy.as_ref().filter(|_| base_url.is_https()).map(|proxy| Tunnel::new(proxy, base_url));
        let ca_file = egress.ca_file().cloned();
        Ok(Self { host, port, proxy, tunnel, tls, ca_file, limit, warned: Mutex::default() })
    }

    /// Whether a connection of the other's is as good as one of its own.
    pub(super) fn leads_like(&self, other: &Self) -> bool {
        let is_same_server = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some((_, name)), Some((_, other))) => *name == *other,
            (None, Some(_)) | (Some(_), None) => false,
        };
        is_same_server
            && (&self.host, self.port) == (&other.host, other.port)
            && (&self.proxy, &self.ca_file) == (&other.proxy, &other.ca_file)
    }

    /// The longest that a connection may take, from the look-up of the name to the end of the handshake.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the endpoint may turn out to speak HTTP/2.
    pub(super) fn negotiates(&self) -> bool {
        self.tls.is_some()
    }

    /// A new connection. Sets no limit of its own.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        let place = Place::take().ok_or_else(|| self.short(Errno::MFILE.into()))?;
        let addresses = match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(addresses) => addresses,
            Err(error) if Whose::of_lookup(&error) != Whose::Theirs => return Err(self.short(error)),
            Err(error) => return Err(self.failed(ConnectError::Lookup, ProxyFault::Lookup, error)),
        };
        let refused = |error| self.failed(ConnectError::Refused, ProxyFault::Refused, error);
        let mut tcp = match race::connect(addresses.collect()).await {
            Ok(tcp) => tcp,
            Err(error) if Whose::of(&error) != Whose::Theirs => return Err(self.short(error)),
            Err(error) => return Err(refused(error)),
        };
        prepare(&tcp).map_err(refused)?;
        if let Some(tunnel) = &self.tunnel {
            let proxy = self.host_and_port();
            tunnel.open(&mut tcp).await.map_err(|why| ConnectError::Proxy { proxy, why })?;
        }
        match &self.tls {
            None => Ok(Stream::Plain { tcp, _place: place }),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await.map_err(ConnectError::Tls)?;
                Ok(Stream::Tls { tls: Box::new(tls), _place: place })
            }
        }
    }

    /// Warned of now and then only: requests may come by the thousand.
    fn short(&self, error: io::Error) -> ConnectError {
        // A panic while it is set leaves it set.
        let mut warned = self.warned.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if warned.as_ref().is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            *warned = Some(Stopwatch::start());
            warn!(
                host = %self.host, %error,
                "this machine can't open a connection, which says nothing of the endpoint; the limit on open \
                 files may have to be raised"
            );
        }
        ConnectError::Local(error)
    }

    fn failed(
        &self,
        endpoint: fn(io::Error) -> ConnectError,
        proxy: fn(io::Error) -> ProxyFault,
        error: io::Error,
    ) -> ConnectError {
        match &self.proxy {
            None => endpoint(error),
            Some(_) => ConnectError::Proxy { proxy: self.host_and_port(), why: proxy(error) },
        }
    }

    fn host_and_port(&self) -> String {
        self.proxy.as_ref().map_or_else(|| format!("{}:{}", self.host, self.port), ProxyUrl::to_string)
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
