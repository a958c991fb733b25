//! The same rules over HTTP/2, frame by frame (RFC 9113 §8).

use super::started;
use super::support::frames::{Frames, Said};
use super::support::recorder::END;
use super::support::{Raw, Recorder, client::raw_request};

const PROTOCOL_ERROR: u32 = 1;

type Field<'a> = (&'a [u8], &'a [u8]);

/// What is said to a request, and what goes up for it.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Forwarded,
    Status(u16),
    /// The stream is reset or the connection closed: it is no request.
    Malformed,
}
use Expected::{Forwarded, Malformed, Status};

fn changed<'a>(base: &[Field<'a>], name: &'a str, value: &'a str) -> Vec<Field<'a>> {
    let mut fields = base.to_vec();
    match fields.iter_mut().find(|field| field.0 == name.as_bytes()) {
        Some(field) => field.1 = value.as_bytes(),
        None => fields.push((name.as_bytes(), value.as_bytes())),
    }
    fields
}

fn added<'a>(base: &[Field<'a>], fields: &[(&'a str, &'a str)]) -> Vec<Field<'a>> {
    let added = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    base.iter().copied().chain(added).collect()
}

fn without<'a>(base: &[Field<'a>], name: &str) -> Vec<Field<'a>> {
    base.iter().copied().filter(|field| field.0 != name.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_http2_passes_by_the_same_rules() {
    let recorder = Recorder::start();
    let qcc = started(&recorder);
    let own = qcc.address();
    let base: Vec<Field<'_>> = vec![
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", own.as_bytes()),
        (b":path", b"/v1/messages"),
        (b"x-api-key", b"client"),
    ];
    let origin = format!("http://{own}");
    let mut rows: Vec<(String, Vec<Field<'_>>, Expected)> = vec![
        ("as it is".into(), base.clone(), Forwarded),
        ("te: trailers".into(), added(&base, &[("te", "trailers")]), Forwarded),
        ("the same Host".into(), added(&base, &[("host", own)]), Forwarded),
        ("a Host alone".into(), added(&without(&base, ":authority"), &[("host", own)]), Forwarded),
        ("its length".into(), added(&base, &[("content-length", "7")]), Forwarded),
        ("crumbs of a cookie".into(), added(&base, &[("cookie", "a=b"), ("cookie", "c=d")]), Forwarded),
        ("no host".into(), without(&base, ":authority"), Status(400)),
        ("another Host".into(), added(&base, &[("host", "evil.example")]), Status(400)),
        ("two Hosts".into(), added(&base, &[("host", own), ("host", own)]), Status(400)),
        ("a malformed Host".into(), added(&base, &[("host", "a@b")]), Status(400)),
        ("its own origin".into(), added(&base, &[("origin", &origin)]), Forwarded),
        ("another origin".into(), added(&base, &[("origin", "http://evil.example")]), Status(403)),
        ("another site".into(), added(&base, &[("sec-fetch-site", "same-site")]), Status(403)),
        ("an expectation".into(), added(&base, &[("expect", "x")]), Status(417)),
        ("uppercase".into(), added(&base, &[("X-Upper", "y")]), Malformed),
        ("a name with a space".into(), added(&base, &[("x y", "z")]), Malformed),
        ("a name with a colon".into(), added(&base, &[("x:y", "z")]), Malformed),
        ("no name".into(), added(&base, &[("", "z")]), Malformed),
        ("a value with CR LF".into(), added(&base, &[("x", "y\r\nz: w")]), Malformed),
        ("a value with LF".into(), added(&base, &[("x", "y\nz")]), Malformed),
        ("a value with NUL".into(), added(&base, &[("x", "y\0z")]), Malformed),
        ("a length of less".into(), added(&base, &[("content-length", "3")]), Malformed),
        ("a length of more".into(), added(&base, &[("content-length", "50")]), Malformed),
        ("no length at all".into(), added(&base, &[("content-length", "0")]), Malformed),
        ("a length that is none".into(), added(&base, &[("content-length", "7, 7")]), Malformed),
        ("a signed length".into(), added(&base, &[("content-length", "+7")]), Malformed),
        ("two lengths".into(), added(&base, &[("content-length", "7"), ("content-length", "8")]), Malformed),
        (
            "a pseudo-header behind a field".into(),
            added(&without(&base, ":path"), &[(":path", "/v1/messages")]),
            Malformed,
        ),
        ("an unknown pseudo-header".into(), changed(&base, ":x", "y"), Malformed),
        (":status".into(), [&[(&b":status"[..], &b"200"[..])], &base[..]].concat(), Malformed),
        (":protocol".into(), [&[(&b":protocol"[..], &b"websocket"[..])], &base[..]].concat(), Malformed),
        ("CONNECT".into(), vec![(b":method", b"CONNECT"), (b":authority", b"evil.example:443")], Status(405)),
    ];
    for name in [":method", ":scheme", ":path"] {
        rows.push((format!("no {name}"), without(&base, name), Malformed));
        rows.push((format!("{name} twice"), [&base[..1], &base[..]].concat(), Malformed));
    }
    rows.push(("an empty :method".into(), changed(&base, ":method", ""), Malformed));
    rows.push(("an empty :path".into(), changed(&base, ":path", ""), Malformed));
    rows.push(("an empty :scheme".into(), changed(&base, ":scheme", ""), Status(400)));
    rows.push(("another :scheme".into(), changed(&base, ":scheme", "ftp"), Status(400)));
    rows.push(("an escape in the authority".into(), changed(&base, ":authority", "%6cocalhost"), Malformed));
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-api-key"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        // RFC 9113 §8.2.2.
        rows.push((format!("{name}: {value}"), added(&base, &[(name, value)]), Malformed));
    }
    for authority in ["evil.example", "127.1", "0.0.0.0", "localhost."] {
        rows.push((
            format!("the authority {authority}"),
            changed(&base, ":authority", authority),
            Status(421),
        ));
    }
    let at_own = format!("user@{own}");
    for authority in ["localhost:65536", "localhost:", &at_own] {
        rows.push((
            format!("the authority {authority}"),
            changed(&base, ":authority", authority),
            Status(400),
        ));
    }
    for path in
        ["/v1/../x", "/v1/%2e%2e/x", "/v1//x", "/v1/..;/x", "/v1/x%23", "/v1/\u{fc}", "/v1/x\\y", "*", "?x"]
    {
        rows.push((format!("the path {path}"), changed(&base, ":path", path), Status(400)));
    }
    for path in [
        "v1/messages",
        "http://evil.example/v1/messages",
        "evil.example:80",
        "@evil/v1/",
        "/v1/x y",
        "/v1/\r\n",
    ] {
        rows.push((format!("the path {path:?}"), changed(&base, ":path", path), Malformed));
    }
    for method in ["TRACE", "post", "PURGE", "QCC-REFUSED"] {
        rows.push((format!("the method {method}"), changed(&base, ":method", method), Status(405)));
    }
    let long = "x".repeat(70_000);
    rows.push(("a field that is too long".into(), added(&base, &[("x", &long)]), Status(431)));
    let target = format!("/v1/messages?{}", &long[..16 * 1024]);
    rows.push(("a path that is too long".into(), changed(&base, ":path", &target), Status(414)));

    let body = [b"{}", END].concat();
    assert_eq!(body.len(), 7);
    let mut wrong = Vec::new();
    for (name, fields, expected) in &rows {
        let said = ask_in_frames(own, fields, &body).await;
        let is_as_expected = match (&said, expected) {
            (Said::Status(status), Forwarded) => *status == 200,
            (Said::Status(status), Status(expected)) => status == expected,
            (Said::Status(_), Malformed) => false,
            (Said::Reset(code) | Said::GoAway(code), Malformed) => *code == PROTOCOL_ERROR,
            (Said::Closed, _) | (Said::Reset(_) | Said::GoAway(_), Forwarded | Status(_)) => false,
        };
        // What was smuggled would come before or with it.
        let mut raw = Raw::connect(own).await;
        let after = raw.ask(raw_request("POST", "/v1/after", own, &[], &body)).await;
        assert_eq!(after.status(), 200, "{name}");
        let seen = String::from_utf8_lossy(&recorder.take()).into_owned();
        let seen = seen.replace("~end~", "~end~\n");
        let requests: Vec<&str> = seen.lines().filter(|line| line.ends_with("HTTP/1.1")).collect();
        let up: &[&str] = match expected {
            Forwarded => &["POST /v1/messages HTTP/1.1", "POST /v1/after HTTP/1.1"],
            Status(_) | Malformed => &["POST /v1/after HTTP/1.1"],
        };
        if !is_as_expected || requests != up {
            wrong.push(format!("{name}: {said:?}, not {expected:?}; up: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} requests over HTTP/2", rows.len());
}

/// Long heads go in several frames.
async fn ask_in_frames(address: &str, fields: &[Field<'_>], body: &[u8]) -> Said {
    use super::support::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};
    let block = block(fields.iter().copied());
    let (first, rest) = block.split_at(block.len().min(16_384));
    let pieces: Vec<&[u8]> = rest.chunks(16_384).collect();
    let last = if pieces.is_empty() { END_HEADERS } else { 0 };
    let mut bytes = frame(HEADERS, last, 1, first);
    for (place, piece) in pieces.iter().enumerate() {
        let flags = if place + 1 == pieces.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(CONTINUATION, flags, 1, piece));
    }
    bytes.extend(frame(DATA, END_STREAM, 1, body));
    let mut frames = Frames::connect(address).await;
    frames.send(&bytes).await;
    frames.said().await
}
