//! The way out: one [`Origin`] an endpoint, which owns the key, the connections and the one function
//! that makes a request head. Proxy and prober both go through it.
//!
//! ```text
//! Origin ── head                 the request's head
//!        ├─ pool                 connections kept
//!        ├─ connect              new ones: look-up, race, tunnel, TLS
//!        └─ connection           one exchange
//!             ├─ http1 ─ wire    the check before the first byte
//!             └─ http2 ─ body    the check before the body
//! ```

mod age;
mod answer;
mod body;
mod connect;
mod connection;
mod ending;
mod head;
mod http1;
mod http2;
mod pool;
#[cfg(test)]
mod tests;
mod turns;
mod wire;

pub use answer::{AnswerBody, BodyError, with_causes};
pub use body::ReplayBody;
pub use connect::{ConnectError, Egress, ProxyFault};
pub use connection::{Connection, Returned, SendError, Unsent};
pub use head::strip_hop_by_hop;
pub use wire::Admission;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyper::http::uri::Authority;
use hyper::http::{HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::config::{AuthForm, BaseUrl, Secret};
use connect::{Application, Connector};
use head::Hop;
use http1::Http1;
use http2::Http2;
use pool::Pool;
use turns::Turns;
use wire::History;

/// Where an endpoint is, how it is authorised, and the connections to it.
pub struct Origin {
    host: HeaderValue,
    authority: Authority,
    credentials: Vec<(HeaderName, HeaderValue)>,
    hop: Hop,
    connector: Connector,
    pool: Arc<Pool>,
    /// Whether a connection may serve several requests: as the last one did, or could.
    shares: AtomicBool,
    turns: Turns,
    /// How many requests a shared connection takes, as the last one said.
    places: Arc<AtomicUsize>,
}

/// Why an endpoint's settings can't be used.
#[derive(Debug)]
pub struct OriginError(pub String);

impl std::fmt::Display for OriginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OriginError {}

impl Origin {
    /// An origin with no connection yet. Reads the platform's root certificates on the first https one of
    /// an `egress`.
    ///
    /// # Errors
    /// When there are no usable root certificates and the URL is https, or the host can't be a TLS server name.
    pub fn new(
        base_url: &BaseUrl,
        key: &Secret,
        auth: AuthForm,
        egress: &Egress<'_>,
    ) -> Result<Self, OriginError> {
        let unusable = || OriginError(format!("{:?} can't be sent as a Host header", base_url.authority()));
        let host = HeaderValue::from_str(base_url.authority()).map_err(|_| unusable())?;
        let authority = base_url.authority().parse().map_err(|_| unusable())?;
        let connector = Connector::new(base_url, egress)?;
        Ok(Self {
            host,
            authority,
            credentials: head::credentials(key, auth),
            hop: Hop::new(base_url, egress.proxy()),
            shares: AtomicBool::new(connector.negotiates()),
            connector,
            pool: Arc::default(),
            turns: Turns::default(),
            places: Arc::new(AtomicUsize::new(http2::STREAMS_MAX)),
        })
    }

    /// A connection that is ready to take a request: a pooled one, else a new one.
    ///
    /// # Errors
    /// When no connection comes about within the connect timeout. Nothing was sent then.
    pub async fn connection(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        match self.pool.take().await {
            Some(connection) => Ok(connection),
            None => self.new_connection(gate).await,
        }
    }

    /// A connection other than those that lie idle: made for this request, or one that several share and that
    /// has come about meanwhile.
    ///
    /// # Errors
    /// As for [`Origin::connection`].
    pub async fn new_connection(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        let limit = self.connector.limit();
        timeout(limit, self.dial(gate)).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }

    async fn dial(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        // Where a connection may serve many who wait, only as many are opened as they need. Whoever's turn comes
        // looks again. Relaxed: who sees an old number waits in another row.
        let turn = match self.shares_connections() {
            true => Some(self.turns.take(self.places.load(Ordering::Relaxed)).await),
            false => None,
        };
        if let Some(connection) = self.pool.take_shared() {
            return Ok(connection);
        }
        // It was found meanwhile that nothing is shared: the others need not wait.
        let turn = turn.filter(|_| self.shares_connections());
        let stream = self.connector.connect().await?;
        let application = stream.application();
        // Relaxed: who sees it late takes its turn once more.
        self.shares.store(application == Application::Http2, Ordering::Relaxed);
        match application {
            Application::Http1 => {
                let connection = Http1::open(stream, gate.clone(), self.hop.reader()).await?;
                Ok(Connection::http1(connection, History::New, &self.pool))
            }
            Application::Http2 => {
                let connection =
                    Http2::open(stream, gate.clone(), self.authority.clone(), turn, &self.places).await?;
                let place = connection.place_of_opener();
                self.pool.share(connection);
                Ok(Connection::http2(place, History::New, &self.pool))
            }
        }
    }

    /// Opens a connection ahead of need. Nothing is sent on it.
    ///
    /// # Errors
    /// As for [`Origin::connection`].
    pub async fn warm(&self, gate: &Arc<dyn Admission>) -> Result<(), ConnectError> {
        self.new_connection(gate).await.map(Connection::give_back)
    }

    /// Lets go of connections that are closed or too old.
    pub fn prune(&self) {
        self.pool.prune();
    }

    /// How many requests could have a connection without a handshake; one that many share counts as one.
    pub fn connections_ready(&self) -> usize {
        self.pool.ready()
    }

    /// How many requests have had a connection without a handshake.
    pub fn connections_reused(&self) -> u64 {
        self.pool.served()
    }

    /// Whether a new connection costs a TLS handshake.
    pub fn is_secured(&self) -> bool {
        self.connector.negotiates()
    }

    /// Whether a connection serves several requests at once, as far as is known.
    pub fn shares_connections(&self) -> bool {
        self.shares.load(Ordering::Relaxed)
    }
}
