//! Connections: name look-up, TCP, TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::OriginError;
use crate::config::BaseUrl;

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub enum ConnectError {
    /// The name does not resolve.
    Lookup(io::Error),
    /// No address took the connection.
    Refused(io::Error),
    /// The certificate or the handshake failed.
    Tls(io::Error),
    /// HTTP could not be set up.
    Handshake(hyper::Error),
    /// It took longer than the connect timeout.
    TimedOut(Duration),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "the host name does not resolve: {error}"),
            Self::Refused(error) => write!(f, "no connection: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Handshake(error) => write!(f, "the connection can't be used: {error}"),
            Self::TimedOut(limit) => write!(f, "no connection within {limit:?}"),
        }
    }
}

impl std::error::Error for ConnectError {}

pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(base_url: &BaseUrl, limit: Duration) -> Result<Self, OriginError> {
        let host = base_url.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if base_url.is_https() {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| OriginError(format!("{host:?} can't be the name of a TLS server")))?;
            Some((TlsConnector::from(tls_config()?), name))
        } else {
            None
        };
        Ok(Self { host, port: base_url.port(), tls, limit })
    }

    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        timeout(self.limit, self.connect_unlimited()).await.unwrap_or(Err(ConnectError::TimedOut(self.limit)))
    }

    async fn connect_unlimited(&self) -> Result<Stream, ConnectError> {
        let addresses =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(ConnectError::Lookup)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return self.secure(tcp).await,
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Refused(last))
    }

    async fn secure(&self, tcp: TcpStream) -> Result<Stream, ConnectError> {
        // A request is written in one go, and its answer is waited for: batching only delays it.
        tcp.set_nodelay(true).map_err(ConnectError::Refused)?;
        match &self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await.map_err(ConnectError::Tls)?;
                Ok(Stream::Tls(Box::new(tls)))
            }
        }
    }
}

/// One TLS configuration for all endpoints: the platform's roots, HTTP/1.1.
fn tls_config() -> Result<Arc<ClientConfig>, OriginError> {
    static SHARED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SHARED.get() {
        return Ok(config.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(OriginError(format!(
            "no root certificates were found on this machine{why}; install the package ca-certificates"
        )));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OriginError(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(SHARED.get_or_init(|| Arc::new(config)).clone())
}

/// A connection to an upstream, with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
