//! One connection from a client, HTTP/1.1 or HTTP/2 by its first bytes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::Proxy;
use super::framing::{Guarded, HEAD_BYTES_MAX};
use super::rewound::Rewound;

/// How an HTTP/2 connection begins (RFC 9113 §3.4); no HTTP/1 request does.
const HTTP2_PREFACE_START: &[u8] = b"PRI";

/// Serves one connection to its end; from a stop on, to the end of what runs on it.
pub async fn serve_connection<S>(proxy: Arc<Proxy>, mut stream: S, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header_timeout = proxy.cluster.settings().timeouts.client_header;
    let begun = tokio::select! {
        biased;
        begun = timeout(header_timeout, beginning(&mut stream)) => begun,
        // Nothing came on it: clients open connections ahead of need, and a drain must not wait for those.
        () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
    };
    let Ok(Ok(begun)) = begun else { return };
    let is_http2 = begun == HTTP2_PREFACE_START;
    let stream = Rewound::new(begun, stream);
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
        biased;
        output = connection.as_mut() => return output,
        () = stopped => finish(connection.as_mut()),
    }
    connection.await
}

/// The first bytes: as many as tell the protocol, or as there are.
async fn beginning<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut begun = Vec::with_capacity(HTTP2_PREFACE_START.len());
    while begun.len() < HTTP2_PREFACE_START.len() && HTTP2_PREFACE_START.starts_with(&begun) {
        let missing = HTTP2_PREFACE_START.len() - begun.len();
        if stream.take(missing as u64).read_buf(&mut begun).await? == 0 {
            break;
        }
    }
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_protocol_is_told_by_as_few_bytes_as_it_takes() {
        for (sent, told) in
            [("PRI * HTTP/2.0", "PRI"), ("POST / HTTP/1.1", "POS"), ("GE", "GE"), ("PR", "PR"), ("", "")]
        {
            for at_a_time in [1, 2, 64] {
                let (mut ours, mut theirs) = duplex(64);
                let sending = async {
                    for piece in sent.as_bytes().chunks(at_a_time) {
                        theirs.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    drop(theirs);
                };
                let (begun, ()) = tokio::join!(beginning(&mut ours), sending);
                let begun = begun.unwrap();
                assert!(told.starts_with(std::str::from_utf8(&begun).unwrap()), "{sent}");
                assert_eq!(begun == b"PRI", told == "PRI", "{sent}");
                let mut whole = String::new();
                Rewound::new(begun, ours).read_to_string(&mut whole).await.unwrap();
                assert_eq!(whole, sent);
            }
        }
    }
}
