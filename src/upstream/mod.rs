//! The way out: one [`Origin`] an endpoint, which owns the key, the connections and the one function
//! that makes a request head. Proxy and prober both go through it.
//!
//! ```text
//! Origin ── pool ─ head          connections kept, and the head of what is sent on them
//!        ├─ connect              new ones: look-up, race, tunnel, TLS
//!        └─ connection           one exchange
//!             ├─ http1           the check before the first byte
//!             └─ http2 ─ body    the check before the body
//! ```

mod age;
mod answer;
mod body;
mod connect;
mod connection;
mod descriptors;
mod head;
mod http1;
mod http2;
mod pool;
#[cfg(test)]
mod tests;
mod turns;
mod via;
mod wire;

pub use answer::{AnswerBody, BodyError, with_causes};
pub use body::ReplayBody;
pub use connect::{
    ConnectError, Connecting, Egress, Network, Pending, ProxyFault, Socket, Tcp, Transport, Unconnected,
};
pub use connection::{Connection, SendError, Unsent};
pub use descriptors::clients_max;
pub use head::{Draft, TARGET_BYTES_MAX};
pub use via::has_passed_here;
pub use wire::Admission;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyper::http::HeaderValue;
use hyper::http::uri::Authority;
use tokio::time::timeout;

use crate::config::{AuthForm, BaseUrl, Secret};
use connect::{Application, Connector};
use head::{HeadWriter, Hop};
use http1::Http1;
use http2::Http2;
use pool::Pool;
use turns::Turns;
use wire::History;

/// Where an endpoint is, how it is authorised, and the connections to it.
pub struct Origin {
    authority: Authority,
    connector: Connector,
    connections: Arc<Connections>,
}

/// The connections to an endpoint, and what they have shown of it. A reload may keep them.
struct Connections {
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
        let head = HeadWriter::new(host, key, auth, Hop::new(base_url, egress.proxy()));
        Ok(Self {
            authority,
            connections: Arc::new(Connections {
                pool: Arc::new(Pool::new(head)),
                shares: AtomicBool::new(connector.negotiates()),
                turns: Turns::default(),
                places: Arc::new(AtomicUsize::new(http2::STREAMS_MAX)),
            }),
            connector,
        })
    }

    /// The same with the connections of another one, if they lead where its own would, with the same trust, and
    /// what is sent on them is addressed and authorised alike.
    pub fn with_connections_of(self, other: &Self) -> Self {
        let writes_alike = self.connections.pool.head == other.connections.pool.head;
        match writes_alike && self.connector.leads_like(&other.connector) {
            true => Self { connections: other.connections.clone(), ..self },
            false => self,
        }
    }

    /// A connection that is ready to take a request: a pooled one, else a new one.
    ///
    /// # Errors
    /// When no connection comes about within the connect timeout. Nothing was sent then.
    pub async fn connection(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        match self.connections.pool.take() {
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
        // On the heap: it is large, and most requests find a connection.
        let dialled = Box::pin(timeout(limit, self.dial(gate))).await;
        dialled.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }

    async fn dial(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        let Connections { pool, shares, turns, places } = &*self.connections;
        // Where a connection may serve many who wait, only as many are opened as they need. Whoever's turn comes
        // looks again. Relaxed: who sees an old number waits in another row.
        let turn = match self.shares_connections() {
            true => Some(turns.take(places.load(Ordering::Relaxed)).await),
            false => None,
        };
        if let Some(connection) = pool.take_shared() {
            return Ok(connection);
        }
        // It was found meanwhile that nothing is shared: the others need not wait.
        let turn = turn.filter(|_| self.shares_connections());
        let stream = self.connector.connect().await?;
        let application = stream.application();
        // Relaxed: who sees it late takes its turn once more.
        shares.store(application == Application::Http2, Ordering::Relaxed);
        match application {
            Application::Http1 => {
                let connection = Http1::new(stream, gate.clone(), pool.head.reader());
                Ok(Connection::http1(connection, History::New, pool))
            }
            Application::Http2 => {
                let connection =
                    Http2::open(stream, gate.clone(), self.authority.clone(), turn, places).await?;
                let place = connection.place_of_opener();
                pool.share(&connection);
                Ok(Connection::http2(place, History::New, pool))
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
        self.connections.pool.prune();
    }

    /// Closes the connections that nobody uses.
    pub fn close_idle(&self) {
        self.connections.pool.close_idle();
    }

    /// How many requests could have a connection without a handshake; one that many share counts as one.
    pub fn connections_ready(&self) -> usize {
        self.connections.pool.ready()
    }

    /// How many requests have had a connection without a handshake.
    pub fn connections_reused(&self) -> u64 {
        self.connections.pool.served()
    }

    /// Whether a new connection costs a TLS handshake.
    pub fn is_secured(&self) -> bool {
        self.connector.negotiates()
    }

    /// Whether a connection serves several requests at once, as far as is known.
    pub fn shares_connections(&self) -> bool {
        self.connections.shares.load(Ordering::Relaxed)
    }
}
