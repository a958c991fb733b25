//! Connections from clients.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Proxy;
use super::framing::{Guarded, HEAD_BYTES_MAX};

/// How an HTTP/2 connection begins (RFC 9113 §3.4); no HTTP/1 request does.
const HTTP2_PREFACE_START: &[u8] = b"PRI";
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

async fn serve_connection(proxy: Arc<Proxy>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let header_timeout = proxy.cluster.settings().timeouts.client_header;
    // Events are small and each is awaited: batching only delays them.
    let _ = stream.set_nodelay(true);
    let begun = tokio::select! {
        begun = timeout(header_timeout, begins_as_http2(&stream)) => begun,
        // Nothing came on it: clients open connections ahead of need, and a drain must not wait for those.
        () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
    };
    let is_http2 = match begun {
        Ok(Ok(is_http2)) => is_http2,
        Ok(Err(_)) | Err(_) => return,
    };
    let ended = if is_http2 {
        let service = service_fn(move |request: Request<Incoming>| {
            let proxy = proxy.clone();
            async move { Ok::<_, Infallible>(proxy.handle(request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .serve_connection(TokioIo::new(stream), service);
        until_stopped(connection, stop, |connection| connection.graceful_shutdown()).await
    } else {
        let guarded = Guarded::new(stream);
        let refusals = guarded.refusals();
        let service = service_fn(move |request: Request<Incoming>| {
            let (proxy, refused) = (proxy.clone(), refusals.answer_to(&request));
            async move {
                Ok::<_, Infallible>(match refused {
                    Some(answer) => answer.into_response(request.uri().path()),
                    None => proxy.handle(request).await,
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(guarded), service);
        until_stopped(connection, stop, |connection| connection.graceful_shutdown()).await
    };
    if let Err(error) = ended {
        debug!(%error, "a client's connection ended early");
    }
}

/// Drives a connection to its end; from a stop on, to the end of what runs on it.
async fn until_stopped<C: Future>(
    connection: C,
    mut stop: watch::Receiver<bool>,
    finish: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    tokio::select! {
        output = connection.as_mut() => return output,
        () = stopped => finish(connection.as_mut()),
    }
    connection.await
}

/// Looks at the first bytes without taking them.
async fn begins_as_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; HTTP2_PREFACE_START.len()];
    loop {
        let seen = stream.peek(&mut start).await?;
        if seen == 0 || start[..seen] != HTTP2_PREFACE_START[..seen] {
            return Ok(false);
        }
        if seen == start.len() {
            return Ok(true);
        }
        // A part of the preface: what is missing does not show as readiness, so look again shortly.
        sleep(Duration::from_millis(1)).await;
    }
}
