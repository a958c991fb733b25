//! The control socket, for the user who started the proxy, and `admin_listen`, for looking only.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::routes::{Admin, error};
use super::socket::ControlSocket;
use crate::proxy::{Acceptor, Taken, check_look};

/// How many connections the socket serves at once, and `admin_listen` as many: descriptors are reserved for them.
const CONNECTIONS_MAX: usize = 8;
/// How long an answer may take to be written at the end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How long a peer may take to send a request's head.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of an answer, which would keep its place from others.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Serves the control socket until `over` turns true, and then to the end of what is being answered: whoever told the
/// proxy to stop is to hear that it does.
pub async fn serve_control(admin: Arc<Admin>, socket: ControlSocket, mut over: watch::Receiver<bool>) {
    let mut acceptor = Acceptor::new("the control socket", CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = async { drop(over.wait_for(|over| *over).await) } => break,
            Some(_) = connections.join_next() => {}
            ((stream, _), place) = acceptor.next(|| socket.accept()) => {
                let (admin, over) = (admin.clone(), over.clone());
                connections.spawn(async move {
                    serve(stream, move |request| admin.obey(request), over).await;
                    drop(place);
                });
            }
        }
    }
    drop(socket);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(ANSWERED_WITHIN, ended).await;
}

/// Serves `admin_listen` until it is dropped, its connections until `over` turns true: no command, and nothing for web
/// pages of other sites.
pub async fn serve_tcp(admin: Arc<Admin>, listener: TcpListener, over: watch::Receiver<bool>) {
    let mut acceptor = Acceptor::new("admin_listen", CONNECTIONS_MAX);
    loop {
        let ((stream, _), place) = acceptor.next(|| listener.accept()).await;
        let admin = admin.clone();
        let look =
            move |request: &hyper::Request<Incoming>| match check_look(request, &admin.cluster.settings()) {
                Ok(()) => admin.look(request),
                Err((status, why)) => error(status, why),
            };
        let over = over.clone();
        tokio::spawn(async move {
            serve(stream, look, over).await;
            drop(place);
        });
    }
}

async fn serve<S, F>(stream: S, answer: F, mut over: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(&hyper::Request<Incoming>) -> hyper::Response<http_body_util::Full<bytes::Bytes>>,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Places are few, and a browser keeps several connections that it may not use again.
        .keep_alive(false)
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(TokioIo::new(Taken::within(TAKEN_WITHIN, stream)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = async { drop(over.wait_for(|over| *over).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a control connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Response;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_of_its_answer_gives_up_its_place() {
        let (near, mut far) = duplex(1024);
        let (_end, over) = watch::channel(false);
        let answer =
            |_: &hyper::Request<Incoming>| Response::new(Full::new(Bytes::from(vec![b'x'; 64 * 1024])));
        far.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        timeout(Duration::from_secs(60), serve(near, answer, over)).await.unwrap();
    }
}
