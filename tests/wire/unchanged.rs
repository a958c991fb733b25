//! The exchanges whose bytes must not change.

use super::bytes::gzip;
use super::protocols::{ALL, Mode, Protocol};
use super::support::End;
use super::support::http::chunk;
use super::transparency::{Exchange, compare};

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

fn answer(status: u16, headers: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} As It Is\r\n").into_bytes();
    for line in headers {
        answer.extend_from_slice(line);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(body);
    answer
}

const JSON: &[u8] = b"content-type: application/json";
const SSE: &[u8] = b"content-type: text/event-stream; charset=utf-8";

/// A POST to the protocol's path; the upstream answers well.
fn post(name: &str, protocol: Protocol, mode: Mode, headers: &[&str], body: &[u8]) -> Exchange {
    let mut headers = lines(headers);
    headers.push(b"Content-Type: application/json".to_vec());
    headers.push(format!("Content-Length: {}", body.len()).into_bytes());
    let kind = if mode == Mode::Whole { JSON } else { SSE };
    Exchange {
        name: name.into(),
        method: "POST",
        target: protocol.path().into(),
        headers,
        body: body.to_vec(),
        answer: answer(200, &[kind], &protocol.well_body(mode, "as it is")),
        end: End::Clean,
    }
}

/// A good request whose answer is this.
fn answered(name: &str, protocol: Protocol, mode: Mode, answer: Vec<u8>) -> Exchange {
    let body = protocol.request("answered", mode).to_string();
    Exchange { answer, ..post(name, protocol, mode, &[], body.as_bytes()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_up_as_they_came() {
    for protocol in ALL {
        let mut odd =
            b"{ \"model\" :\"m\",\n\t\"b\":1.0, \"a\":\"\\u00e9 \xc3\xa9 \xff\", \"a\":2 ,\"pad\":\""
                .to_vec();
        odd.extend(std::iter::repeat_n(b'x', 1 << 20));
        odd.extend_from_slice(b"\"} \r\n");
        let compressed = gzip(&odd);
        let (one, two) = odd.split_at(70_001);
        let mut chunked = [chunk(&one[..1]), chunk(&one[1..]), chunk(two)].concat();
        chunked.extend_from_slice(b"0\r\n\r\n");
        let mut in_chunks = post("in chunks", protocol, Mode::Whole, &[], b"");
        in_chunks.headers = lines(&["transfer-encoding: chunked", "content-type: application/json"]);
        in_chunks.body = chunked;
        let mut queried = post("a query", protocol, Mode::Whole, &[], b"{}");
        queried.target += "?beta=true&x=%20a+b&empty=&%2F=/?&beta=2&utf=%C3%A9";
        let mut odd_values = post("values that are no text", protocol, Mode::Whole, &["x-empty:"], b"{}");
        odd_values.headers.push(b"anthropic-odd: caf\xe9 \xff".to_vec());
        odd_values.headers.push(b"X-Spaced:   a  b\t c  ".to_vec());
        let known = [
            "anthropic-version: 2023-06-01",
            "anthropic-beta: one-2025-01-01, two-2025-02-02",
            "Anthropic-Beta: three-2025-03-03",
            "anthropic-not-yet-known: 1",
            "openai-organization: org-1",
            "OpenAI-Not-Yet-Known: 2",
            "openai-beta: responses=v1",
            "user-agent: claude-cli/2.1.330 (external, cli)",
            "accept: application/json, */*;q=0.1",
            "accept-encoding: gzip, deflate, br, zstd",
            "x-claude-code-session-id: 0f0f",
            "session-id: 1a1a",
            "x-stainless-retry-count: 0",
            "x-repeated: 1",
            "x-other: between",
            "X-Repeated: 2",
        ];
        let between = [
            "x-api-key: client-key",
            "authorization: Bearer client-key",
            "cookie: a=1",
            "proxy-authorization: Basic x",
            "x-forwarded-for: 10.0.0.1",
            "forwarded: for=10.0.0.1",
            "connection: keep-alive, x-named-by-connection",
            "x-named-by-connection: 1",
            "x-kept: 1",
        ];
        compare(
            protocol,
            vec![
                post("a megabyte of odd JSON", protocol, Mode::Whole, &[], &odd),
                post("gzip", protocol, Mode::Whole, &["content-encoding: gzip"], &compressed),
                in_chunks,
                queried,
                post("headers of the vendors", protocol, Mode::Whole, &known, b"{}"),
                odd_values,
                post("what stays behind", protocol, Mode::Whole, &between, b"{}"),
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_answers_come_down_as_they_are() {
    for protocol in ALL {
        let odd = {
            let text = protocol.answer(&"é \u{2028} ".repeat(90_000)).to_string();
            text.replacen('{', "{ \r\n\t", 1).into_bytes()
        };
        let headers: [&[u8]; 12] = [
            JSON,
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT",
            b"server: cloudflare",
            b"anthropic-ratelimit-requests-remaining: 7",
            b"anthropic-not-yet-known: caf\xe9 \xff",
            b"openai-processing-ms: 5",
            b"x-repeated: 1",
            b"x-between:",
            b"X-Repeated: 2",
            b"vary: accept",
            b"Vary: origin",
            b"x-should-retry: false",
        ];
        let behind: [&[u8]; 5] = [
            JSON,
            b"set-cookie: a=1",
            b"connection: keep-alive, x-named-by-connection",
            b"keep-alive: timeout=5",
            b"x-named-by-connection: 1",
        ];
        let coding: [&[u8]; 2] = [JSON, b"content-encoding: gzip"];
        let good = protocol.well_body(Mode::Whole, "as it is");
        let mut in_chunks =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        for piece in odd.chunks(40_000) {
            in_chunks.extend(chunk(piece));
        }
        in_chunks.extend_from_slice(b"0\r\n\r\n");
        let mut to_the_close =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n".to_vec();
        to_the_close.extend_from_slice(&odd);
        let whole = |name: &str, bytes| answered(name, protocol, Mode::Whole, bytes);
        compare(
            protocol,
            vec![
                whole("a megabyte with a length", answer(200, &[JSON], &odd)),
                whole("a megabyte in chunks", in_chunks),
                Exchange { end: End::Fin, ..whole("a megabyte to the close", to_the_close) },
                whole("headers", answer(200, &headers, &good)),
                whole("what stays behind", answer(200, &behind, &good)),
                whole("gzip", answer(200, &coding, &gzip(&odd))),
                whole(
                    "a type of its own",
                    answer(201, &[b"content-type: application/x-own", b"location: /v1/x"], &good),
                ),
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_come_down_as_they_are() {
    // No JSON that a parser would give back, and not even text.
    const ODD: &[u8] =
        b"{ \"type\" : \"error\",\"error\":{\"message\":\"\\u0041s it is \xff\",\"type\":\"odd\"}}\n\n";
    for protocol in ALL {
        let mut exchanges = Vec::new();
        for status in [400, 404, 405, 409, 413, 422, 429, 500, 502, 503, 504, 529] {
            for mode in [Mode::Whole, Mode::Streamed] {
                let request_id: &[u8] = b"request-id: req_1";
                let odd = answer(status, &[JSON, request_id, b"x-should-retry: true"], ODD);
                exchanges.push(answered(&format!("{status} {mode:?}"), protocol, mode, odd));
            }
            let coded: [&[u8]; 2] = [JSON, b"content-encoding: gzip"];
            let compressed = answer(status, &coded, &gzip(ODD));
            exchanges.push(answered(&format!("{status} gzip"), protocol, Mode::Whole, compressed));
            let empty = answer(status, &[], b"");
            exchanges.push(answered(&format!("{status} empty"), protocol, Mode::Whole, empty));
            let page = answer(status, &[b"content-type: text/html"], &b"<p>busy</p>".repeat(9_000));
            exchanges.push(answered(&format!("{status} a long page"), protocol, Mode::Whole, page));
        }
        compare(protocol, exchanges).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn model_lists_and_other_methods_pass_as_they_are() {
    let bare = |name: &str, method: &'static str, target: &str, answer: Vec<u8>| Exchange {
        name: name.into(),
        method,
        target: target.into(),
        headers: lines(&["anthropic-version: 2023-06-01"]),
        body: Vec::new(),
        answer,
        end: End::Clean,
    };
    let list = answer(200, &[JSON], b"{\"data\" : [ ], \"has_more\":false }");
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1234\r\n\r\n".to_vec();
    let gone = b"HTTP/1.1 204 No Content\r\nx-of: a\r\n\r\n".to_vec();
    compare(
        Protocol::Messages,
        vec![
            bare("a list", "GET", "/v1/models?limit=1000&after_id=%2F", list.clone()),
            bare("one model", "GET", "/v1/models/claude%203~x:y@1?beta=true", list.clone()),
            bare("the head of a list", "HEAD", "/v1/models?limit=1", head),
            bare("an unknown path", "GET", "/v1/not/yet/known;a=1,2/%C3%A9?", list),
            bare("nothing left", "DELETE", "/v1/files/f%20g", gone),
        ],
    )
    .await;
}

/// Streams that a parser would not give back as they are, by what is odd of them.
fn odd_streams(protocol: Protocol) -> Vec<(&'static str, Vec<u8>)> {
    let good = protocol.events(&["one", "two"]).concat();
    let (crlf, cr) = (good.replace('\n', "\r\n"), good.replace('\n', "\r"));
    let first_end = good.find("\n\n").expect("an event") + 2;
    let (first, rest) = good.split_at(first_end);
    let unknown = "event: not.yet.known\ndata: {\"type\":\"not.yet.known\"}\n\n";
    vec![
        ("plain", good.clone().into_bytes()),
        ("lines that end in CR LF", crlf.into_bytes()),
        ("lines that end in CR", cr.into_bytes()),
        ("a byte order mark", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
        (
            "comments and empty lines",
            format!(": hello\n\n\n\n:\n{first}: again\n\n{rest}:bye\n\n").into_bytes(),
        ),
        ("an unknown event", format!("{unknown}{first}{unknown}{rest}").into_bytes()),
        ("other fields", format!("retry: 10\nid: 7\nodd\n{first}id\n\n{rest}").into_bytes()),
        ("no space after a colon", good.replace(": {", ":{").into_bytes()),
        ("bytes that are no text", [b": \xff\xfe\x80\n\n", good.as_bytes()].concat()),
        ("more after the last event", format!("{good}: and a comment\n").into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_come_down_as_they_are() {
    for protocol in ALL {
        let mut exchanges = Vec::new();
        for (name, stream) in odd_streams(protocol) {
            let head = |framing: &str| {
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n{framing}\r\n\r\n")
                    .into_bytes()
            };
            let mut in_chunks = head("transfer-encoding: chunked");
            // Cut where no event ends.
            for piece in stream.chunks(7) {
                in_chunks.extend(chunk(piece));
            }
            in_chunks.extend_from_slice(b"0\r\n\r\n");
            let to_the_close = [head("connection: close"), stream.clone()].concat();
            let coded: [&[u8]; 2] = [SSE, b"content-encoding: gzip"];
            let compressed = answer(200, &coded, &gzip(&stream));
            let streamed =
                |how: &str, bytes| answered(&format!("{name}, {how}"), protocol, Mode::Streamed, bytes);
            exchanges.push(streamed("in chunks", in_chunks));
            exchanges.push(Exchange { end: End::Fin, ..streamed("to the close", to_the_close) });
            exchanges.push(streamed("with a length", answer(200, &[SSE], &stream)));
            exchanges.push(streamed("gzip", compressed));
        }
        compare(protocol, exchanges).await;
    }
}
