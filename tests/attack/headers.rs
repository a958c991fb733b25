//! Header games: what concerns one connection ends there, and nothing a client names removes what is ours.

use super::started;
use super::support::client::raw_request;
use super::support::recorder::END;
use super::support::{Answer, Cluster, Endpoint, Qcc, Raw, Recorder, Step, Upstream, llm};

const KEY: &str = "sk-key-of-a-0123456789";

/// The header lines that go up for these, besides those that go up for none.
async fn lines_up(qcc: &Qcc, recorder: &Recorder, lines: &[&str]) -> Vec<String> {
    let body = [b"{}", END].concat();
    let mut raw = Raw::connect(qcc.address()).await;
    let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), lines, &body)).await;
    assert_eq!(reply.status(), 200, "{lines:?}: {:?}", reply.head);
    let seen = String::from_utf8_lossy(&recorder.take()).into_owned();
    let (head, rest) = seen.split_once("\r\n\r\n").expect("a head");
    assert_eq!(rest.as_bytes(), body, "{lines:?}");
    let mut lines: Vec<String> = head.split("\r\n").skip(1).map(str::to_owned).collect();
    for own in [
        format!("host: {}", recorder.address()),
        format!("x-api-key: {KEY}"),
        format!("authorization: Bearer {KEY}"),
        format!("content-length: {}", body.len()),
    ] {
        let place = lines.iter().position(|line| *line == own).unwrap_or_else(|| panic!("no {own}: {seen}"));
        lines.remove(place);
    }
    lines.retain(|line| !line.starts_with("via: 1.1 qcc-"));
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_names_takes_away_or_doubles_what_is_ours() {
    let recorder = Recorder::start();
    let qcc = started(&recorder);
    for lines in [
        &[][..],
        &["Connection: x-api-key", "X-API-Key: client-secret"],
        &["Connection: close, X-Api-Key, AUTHORIZATION"],
        &["connection: host"],
        &["Connection: content-length"],
        &["Connection: transfer-encoding, te, upgrade"],
        &["Connection: connection"],
        &["Connection: ,,;=, \"x-api-key\", x-api-key"],
        &["Connection: via, max-forwards"],
        &["X-Api-Key: a", "x-api-key: b", "X-API-KEY: c"],
        &["Authorization: Basic client-secret", "authorization: Bearer client-secret", "AUTHORIZATION:"],
        &["Cookie: a=b", "Cookie: c=d"],
        &["Proxy-Authorization: Basic client-secret", "proxy-x: y", "Proxy-Connection: close"],
        &["X-Forwarded-For: 1.2.3.4", "x-forwarded-anything: y", "Forwarded: for=1.2.3.4"],
        &["TE: trailers, deflate", "Trailer: x-api-key", "Keep-Alive: timeout=1"],
        &["Referer: http://secret.example/"],
        &["Connection: X-Named", "X-Named: y"],
        &["Connection: x-one , X-Two", "connection: x-three", "x-one: y", "x-two: y", "x-three: y"],
    ] {
        assert_eq!(lines_up(&qcc, &recorder, lines).await, [""; 0], "{lines:?}");
    }
    assert_eq!(lines_up(&qcc, &recorder, &["X-Kept: \t a,  b \t", "x-kept: "]).await.len(), 2);
    let via = ["Via: 1.0 fred, 1.1 p.example.net", "Max-Forwards: 0"];
    let mut up = lines_up(&qcc, &recorder, &via).await;
    up.sort_unstable();
    assert_eq!(
        up,
        ["max-forwards: 0", "via: 1.0 fred, 1.1 p.example.net"],
        "of another method it means nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_options_request_is_forwarded_one_time_less_at_each_proxy() {
    let recorder = Recorder::start();
    let qcc = started(&recorder);
    for (said, goes_up) in [("1", "max-forwards: 0"), ("070", "max-forwards: 69")] {
        let mut raw = Raw::connect(qcc.address()).await;
        let line = format!("Max-Forwards: {said}");
        let reply = raw.ask(raw_request("OPTIONS", "/v1/x", qcc.address(), &[&line], b"")).await;
        assert_eq!(reply.status(), 200);
        let seen = String::from_utf8_lossy(&recorder.take()).into_owned();
        assert!(seen.starts_with("OPTIONS /v1/x HTTP/1.1\r\n") && seen.contains(goes_up), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_says_of_its_connection_and_its_trailers_stay_behind() {
    let wire = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nConnection: keep-alive, X-Named\r\nX-Named: y\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic realm=x\r\nProxy-Authentication-Info: x\r\n\
        Proxy-Connection: keep-alive\r\nTrailer: x-after\r\nUpgrade: h2c\r\nTE: x\r\nSet-Cookie: a=b\r\n\
        X-Kept: y\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = llm::message_answer("hello").to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\nx-after: y\r\nset-cookie: c=d\r\n\r\n", body.len());
    let answer = [wire.as_bytes(), chunked.as_bytes()].concat();
    let a = Upstream::start(llm::on_post(move |_| Answer::wire([Step::Bytes(answer.clone())])));
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a)]));
    let mut raw = Raw::connect(qcc.address()).await;
    for _ in 0..2 {
        let reply =
            raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &["te: trailers"], b"{}")).await;
        assert_eq!((reply.status(), reply.body.as_slice()), (200, body.as_bytes()));
        let mut names: Vec<String> = reply.head.lines().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = ["content-type", "transfer-encoding", "x-kept", "x-qcc-attempts", "x-qcc-endpoint"];
        assert_eq!(names, expected, "and no trailer: {:?}", raw.unread);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_with_a_body_goes_up_whole_and_an_answer_to_head_has_none() {
    let recorder = Recorder::start();
    let qcc = started(&recorder);
    let a = Upstream::healthy();
    let plain = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a).per_request()]));
    let mut raw = Raw::connect(plain.address()).await;
    let body = b"{\"a\" : 1}\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let reply = raw.ask(raw_request("GET", "/v1/models", plain.address(), &[], body)).await;
    assert_eq!(reply.status(), 200);
    let seen = a.requests();
    assert_eq!((seen.len(), seen[0].method.as_str(), seen[0].body()), (1, "GET", &body[..]));

    let mut raw = Raw::connect(qcc.address()).await;
    for _ in 0..3 {
        raw.send(format!("HEAD /v1/models HTTP/1.1\r\nhost: {}\r\n\r\n", qcc.address())).await;
        let head = raw.read_head().await.expect("an answer");
        assert_eq!((head.status(), head.header("content-length")), (200, Some("37")), "{head:?}");
        assert_eq!(raw.unread, b"", "no body");
    }
    let body = [b"{}", END].concat();
    let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], &body)).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(recorder.connections(), 1, "the upstream's connection stays in use");
}
