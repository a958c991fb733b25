//! Connections from clients, accepted and at the end drained.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Proxy;
use super::connection::serve_connection;

/// The pause after a connection could not be accepted: the limit on descriptors, mostly, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` turns true, then lets running exchanges finish within the cluster's
/// `drain_timeout`, and aborts what is left.
pub async fn serve(proxy: Arc<Proxy>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Events are small and each is awaited: batching only delays them.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve_connection(proxy.clone(), stream, stop.clone()));
                }
                Err(error) => {
                    warn!(%error, "no connection can be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drain_timeout = proxy.cluster.settings().drain_timeout;
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(drain_timeout, drained).await.is_err() {
        warn!(
            connections = connections.len(),
            "exchanges were still running after drain_timeout and are aborted"
        );
    }
}
