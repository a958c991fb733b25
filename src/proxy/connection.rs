//! One connection from a client, HTTP/1.1 or HTTP/2 by its first bytes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::Proxy;
use super::cut::EndsAnswers;
use super::handover::Streams;
use super::http1::{self, HEAD_BYTES_MAX};
use super::idle::{Activity, Lasting};
use super::rewound::Rewound;
use super::woken::{ReadWhenWoken, WhenWoken};

/// How an HTTP/2 connection begins (RFC 9113 §3.4); no HTTP/1 request does.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many requests a connection may have under way: no fewer than RFC 9113 §6.5.2 recommends.
const STREAMS_MAX: u32 = 100;
/// How many streams that are reset before they are looked at a client may send, before the connection is closed
/// (rapid reset, CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;
/// How many streams may be reset for errors of the client's, before the connection is closed.
const ERRORS_MAX: usize = 100;
/// How much of each answer is held for a client that does not read, in bytes.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Serves one connection to its end; from a stop on, to the end of what runs on it. Notes when answers on it end with
/// it, before one begins.
pub async fn serve_connection<S>(
    proxy: Arc<Proxy>,
    mut stream: S,
    ends_answers: EndsAnswers,
    mut stop: watch::Receiver<bool>,
) where
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
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    if begun == HTTP2_PREFACE {
        let stream = ReadWhenWoken::new(Rewound::new(begun, stream));
        // Apart, since most connections are of the other kind, and smaller.
        if let Some(Err(error)) = Box::pin(serve_http2(proxy, stream, stopped)).await {
            debug!(%error, "a client's connection ended early");
        }
    } else {
        http1::serve(proxy, begun, ReadWhenWoken::new(stream), ends_answers, stopped).await;
    }
}

async fn serve_http2<S>(
    proxy: Arc<Proxy>,
    stream: S,
    stopped: impl Future<Output = ()>,
) -> Option<hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (header_timeout, idle) = {
        let limits = &proxy.cluster.settings().timeouts;
        (limits.client_header, limits.idle)
    };
    let activity: Arc<Activity> = Arc::default();
    let requests = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (proxy, under_way) = (proxy.clone(), requests.begin());
        // On the heap until the answer begins: the stream's task has room for it to the answer's end, three times over.
        Box::pin(async move {
            Ok::<_, Infallible>(proxy.handle(request).await.map(|body| Lasting::new(body, under_way)))
        })
    });
    let connection = http2::Builder::new(Streams::taken_within(idle))
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .max_send_buf_size(UNSENT_BYTES_MAX)
        // Who does not answer a ping is gone, or holds the connection up with half a head.
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let over = async {
        tokio::select! {
            biased;
            () = stopped => {}
            () = activity.ends(header_timeout) => {}
        }
    };
    // What is left is the end of an answer, in hyper's hands. A client that does not take it would stay for ever.
    let left = activity.ends(idle);
    until_over(pin!(connection), over, http2::Connection::graceful_shutdown, left).await
}

/// Drives a connection to its end; once it is `over`, to the end of what runs on it, or until it is to be `left`.
async fn until_over<C: Future>(
    mut connection: Pin<&mut C>,
    over: impl Future<Output = ()>,
    finish: impl FnOnce(Pin<&mut C>),
    left: impl Future<Output = ()>,
) -> Option<C::Output> {
    let over = pin!(over);
    tokio::select! {
        biased;
        output = connection.as_mut() => return Some(output),
        () = WhenWoken::new(over) => finish(connection.as_mut()),
    }
    tokio::select! {
        biased;
        output = connection => Some(output),
        () = left => None,
    }
}

/// The first bytes: as many as tell the protocol, or as there are. All of a preface, since hyper waits for its rest
/// without a limit.
async fn beginning<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut begun = Vec::with_capacity(HTTP2_PREFACE.len());
    while begun.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&begun) {
        let missing = HTTP2_PREFACE.len() - begun.len();
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
        let preface = std::str::from_utf8(HTTP2_PREFACE).unwrap();
        let (longer, odd) = (format!("{preface}more"), preface.replace("SM", "SN"));
        for (sent, is_http2) in [
            (preface, true),
            (longer.as_str(), true),
            (odd.as_str(), false),
            ("PRI * HTTP/2.0\r\n", false),
            ("PRIX / HTTP/1.1", false),
            ("POST / HTTP/1.1", false),
            ("GE", false),
            ("PR", false),
            ("", false),
        ] {
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
                assert_eq!(begun == HTTP2_PREFACE, is_http2, "{sent}");
                let mut whole = String::new();
                Rewound::new(begun, ours).read_to_string(&mut whole).await.unwrap();
                assert_eq!(whole, sent);
            }
        }
    }
}
