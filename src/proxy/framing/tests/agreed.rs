use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{Follower, Guarded, HEAD_BYTES_MAX, Place};
use super::refused::HEADS;

/// The request lines of the heads that the guard takes, coming byte by byte.
fn taken(bytes: &[u8]) -> Vec<String> {
    let (mut follower, mut passed, mut heads) = (Follower::default(), 0, Vec::new());
    for end in 1..=bytes.len() {
        let at_head = matches!(follower.place, Place::Head(_));
        let more = follower.follow(&bytes[passed..end]);
        if at_head && more > 0 {
            let head = String::from_utf8_lossy(&bytes[passed..end]).into_owned();
            let line = head.trim_start().lines().next().unwrap().to_owned();
            let (method, target) = line.rsplit_once(' ').unwrap().0.split_once(' ').unwrap();
            // As hyper shows it: an empty path is the root.
            let shown = target.parse::<Uri>().map_or(target.to_owned(), |uri| uri.to_string());
            heads.push(format!("{method} {shown}"));
        }
        passed += more;
        if follower.stopped().is_some() {
            break;
        }
    }
    heads
}

/// The request lines that hyper serves behind the guard.
async fn served(bytes: &[u8]) -> Vec<String> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let guarded = Guarded::new(server);
    let (refusals, seen) = (guarded.refusals(), Arc::new(Mutex::new(Vec::new())));
    let record = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        if refusals.answer_to(&request).is_none() {
            record.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        }
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(guarded), service);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let _ = tokio::join!(connection, client.read_to_end(&mut answers));
    seen.lock().unwrap().clone()
}

pub fn piece() -> impl Strategy<Value = Vec<u8>> {
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
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn hyper_serves_no_request_that_the_guard_does_not_see(
        pieces in proptest::collection::vec(piece(), 1..8),
        cut in proptest::option::of((any::<prop::sample::Index>(), 0..4usize)),
    ) {
        let mut sent = pieces.concat();
        if let Some((at, length)) = cut {
            let at = at.index(sent.len());
            sent.drain(at..sent.len().min(at + length));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (taken, served) = (taken(&sent), runtime.block_on(served(&sent)));
        // It may serve fewer: where it closes first, or refuses a head for another reason.
        prop_assert!(taken.starts_with(&served), "{:?} of {:?}", served, taken);
    }
}
