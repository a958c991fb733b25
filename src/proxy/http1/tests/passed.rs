use proptest::prelude::*;

use super::{Follower, Place, Seen, cut_at};

const PIPELINE: &str = concat!(
    "GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    "POST /v1/messages?x=1 HTTP/1.1\r\nhost: h\r\nContent-Length: 11 \r\n\r\n\r\n\r\nGET / H",
    "\r\nHEAD * HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nTransfer-Encoding: \tChunked\r\nhost:\r\nx: a\tb \u{fc} \"\r\n\r\n",
    "5\r\nhe\r\nl\r\n00c ; a=\"b\"\r\nGET / HTTP/1\r\n0\r\nx: y\r\nz:\r\n\r\n",
    "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "OPTIONS http://h/ HTTP/1.1\r\nte: trailers\r\ncontent-length: 000\r\n\r\n",
);

/// Method, target and body of what was read.
fn shown(requests: &[Seen]) -> Vec<(String, String, Vec<u8>)> {
    let shown = |seen: &Seen| (seen.method.to_string(), seen.target.clone(), seen.body.clone());
    requests.iter().map(shown).collect()
}

#[track_caller]
fn assert_same<'a>(whole: &Follower, pieces: impl IntoIterator<Item = &'a [u8]>) {
    let follower = Follower::of(pieces);
    assert_eq!((&follower.requests, follower.stop), (&whole.requests, None));
    assert!(follower.unread.is_empty() && matches!(follower.place, Place::Head(_)));
}

#[test]
fn a_pipeline_is_read_as_it_was_sent_at_every_split() {
    let sent = PIPELINE.as_bytes();
    let whole = Follower::of([sent]);
    let expected = [
        ("GET", "/", ""),
        ("POST", "/v1/messages?x=1", "\r\n\r\nGET / H"),
        ("HEAD", "*", ""),
        ("POST", "/", "he\r\nlGET / HTTP/1"),
        ("PUT", "/", ""),
        ("OPTIONS", "http://h/", ""),
    ];
    let expected = expected.map(|(method, target, body)| (method.to_owned(), target.to_owned(), body.into()));
    assert_eq!(shown(whole.whole()), expected);
    for split in 0..sent.len() {
        assert_same(&whole, [&sent[..split], &sent[split..]]);
    }
    for length in [1, 2, 3, 50] {
        assert_same(&whole, sent.chunks(length));
    }
}

#[test]
fn a_head_that_is_not_complete_is_no_request_and_no_refusal() {
    let sent = b"GET / HTTP/1.1\r\nhost: h\r\n\r\nGET /cut HTTP/1.1\r\nhost: h\r\n\r";
    let follower = Follower::of([&sent[..]]);
    assert_eq!((follower.requests.len(), follower.stop), (1, None));
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

proptest! {
    #[test]
    fn the_requests_of_a_pipeline_are_read_and_no_others(
        requests in proptest::collection::vec(request(), 1..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let sent: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
        let follower = Follower::of(cut_at(&sent, &cuts));
        let expected: Vec<_> = requests.into_iter().map(|request| request.seen).collect();
        prop_assert_eq!(shown(&follower.requests), expected);
        prop_assert_eq!((follower.whole().len(), follower.stop), (follower.requests.len(), None));
        prop_assert!(follower.unread.is_empty());
    }
}
