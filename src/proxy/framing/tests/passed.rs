use std::convert::Infallible;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::super::Guarded;
use super::{End, read_all, stop_of};

#[track_caller]
fn assert_passed<'a>(sent: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>, room: usize) {
    let (read, end, guarded) = read_all(pieces, room);
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(sent));
    assert_eq!((stop_of(&guarded), end), (None, End::Eof));
}

const PIPELINE: &str = concat!(
    "GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    "POST /v1/messages?x=1 HTTP/1.1\r\nhost: h\r\nContent-Length: 11 \r\n\r\n\r\n\r\nGET / H",
    "\r\nHEAD * HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nTransfer-Encoding: \tChunked\r\nhost:\r\nx: a\tb \u{fc} \"\r\n\r\n",
    "5\r\nhe\r\nl\r\n00c ; a=\"b\"\r\nGET / HTTP/1\r\n0\r\nx: y\r\nz:\r\n\r\n",
    "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "OPTIONS http://h/ HTTP/1.1\r\nte: trailers\r\ncontent-length: 000\r\n\r\n",
);

#[test]
fn well_formed_requests_pass_byte_for_byte_at_every_split() {
    let sent = PIPELINE.as_bytes();
    for room in [1, 7, 8192] {
        for split in 0..sent.len() {
            assert_passed(sent, [&sent[..split], &sent[split..]], room);
        }
        for length in [1, 2, 3, 50] {
            assert_passed(sent, sent.chunks(length), room);
        }
    }
}

#[test]
fn what_is_long_passes_in_portions_whatever_room_there_is() {
    let field = "x".repeat(50_000);
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\nx: {field}\r\ncontent-length: 200000\r\n\r\n");
    let sent = [head.as_bytes(), &[b'x'; 200_000], PIPELINE.as_bytes()].concat();
    for length in [100_000, sent.len()] {
        assert_passed(&sent, sent.chunks(length), 1 << 20);
    }
}

#[test]
fn an_incomplete_head_is_withheld_and_the_end_of_the_connection_is_not() {
    let sent = b"GET / HTTP/1.1\r\nhost: h\r\n\r\nGET /cut HTTP/1.1\r\nhost: h\r\n";
    let (read, end, _) = read_all([&sent[..]], 8192);
    assert_eq!((read, end), (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".to_vec(), End::Eof));
}

#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    seen: (String, String, Vec<u8>),
}

fn request() -> impl Strategy<Value = Sent> {
    let body = prop_oneof![
        Just(b"\r\n\r\n".to_vec()),
        Just(b"GET /inner HTTP/1.1\r\nhost: h\r\n\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..300),
    ];
    let chunk = (body, "(0{0,3})", "( ?;[a-z]=[a-z\" ]{0,4})?");
    (
        "(\r\n)?",
        "GET|POST|PUT|X-y",
        "/[a-z0-9?&=.]{0,30}",
        proptest::collection::vec("[a-zA-Z-]{1,9}x: ?[!-~\t ]{0,30}", 0..4),
        proptest::collection::vec(chunk, 0..4),
        any::<bool>(),
        proptest::collection::vec("[a-z]{1,5}: [a-z]{0,9}", 0..2),
    )
        .prop_map(|(blank, method, target, fields, chunks, is_chunked, trailers)| {
            let mut bytes = format!("{blank}{method} {target} HTTP/1.1\r\nhost: h\r\n").into_bytes();
            for field in fields {
                bytes.extend(format!("{field}\r\n").as_bytes());
            }
            let whole: Vec<u8> = chunks.iter().flat_map(|(chunk, ..)| chunk.clone()).collect();
            if is_chunked {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for (chunk, zeros, extension) in &chunks {
                    bytes.extend(format!("{zeros}{:x}{extension}\r\n", chunk.len()).as_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n");
                for trailer in trailers {
                    bytes.extend(format!("{trailer}\r\n").as_bytes());
                }
                bytes.extend(b"\r\n");
            } else {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", whole.len()).as_bytes());
                bytes.extend(&whole);
            }
            Sent { bytes, seen: (method, target, whole) }
        })
}

fn pieces(bytes: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..20)
}

/// What a server on hyper makes of these pieces, behind the guard.
async fn served(pieces: Vec<&[u8]>, count: usize) -> Vec<(String, String, Vec<u8>)> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (record, mut records) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let record = record.clone();
        async move {
            let (method, target) = (request.method().to_string(), request.uri().to_string());
            let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
            record.send((method, target, body)).unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(Guarded::new(server)), service));
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(records.recv().await.unwrap());
    }
    tokio::task::yield_now().await;
    assert!(records.try_recv().is_err(), "more requests than were sent");
    seen
}

proptest! {
    #[test]
    fn any_split_of_a_pipeline_gives_the_same_bytes(
        requests in proptest::collection::vec(request(), 1..5),
        cuts in cuts(),
        room in 1..400usize,
    ) {
        let sent: Vec<u8> = requests.into_iter().flat_map(|request| request.bytes).collect();
        assert_passed(&sent, pieces(&sent, cuts), room);
    }

    #[test]
    fn hyper_sees_the_requests_that_were_sent_and_no_others(
        requests in proptest::collection::vec(request(), 1..5),
        cuts in cuts(),
    ) {
        let sent: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = runtime.block_on(served(pieces(&sent, cuts), requests.len()));
        let expected: Vec<_> = requests.into_iter().map(|request| request.seen).collect();
        prop_assert_eq!(seen, expected);
    }
}
