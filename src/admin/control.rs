//! The control socket, for the user who started the proxy, and `admin_listen`, for looking only.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::routes::{Admin, error};
use super::socket::ControlSocket;
use crate::proxy::is_addressed_to;

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a peer may take to send a request's head.
const HEADER_WITHIN: Duration = Duration::from_secs(10);

/// Serves the control socket until it is dropped.
pub async fn serve_control(admin: Arc<Admin>, socket: ControlSocket) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(serve(TokioIo::new(stream), move |request| admin.obey(request)));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Serves `admin_listen` until it is dropped: no command, and only for requests that name this host.
pub async fn serve_tcp(admin: Arc<Admin>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(serve(TokioIo::new(stream), move |request| {
                    match is_addressed_to(request, &admin.cluster.settings()) {
                        true => admin.look(request),
                        false => error(StatusCode::MISDIRECTED_REQUEST, "the Host is not this one's"),
                    }
                }));
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    warn!(%error, "no control connection can be accepted");
    sleep(ACCEPT_PAUSE).await;
}

fn serve<I, F>(io: I, answer: F) -> impl Future<Output = ()>
where
    I: Read + Write + Unpin,
    F: Fn(&hyper::Request<Incoming>) -> hyper::Response<http_body_util::Full<bytes::Bytes>>,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(io, service);
    async move {
        if let Err(error) = connection.await {
            debug!(%error, "a control connection ended early");
        }
    }
}
