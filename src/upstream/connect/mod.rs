//! Connections: name look-up, TCP, a proxy's tunnel, TLS.

mod egress;
mod error;
mod network;
mod race;
mod stream;
mod tunnel;

pub use egress::Egress;
pub use error::{ConnectError, ProxyFault};
pub use network::{Connecting, Network, Pending, Socket, Tcp, Transport, Unconnected};
pub(super) use stream::{Application, Stream};

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::OriginError;
use crate::config::{BaseUrl, ProxyUrl};
use tunnel::Tunnel;

/// How an endpoint is connected to.
pub(super) struct Connector {
    network: Arc<dyn Network>,
    host: String,
    port: u16,
    /// Whose host and port they are, where it is not the endpoint itself.
    proxy: Option<ProxyUrl>,
    tunnel: Option<Tunnel>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
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
        Ok(Self { network: egress.network(), host, port, proxy, tunnel, tls, limit })
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

    fn failed(&self, why: Unconnected) -> ConnectError {
        let of_proxy = |why| ConnectError::Proxy { proxy: self.host_and_port(), why };
        match (&self.proxy, why) {
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
