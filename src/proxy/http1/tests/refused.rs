use super::super::HEAD_BYTES_MAX;
use super::super::Refusal::{self, *};
use super::super::head::FIELDS_MAX;
use super::{Follower, Stop};
use crate::upstream::TARGET_BYTES_MAX;

pub const HEADS: &[(&str, Refusal)] = &[
    ("POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", BothFramings),
    ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nhost: h\r\nContent-Length: 5\r\n\r\n", BothFramings),
    ("POST / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: gzip\r\n\r\n", BothFramings),
    ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked, chunked\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked;q=1\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding:\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n", Coding),
    ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Coding),
    ("POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 5, 5\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: five\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 0x5\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 1 2\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length:\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 9223372036854775808\r\n\r\n", Length),
    ("POST / HTTP/1.1\r\ncontent-length: 18446744073709551621\r\n\r\n", Length),
    ("GET / HTTP/1.1\nhost: h\r\n\r\n", LineEnd),
    ("GET / HTTP/1.1\r\nhost: h\n\r\n", LineEnd),
    ("GET / HTTP/1.1\r\nhost: h\r\n\n", LineEnd),
    ("\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", LineEnd),
    ("GET / HTTP/1.1\r\nhost: h\rx: y\r\n\r\n", LineEnd),
    ("GET / HTTP/1.1\r\nhost: h\r\r\n\r\n", LineEnd),
    ("GET / HTTP/1.1\rhost: h\r\n\r\n", LineEnd),
    ("GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", Folded),
    ("GET / HTTP/1.1\r\nx: a\r\n\tb\r\n\r\n", Folded),
    ("GET / HTTP/1.1\r\n content-length: 5\r\n\r\n", Folded),
    ("GET / HTTP/1.1\r\n \r\n\r\n", Folded),
    ("GET / HTTP/1.1\r\ncontent-length : 5\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\ntransfer-encoding\t: chunked\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\n: 5\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\nx(y): 5\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\nh\u{f6}st: 5\r\n\r\n", Name),
    ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", Control),
    ("GET / HTTP/1.1\r\nx\0: a\r\n\r\n", Control),
    ("GET /\0 HTTP/1.1\r\n\r\n", Control),
    ("GET / HTTP/1.1\r\nx: \u{b}chunked\r\n\r\n", Control),
    ("GET / HTTP/1.1\r\nx: \u{1b}[31m\r\n\r\n", Control),
    ("GET / HTTP/1.1\r\nx: \u{7f}\r\n\r\n", Control),
    ("\u{16}\u{3}\u{1} a greeting of TLS", Control),
    ("GET / HTTP/1.1\r\nhost: h\r\nHost: h\r\n\r\n", Hosts),
    ("GET / HTTP/1.1\r\nhost: h\r\nx: y\r\nhost: i\r\n\r\n", Hosts),
    ("GET /\r\n\r\n", RequestLine),
    ("GET  / HTTP/1.1\r\n\r\n", RequestLine),
    ("GET / x HTTP/1.1\r\n\r\n", RequestLine),
    ("GET /\tHTTP/1.1\r\n\r\n", RequestLine),
    ("GET / HTTP/1.1 \r\n\r\n", RequestLine),
    (" GET / HTTP/1.1\r\n\r\n", RequestLine),
    ("GET / HTTP/1.2\r\n\r\n", RequestLine),
    ("GET / HTTP/2.0\r\n\r\n", RequestLine),
    ("GET / http/1.1\r\n\r\n", RequestLine),
    ("G{T / HTTP/1.1\r\n\r\n", RequestLine),
    ("GET /\u{fc} HTTP/1.1\r\n\r\n", RequestLine),
    ("GET /#x HTTP/1.1\r\n\r\n", Fragment),
    ("GET /?x#@evil HTTP/1.1\r\n\r\n", Fragment),
    ("GET http://h/#x HTTP/1.1\r\n\r\n", Fragment),
    ("content-length: 5\r\n\r\n", RequestLine),
    ("GET /<x> HTTP/1.1\r\nhost: h\r\n\r\n", Target),
    ("GET http:// HTTP/1.1\r\nhost: h\r\n\r\n", Target),
    ("GET h/x HTTP/1.1\r\nhost: h\r\n\r\n", Target),
];

const BEFORE: &str = "POST /first HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok";

#[track_caller]
fn assert_refused(head: &str, refusal: Refusal, pieces: &[&str]) {
    for before in [&[][..], &[BEFORE]] {
        let whole = [before, pieces, &["GET /later HTTP/1.1\r\nhost: h\r\n\r\n"]].concat();
        let follower = Follower::of(whole.iter().map(|piece| piece.as_bytes()));
        let seen: Vec<_> =
            follower.requests.iter().map(|request| (&*request.target, &*request.body)).collect();
        assert_eq!(seen, vec![("/first", &b"ok"[..]); before.len()], "{head:?}");
        assert_eq!(follower.stop, Some(Stop::Head(refusal)), "{head:?}");
    }
}

#[test]
fn a_malformed_head_is_refused_after_the_requests_before_it_however_it_comes() {
    for (head, refusal) in HEADS {
        assert_refused(head, *refusal, &[head]);
        for split in (1..head.len()).filter(|&split| head.is_char_boundary(split)) {
            assert_refused(head, *refusal, &[&head[..split], &head[split..]]);
        }
        let one_by_one: Vec<_> = head.split_inclusive(|_| true).collect();
        assert_refused(head, *refusal, &one_by_one);
    }
}

/// A head of this length.
fn head_of(length: usize) -> String {
    let rest = "GET / HTTP/1.1\r\nx: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(length - rest))
}

#[test]
fn a_head_may_be_64_kib_long_and_no_longer() {
    let longest = head_of(HEAD_BYTES_MAX);
    let follower = Follower::of(longest.as_bytes().chunks(1000));
    assert_eq!((follower.whole().len(), follower.stop), (1, None));
    assert_refused("longer", TooLong, &[&head_of(HEAD_BYTES_MAX + 1)]);
    assert_refused("no line end", TooLong, &["GET /", &"x".repeat(10_000).repeat(8)]);
    assert_refused("empty lines", TooLong, &[&"\r\n".repeat(HEAD_BYTES_MAX)]);
}

#[test]
fn a_head_may_have_as_many_lines_as_hyper_reads_and_no_more() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(fields));
    let follower = Follower::of([head(FIELDS_MAX).as_bytes()]);
    assert_eq!((follower.whole().len(), follower.stop), (1, None));
    assert_refused("one more", TooManyFields, &[&head(FIELDS_MAX + 1)]);
}

#[test]
fn a_target_that_is_none_is_told_by_its_length_where_that_alone_would_do() {
    for (length, refusal) in [(TARGET_BYTES_MAX, Target), (TARGET_BYTES_MAX + 1, LongTarget)] {
        let head = format!("GET {:<<length$} HTTP/1.1\r\nhost: h\r\n\r\n", "/");
        assert_refused("a target of less-than signs", refusal, &[&head]);
    }
}

#[test]
fn malformed_chunks_end_the_connection_where_they_break() {
    let head = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    for (good, bad) in [
        ("", "\r\n"),
        ("", " 5\r\n"),
        ("", "-1\r\n"),
        ("", ";x\r\n"),
        ("0", "x5\r\n"),
        ("5", "\nhello\r\n"),
        ("5 ", "5\r\n"),
        ("5;a", "\n\r\n"),
        ("5;a", "\0\r\n"),
        ("5\r", "hello"),
        ("0\r", "x\r\n"),
        ("5\r\nhello", "0\r\n\r\n"),
        ("5\r\nhello", "\n0\r\n\r\n"),
        ("5\r\nhello\r", "\r0\r\n\r\n"),
        ("FFFFFFFFFFFFFFFF", "0\r\n"),
        ("0\r\n", "\nGET / HTTP/1.1\r\n\r\n"),
        ("0\r\nx: y", "\n\r\n"),
        ("0\r\nx: y\r", "x\r\n"),
        ("0\r\n\r", "GET / HTTP/1.1\r\n\r\n"),
    ] {
        let (before, after) = (format!("{head}{good}"), "GET /later HTTP/1.1\r\n\r\n");
        let whole = format!("{before}{bad}{after}");
        let data = if good.contains("hello") { "hello" } else { "" };
        let mut byte_by_byte = Follower::default();
        let taken = whole.bytes().take_while(|&byte| {
            byte_by_byte.follow(&[byte]);
            byte_by_byte.stop.is_none()
        });
        assert_eq!(taken.count(), before.len(), "{bad:?}");
        for follower in [byte_by_byte, Follower::of([whole.as_bytes()])] {
            let bodies: Vec<_> = follower.requests.iter().map(|request| &*request.body).collect();
            assert_eq!((bodies, follower.stop), (vec![data.as_bytes()], Some(Stop::Body)), "{bad:?}");
            assert!(follower.whole().is_empty());
        }
    }
}

#[test]
fn what_comes_beside_a_chunked_body_is_bounded_alike_wherever_the_network_cuts_it() {
    const HEAD: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "1;{x}\r\na\r\n0\r\n\r\n",
        "0\r\nx: {x}\r\n\r\n",
        "{x}",
        // A body makes up only for what came beside it before.
        "5\r\nhello\r\n1;{x}\r\na\r\n0\r\n\r\n",
    ] {
        for (length, stop) in [(16_000, None), (17_000, Some(Stop::Body))] {
            let chunks = chunks.replace("{x}", &"0".repeat(length));
            let sent = format!("{HEAD}{chunks}");
            for piece in [1, 100, sent.len()] {
                let follower = Follower::of(sent.as_bytes().chunks(piece));
                assert_eq!(follower.stop, stop, "{length} bytes in pieces of {piece}");
            }
        }
    }
}
