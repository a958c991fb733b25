//! What the proxy answers itself: its own addresses, limits, framing, and both versions of HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::support::client::{BodyEnd, raw_request};
use super::support::{Client, Cluster, Endpoint, Http2Client, Qcc, Raw, Upstream, exchange, llm, within};
use super::{started, two};

fn alone(a: &Upstream) -> (Qcc, Client) {
    started(Cluster::tiers([Endpoint::new("a", a)]))
}

/// Reads the head of an answer that has no body: one to HEAD.
async fn head(raw: &mut Raw<tokio::net::TcpStream>, path: &str, host: &str) -> (u16, usize) {
    raw.send(format!("HEAD {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    let head = raw.read_head().await.expect("an answer");
    // Without it Claude Code does not use the connection again.
    assert_eq!(head.header("content-length"), Some("0"));
    (head.status(), raw.unread.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_first_look_is_answered_here_and_keeps_the_connection() {
    let a = Upstream::healthy();
    let (qcc, _) = alone(&a);
    let before = a.requests().len();
    let mut raw = Raw::connect(qcc.address()).await;
    for path in ["/", "/api/hello", "/api/hello?x=1"] {
        assert_eq!(head(&mut raw, path, qcc.address()).await, (200, 0), "{path}");
    }
    assert_eq!(a.requests().len(), before);
    let body = llm::message("same connection").to_string();
    for _ in 0..3 {
        let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes())).await;
        assert_eq!((reply.status(), reply.end), (200, BodyEnd::Clean));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_one_client_connection_share_upstream_connections() {
    let a = Upstream::healthy();
    let (_qcc, client) = alone(&a);
    for _ in 0..20 {
        client.ask("kept alive").await.expect_from("a");
    }
    assert!(a.connections() <= 3, "{} connections for 20 requests in a row", a.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_endpoints_and_liveness_does_not() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let (qcc, client) = started(two(&a, &b));
    for (command, name, ready) in [
        ("drain", "a", 200),
        ("disable", "b", 503),
        ("enable", "a", 200),
        ("disable", "a", 503),
        ("enable", "b", 200),
    ] {
        qcc.command(command, name);
        assert_eq!(exchange(client.get("/readyz")).await.status, ready, "after {command} {name}");
        assert_eq!(exchange(client.get("/livez")).await.status, 200);
    }
}

/// RFC 9110 §9.3.2; a client over HTTP/2 resets a stream on which content comes all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_head_has_the_head_of_the_answer_to_get_and_no_body() {
    let a = Upstream::healthy();
    let (qcc, client) = alone(&a);
    let over_http2 = Http2Client::connect(qcc.address()).await;
    for path in ["/livez", "/readyz", "/nothing"] {
        let of_get = exchange(client.get(path)).await;
        let of_head = exchange(client.http.head(format!("{}{path}", client.base))).await;
        for (version, reply) in [("1.1", of_head), ("2", over_http2.head(path).await)] {
            assert_eq!(
                (reply.status, reply.whole, reply.text().as_str()),
                (of_get.status, true, ""),
                "{path} {version}"
            );
            assert_eq!(reply.header("content-length"), of_get.header("content-length"), "{path} {version}");
        }
    }
}

/// RFC 9112 §9.6: else its client sends the next request on a connection that is about to be closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_request_is_answered_unread_says_that_it_is_closed() {
    let a = Upstream::healthy();
    let cluster = Cluster::tiers([Endpoint::new("a", &a)]).line("client_tokens = ['token-of-a-client']");
    let (qcc, _) = started(cluster);
    let body = vec![b' '; 200_000];
    for (path, header, status) in
        [("/v1/messages", "x-api-key: wrong", 401), ("/v2/x", "x-api-key: token-of-a-client", 404)]
    {
        let mut raw = Raw::connect(qcc.address()).await;
        let reply = raw.ask(raw_request("POST", path, qcc.address(), &[header], &body)).await;
        assert_eq!((reply.status(), reply.head.header("connection")), (status, Some("close")), "{path}");
        raw.expect_closed().await;
        // One that has no body is kept.
        let mut raw = Raw::connect(qcc.address()).await;
        for _ in 0..2 {
            let reply = raw.ask(raw_request("GET", path, qcc.address(), &[header], b"")).await;
            assert_eq!((reply.head.header("connection"), reply.end), (None, BodyEnd::Clean), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_addresses_are_404_and_go_nowhere() {
    let a = Upstream::healthy();
    let (_qcc, client) = alone(&a);
    let before = a.requests().len();
    for path in ["/", "/v2/messages", "/status", "/metrics", "/events", "/favicon.ico", "/v1x", "/api/other"]
    {
        assert_eq!(exchange(client.get(path)).await.status, 404, "GET {path}");
    }
    assert_eq!(exchange(client.post("/endpoint/disable", &llm::message("no"))).await.status, 404);
    assert_eq!(a.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_told_to_fall_back_and_other_upgrades_are_refused() {
    let o = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("o", &o).openai()]));
    let (guarded, _) = started(
        Cluster::tiers([Endpoint::new("o", &o).openai()]).line("client_tokens = ['token-of-a-client']"),
    );
    let before = o.requests().len();
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGVzdA==";
    for (path, status) in [("/v1/responses", 426), ("/v1/models", 400)] {
        let mut raw = Raw::connect(qcc.address()).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{upgrade}\r\n\r\n", qcc.address())).await;
        assert_eq!(raw.read_head().await.expect("an answer").status(), status, "{path}");
    }
    let mut raw = Raw::connect(guarded.address()).await;
    raw.send(format!("GET /v1/responses HTTP/1.1\r\nhost: {}\r\n{upgrade}\r\n\r\n", guarded.address())).await;
    assert_eq!(raw.read_head().await.expect("an answer").status(), 426, "no token is asked for");
    assert_eq!(o.requests().len(), before);
    exchange(client.post("/v1/responses", &llm::response("fell back"))).await.expect_from("o");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused_and_goes_nowhere() {
    let a = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]).line("max_body = '4 KiB'"));
    let long = "x".repeat(8 * 1024);
    let reply = exchange(client.post("/v1/messages", &llm::message(&long))).await;
    assert_eq!((reply.status, reply.own_error()), (413, Some("body_too_large")));
    assert_eq!(
        (&reply.json()["type"], &reply.json()["error"]["type"]),
        (&"error".into(), &"request_too_large".into())
    );

    let mut raw = Raw::connect(qcc.address()).await;
    raw.send(format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        qcc.address()
    ))
    .await;
    for _ in 0..8 {
        raw.send(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
    }
    let reply = raw.read_reply().await.expect("an answer before the body's end");
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (413, Some("body_too_large")));
    assert_eq!(a.posts().len(), 0);
    client.ask(&"y".repeat(3 * 1024)).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_two_readers_could_read_differently_goes_nowhere() {
    let a = Upstream::healthy();
    let (qcc, _) = alone(&a);
    let host = qcc.address();
    for (what, lines) in [
        ("both framings", "content-length: 5\r\ntransfer-encoding: chunked"),
        ("both framings, the other first", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("a framing nobody has", "transfer-encoding: gzip"),
        ("two framings", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        ("two framings on a line", "transfer-encoding: gzip, chunked"),
        ("two lengths", "content-length: 5\r\ncontent-length: 6"),
        ("a length said twice", "content-length: 5\r\ncontent-length: 5"),
        ("a list of lengths", "content-length: 5, 5"),
        ("no length", "content-length: five"),
        ("a negative length", "content-length: -1"),
        ("a signed length", "content-length: +5"),
        ("two hosts", "content-length: 5\r\nhost: localhost"),
        ("a bare LF", "x: y\ncontent-length: 5"),
        ("a bare CR", "x: y\rcontent-length: 5"),
        ("a folded line", "x: y\r\n content-length: 5"),
        ("a space before the colon", "content-length : 5"),
        ("no name", ": 5"),
        ("no colon", "content-length"),
        ("a NUL", "content-length: 5\0"),
        ("a control character", "x: \u{b}\r\ncontent-length: 5"),
    ] {
        let mut raw = Raw::connect(host).await;
        raw.send(format!("POST /v1/messages HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n\r\n0\r\n\r\n")).await;
        raw.send(raw_request("POST", "/v1/messages", host, &[], b"{}")).await;
        let reply = raw.read_reply().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (400, Some("bad_request")), "{what}");
        assert_eq!(reply.head.header("connection"), Some("close"), "{what}");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error", "{what}");
        raw.expect_closed().await;
    }
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_an_end_is_refused() {
    let a = Upstream::healthy();
    let (qcc, _) = alone(&a);
    let mut raw = Raw::connect(qcc.address()).await;
    raw.send(format!("POST /v1/messages HTTP/1.1\r\nhost: {}\r\nx: ", qcc.address())).await;
    let reply = raw.ask("y".repeat(512 * 1024)).await;
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (431, Some("head_too_large")));
    assert_eq!(reply.head.header("connection"), Some("close"));
    raw.expect_closed().await;
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_cut_goes_nowhere() {
    let a = Upstream::healthy();
    let (qcc, client) = alone(&a);
    let mut raw = Raw::connect(qcc.address()).await;
    let whole =
        raw_request("POST", "/v1/messages", qcc.address(), &[], llm::message("cut").to_string().as_bytes());
    raw.send(&whole[..whole.len() - 3]).await;
    drop(raw);
    client.ask("after it").await.expect_from("a");
    assert_eq!(a.matching(|request| request.says("cut") || request.was_abandoned()).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_are_not_waited_for_forever() {
    let a = Upstream::healthy();
    let cluster = Cluster::tiers([Endpoint::new("a", &a)]).timeouts("client_header = '300ms'");
    let (qcc, _) = started(cluster);
    let mut raw = Raw::connect(qcc.address()).await;
    raw.send("POST /v1/messages HTTP/1.1\r\nhost: ").await;
    // A 408 first is as good as a close at once.
    let _ = raw.read_reply().await;
    raw.expect_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_by_prior_knowledge_is_served_on_the_same_port() {
    let a = Upstream::healthy();
    let (qcc, _) = alone(&a);
    let stream = tokio::net::TcpStream::connect(qcc.address()).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within("an HTTP/2 handshake", handshake).await.unwrap();
    let driving = tokio::spawn(connection);
    for stream in [false, true] {
        let mut body = llm::message("over h2");
        body["stream"] = stream.into();
        let request = hyper::Request::post(format!("{}/v1/messages?beta=true", qcc.url()))
            .header("x-api-key", "client-key")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = within("an answer", sender.send_request(request)).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-qcc-endpoint"].as_bytes()),
            (200, &b"a"[..])
        );
        let bytes = within("its body", response.into_body().collect()).await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&bytes).contains("hello"));
    }
    let seen = a.users();
    assert_eq!((seen.len(), seen[0].target.as_str()), (2, "/v1/messages?beta=true"));
    assert_eq!(seen[0].header_all("host"), [a.address().to_string()]);
    driving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_nothing_tells_what_is_where() {
    let a = Upstream::healthy();
    let (qcc, client) =
        started(Cluster::tiers([Endpoint::new("a", &a)]).line("client_tokens = ['token-of-a-client']"));
    for (path, known) in [("/v1/messages", 200), ("/nothing", 404)] {
        let (method, body) =
            if known == 200 { ("POST", llm::message("m").to_string()) } else { ("GET", String::new()) };
        for (token, expected) in [("x-api-key: wrong", 401), ("x-api-key: token-of-a-client", known)] {
            let mut raw = Raw::connect(qcc.address()).await;
            let reply = raw.ask(raw_request(method, path, qcc.address(), &[token], body.as_bytes())).await;
            assert_eq!(reply.status(), expected, "{method} {path} with {token}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(exchange(client.get(path)).await.status, 200, "{path} needs no token");
    }
    assert_eq!(a.posts().len(), 1);
}
