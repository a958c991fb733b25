//! The way out: one [`Origin`] an endpoint, which owns the key, the connections and the one function
//! that makes a request head. Proxy and prober both go through it.

mod body;
mod connect;
mod head;
mod pool;
mod wire;

pub use body::ReplayBody;
pub use connect::ConnectError;
pub use head::strip_hop_by_hop;
pub use pool::{Connection, Returned, SendError};
pub use wire::Admission;

use std::sync::Arc;
use std::time::Duration;

use hyper::http::{HeaderName, HeaderValue};

use crate::config::{AuthForm, BaseUrl, Secret};
use connect::Connector;
use pool::Pool;

/// Where an endpoint is, how it is authorised, and the connections to it.
pub struct Origin {
    base_url: BaseUrl,
    host: HeaderValue,
    credentials: Vec<(HeaderName, HeaderValue)>,
    connector: Connector,
    pool: Arc<Pool>,
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
    /// An origin with no connection yet. Reads the platform's root certificates on the first https one.
    ///
    /// # Errors
    /// When the platform has no usable root certificates and the URL is https, or the host can't be a
    /// TLS server name.
    pub fn new(
        base_url: &BaseUrl,
        key: &Secret,
        auth: AuthForm,
        connect: Duration,
    ) -> Result<Self, OriginError> {
        let authority = base_url.authority();
        let host = HeaderValue::from_str(authority)
            .map_err(|_| OriginError(format!("{authority:?} can't be sent as a Host header")))?;
        let connector = Connector::new(base_url, connect)?;
        let credentials = head::credentials(key, auth);
        Ok(Self { base_url: base_url.clone(), host, credentials, connector, pool: Arc::default() })
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

    /// A connection made for this request.
    ///
    /// # Errors
    /// As for [`Origin::connection`].
    pub async fn new_connection(&self, gate: &Arc<dyn Admission>) -> Result<Connection, ConnectError> {
        let stream = self.connector.connect().await?;
        Connection::open(stream, gate.clone(), &self.pool).await
    }
}
