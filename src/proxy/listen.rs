//! Connections from clients, accepted and at the end drained.

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::Proxy;
use super::accept::Acceptor;
use super::connection::serve_connection;
use super::cut::{EndsAnswers, ResetIfCut};
use super::stalled::Taken;

/// A client that is gone without a word is noticed within a minute: its request would go on to be paid for.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(15))
    .with_retries(3);

/// How much the kernel holds for a client that takes nothing: left to itself it keeps megabytes.
const UNTAKEN_BYTES_MAX: usize = 256 * 1024;

/// Serves until `stop` turns true, then lets running exchanges finish within the cluster's
/// `drain_timeout`, and aborts what is left.
pub async fn serve(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    mut acceptor: Acceptor,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            Some(_) = connections.join_next() => {}
            ((stream, _), place) = acceptor.next(|| listener.accept()) => {
                prepare(&stream);
                let ends_answers = EndsAnswers::default();
                let stream = ResetIfCut::new(stream, ends_answers.clone());
                let stream = Taken::within(proxy.cluster.settings().timeouts.idle, stream);
                let (proxy, stop) = (proxy.clone(), stop.clone());
                connections.spawn(async move {
                    // Called in here: what an async block is given keeps its room beside what it awaits.
                    serve_connection(proxy, stream, ends_answers, stop).await;
                    drop(place);
                });
            },
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

/// A connection does without what can't be set.
fn prepare(stream: &TcpStream) {
    // Events are small and each is awaited: batching only delays them.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(UNTAKEN_BYTES_MAX);
    let _ = socket.set_tcp_keepalive(&KEEPALIVE);
}
