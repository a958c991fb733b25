//! Connections: name look-up, TCP, a proxy's tunnel, TLS.

mod egress;
mod error;
mod local;
mod network;
mod race;
mod stream;
mod tunnel;

pub use egress::Egress;
pub use error::{ConnectError, ProxyFault};
pub use network::{Connecting, Network, Pending, Socket, Tcp, Transport, Unconnected};
pub(super) use stream::{Application, Stream};

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::warn;

use super::OriginError;
use crate::clock::Stopwatch;
use crate::config::{BaseUrl, CaFile, ProxyUrl};
use tunnel::Tunnel;

/// How often it is told that this machine is short of something.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How an endpoint is connected to.
pub(super) struct Connector {
    network: Arc<dyn Network>,
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
        let (network, ca_file) = (egress.network(), egress.ca_file().cloned());
        Ok(Self { network, host, port, proxy, tunnel, tls, ca_file, limit, warned: Mutex::default() })
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
        let connected = self.network.connect(&self.host, self.port).await;
        let mut socket = connected.map_err(|why| self.failed(why))?;
        if let Some(tunnel) = &self.tunnel {
            let proxy = self.host_and_port();
            tunnel.open(&mut socket).await.map_err(|why| ConnectError::Proxy { proxy, why })?;
        }
        match &self.tls {
            None => Ok(Stream::Plain(socket)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), socket).await.map_err(ConnectError::Tls)?;
                Ok(Stream::Tls(Box::new(tls)))
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

    fn failed(&self, why: Unconnected) -> ConnectError {
        let of_proxy = |why| ConnectError::Proxy { proxy: self.host_and_port(), why };
        match (&self.proxy, why) {
            (_, Unconnected::Local(error)) => self.short(error),
            (None, Unconnected::Lookup(error)) => ConnectError::Lookup(error),
            (None, Unconnected::Refused(error)) => ConnectError::Refused(error),
            (Some(_), Unconnected::Lookup(error)) => of_proxy(ProxyFault::Lookup(error)),
            (Some(_), Unconnected::Refused(error)) => of_proxy(ProxyFault::Refused(error)),
        }
    }

    fn host_and_port(&self) -> String {
        self.proxy.as_ref().map_or_else(|| format!("{}:{}", self.host, self.port), ProxyUrl::to_string)
    }
}
