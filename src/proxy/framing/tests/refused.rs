use hyper::Request;

use super::super::Refusal::{self, *};
use super::super::stream::STAND_IN;
use super::super::{FIELDS_MAX, HEAD_BYTES_MAX, Stop};
use super::{End, read_all, stop_of};

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
];

const BEFORE: &str = "POST /first HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok";

#[track_caller]
fn assert_refused(head: &str, refusal: Refusal, pieces: &[&str]) {
    for before in ["", BEFORE] {
        let whole = [&[before], pieces, &["GET /later HTTP/1.1\r\nhost: h\r\n\r\n"]].concat();
        let (read, end, guarded) = read_all(whole.iter().map(|piece| piece.as_bytes()), 8192);
        let expected = [before.as_bytes(), STAND_IN].concat();
        assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&expected), "{head:?}");
        assert_eq!((stop_of(&guarded), end), (Some(Stop::Head(refusal)), End::Silence), "{head:?}");
    }
}

#[test]
fn a_malformed_head_is_withheld_and_ends_the_connection_however_it_comes() {
    for (head, refusal) in HEADS {
        assert_refused(head, *refusal, &[head]);
        for split in (1..head.len()).filter(|&split| head.is_char_boundary(split)) {
            assert_refused(head, *refusal, &[&head[..split], &head[split..]]);
        }
        let one_by_one: Vec<_> = head.split_inclusive(|_| true).collect();
        assert_refused(head, *refusal, &one_by_one);
    }
}

#[test]
fn a_head_may_be_64_kib_long_and_no_longer() {
    let head = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nx: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(length - rest))
    };
    let longest = head(HEAD_BYTES_MAX);
    let (read, end, _) = read_all(longest.as_bytes().chunks(1000), 8192);
    assert!(read == longest.as_bytes() && end == End::Eof);
    let longer = head(HEAD_BYTES_MAX + 1);
    assert_refused("longer", TooLong, &[&longer]);
    assert_refused("no line end", TooLong, &["GET /", &"x".repeat(10_000).repeat(8)]);
    assert_refused("empty lines", TooLong, &[&"\r\n".repeat(HEAD_BYTES_MAX)]);
}

#[test]
fn a_head_may_have_as_many_lines_as_hyper_reads_and_no_more() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(fields));
    let most = head(FIELDS_MAX);
    let (read, end, _) = read_all([most.as_bytes()], 8192);
    assert!(read == most.as_bytes() && end == End::Eof);
    assert_refused("one more", TooManyFields, &[&head(FIELDS_MAX + 1)]);
}

#[test]
fn what_is_held_of_a_head_is_bounded() {
    let endless = vec![b'x'; 16 * HEAD_BYTES_MAX];
    let (read, _, guarded) = read_all(endless.chunks(1000), 8192);
    assert_eq!(read, STAND_IN);
    assert!(guarded.held.capacity() == 0);
    let left: usize = guarded.stream.0.iter().map(Vec::len).sum();
    assert!(left > 14 * HEAD_BYTES_MAX, "{left}");
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
        for pieces in [vec![whole.as_bytes()], whole.as_bytes().chunks(1).collect()] {
            let (read, end, guarded) = read_all(pieces, 8192);
            assert_eq!(String::from_utf8_lossy(&read), before, "{bad:?}");
            assert_eq!((stop_of(&guarded), end), (Some(Stop::Body), End::Eof), "{bad:?}");
        }
    }
}

#[test]
fn only_what_stands_for_a_refused_head_is_answered_for_it() {
    let request = |method: &str| Request::builder().method(method).body(()).unwrap();
    let (_, _, fine) = read_all([BEFORE.as_bytes(), STAND_IN], 8192);
    assert!(fine.refusals().answer_to(&request("QCC-REFUSED")).is_none());
    let (_, _, refused) = read_all([BEFORE.as_bytes(), HEADS[0].0.as_bytes()], 8192);
    assert!(refused.refusals().answer_to(&request("POST")).is_none());
    assert!(refused.refusals().answer_to(&request("QCC-REFUSED")).is_some());
}
