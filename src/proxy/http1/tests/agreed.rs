//! Beside hyper, which reads heads and chunks in its own way.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::HEAD_BYTES_MAX;
use super::refused::HEADS;
use super::{Follower, Seen, cut_at};
use crate::proxy::head::RequestHead;

/// The requests that hyper has read of a connection with these bytes on it, as far as they came to their end.
async fn read_by_hyper(bytes: &[u8]) -> Vec<Seen> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let record = record.clone();
        async move {
            let head = RequestHead::from(&request);
            let body = request.into_body().collect().await.ok();
            let request = body.map(|body| Seen::of(&head, body.to_bytes().to_vec()));
            record.lock().unwrap().push(request);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(server), service);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let _ = tokio::join!(connection, client.read_to_end(&mut answers));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.into_iter().map_while(|request| request).collect()
}

/// Whether another request may follow a head with these values of `Connection` (RFC 9112 §9.3).
pub(super) fn is_kept<'a>(version: Version, values: impl Iterator<Item = &'a [u8]>) -> bool {
    let options = values.flat_map(|value| value.split(|&byte| byte == b','));
    let options: Vec<_> = options.map(|option| option.trim_ascii().to_ascii_lowercase()).collect();
    let says = |option: &str| options.iter().any(|said| said == option.as_bytes());
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

pub(super) fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "\0",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "5;x\r\nhello\r\n",
        "hello",
        "content-length: 5\r\n",
        "Content-Length: 0\r\n",
        "transfer-encoding: chunked\r\n",
        "x: y\r\n",
        "host: h\r\n",
        "connection: close\r\n",
        "expect: 100-continue\r\n",
    ]);
    let request = prop::sample::select(vec![
        "GET /a HTTP/1.1\r\nhost: h\r\n\r\n",
        "POST /b HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        "POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /d HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        "POST /e HTTP/1.1\r\n",
        "GET /f HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    ]);
    prop_oneof![
        2 => text.prop_map(|text| text.as_bytes().to_vec()),
        9 => request.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(HEADS).prop_map(|(head, _)| head.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn hyper_reads_no_other_requests_than_ours(
        pieces in proptest::collection::vec(piece(), 1..8),
        removed in proptest::option::of((any::<prop::sample::Index>(), 0..4usize)),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut sent = pieces.concat();
        if let Some((at, length)) = removed {
            let at = at.index(sent.len());
            sent.drain(at..sent.len().min(at + length));
        }
        let follower = Follower::of(cut_at(&sent, &cuts));
        let ours = follower.whole();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let hyper = runtime.block_on(read_by_hyper(&sent));
        let both = ours.len().min(hyper.len());
        let sent = String::from_utf8_lossy(&sent);
        prop_assert_eq!(&ours[..both], &hyper[..both], "{}", &sent);
        // It goes on where ours refuses.
        prop_assert!(hyper.len() == both || follower.stop.is_some(), "{:?} of {sent:?}", hyper);
        // Ours goes on where the connection was to end.
        let has_ended = hyper.last().is_some_and(|last| !is_kept(last.version, last.values_of("connection")));
        prop_assert!(ours.len() == both || has_ended, "{ours:?} of {sent:?}");
    }
}
