//! Byte for byte what may pass, and nothing of what may not.

use super::started;
use super::support::client::{BodyEnd, raw_request};
use super::support::{Answer, Cluster, Endpoint, Qcc, Raw, Recorded, Upstream, exchange, llm};

const KEY: &str = "sk-key-of-a-0123456789";

async fn send(qcc: &Qcc, target: &str, headers: &[&str], body: &[u8]) -> super::support::client::RawReply {
    let mut raw = Raw::connect(qcc.address()).await;
    raw.ask(raw_request("POST", target, qcc.address(), headers, body)).await
}

fn the_post(upstream: &Upstream) -> std::sync::Arc<Recorded> {
    let posts = upstream.posts();
    assert_eq!(posts.len(), 1, "one request up for one that came in: {posts:?}");
    posts[0].clone()
}

fn one(upstream: &Upstream, line: &str) -> Cluster {
    Cluster::tiers([Endpoint::new("a", upstream).line(line)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_and_body_pass_unchanged() {
    let a = Upstream::healthy();
    let (qcc, _) = started(one(&a, "weight = 100"));
    // Odd spacing, order and escapes would not survive a parse.
    let mut body =
        b"{ \"stream\" :false,\n\t\"b\":1.0,\"a\":\"\\u00e9 \xc3\xa9\", \"qcc-user\": [ ] ,\"pad\":\""
            .to_vec();
    body.extend(std::iter::repeat_n(b'x', 300_000));
    body.extend_from_slice(b"\"} \r\n");
    let target = "/v1/messages?beta=true&x=%20a+b&empty=&%2F=/?&beta=2";
    assert_eq!(send(&qcc, target, &["content-type: application/json"], &body).await.status(), 200);
    let seen = the_post(&a);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", target));
    assert!(seen.body() == body, "the body changed: {} of {} bytes", seen.body().len(), body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_in_chunks_passes_unchanged() {
    let a = Upstream::healthy();
    let (qcc, _) = started(one(&a, "weight = 100"));
    let body = llm::message("chunked").to_string();
    let (one, two) = body.split_at(20);
    let mut raw = Raw::connect(qcc.address()).await;
    raw.send(format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        qcc.address()
    ))
    .await;
    for piece in [one, two] {
        raw.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    }
    raw.send("0\r\n\r\n").await;
    assert_eq!(raw.read_reply().await.unwrap().status(), 200);
    assert_eq!(the_post(&a).body(), body.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_path_of_the_base_url_goes_before_the_target() {
    let a = Upstream::healthy();
    let base = format!("{}/anthropic", a.url());
    for base in [base.clone(), base + "/"] {
        let (qcc, _) = started(one(&a, &format!("base_url = '{base}'")));
        send(&qcc, "/v1/messages?beta=true", &[], b"{}").await;
        assert_eq!(a.requests().last().unwrap().target, "/anthropic/v1/messages?beta=true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_the_protocol_pass_unchanged() {
    let a = Upstream::healthy();
    let (qcc, _) = started(one(&a, "weight = 100"));
    let sent = [
        "anthropic-version: 2026-10-21",
        "anthropic-beta: one-2025-01-01,two-2025-02-02",
        "anthropic-dangerous-direct-browser-access: true",
        "openai-organization: org-1",
        "user-agent: claude-cli/2.1.330 (external, cli)",
        "accept: application/json",
        "accept-encoding: gzip, deflate, br, zstd",
        "content-type: application/json",
        "x-claude-code-session-id: 0f0f",
        "x-stainless-retry-count: 0",
        "x-app: cli",
    ];
    send(&qcc, "/v1/messages", &sent, b"{}").await;
    let seen = the_post(&a);
    for line in sent {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(seen.header_all(name), [value], "{name}");
    }
    assert_eq!(seen.header_all("host"), [a.address().to_string()]);
    assert!(seen.header("x-qcc-endpoint").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_credentials_are_replaced_in_the_form_of_the_endpoint() {
    let bearer = format!("Bearer {KEY}");
    for (form, api_key, authorization) in [
        ("weight = 100", vec![KEY], vec![bearer.as_str()]),
        ("auth = 'both'", vec![KEY], vec![bearer.as_str()]),
        ("auth = 'x-api-key'", vec![KEY], vec![]),
        ("auth = 'bearer'", vec![], vec![bearer.as_str()]),
    ] {
        for sent in [
            vec![],
            vec!["x-api-key: client-secret"],
            vec!["Authorization: Bearer client-secret"],
            vec![
                "X-API-KEY: client-secret",
                "x-api-key: client-secret",
                "authorization: Basic client-secret",
            ],
            vec!["Connection: x-api-key, authorization", "x-api-key: client-secret"],
            vec!["Connection: X-Api-Key", "Connection: Authorization, close"],
        ] {
            let a = Upstream::healthy();
            let (qcc, _) = started(one(&a, form));
            assert_eq!(send(&qcc, "/v1/messages", &sent, b"{}").await.status(), 200, "{form} {sent:?}");
            let seen = the_post(&a);
            assert_eq!(seen.header_all("x-api-key"), api_key, "{form} {sent:?}");
            assert_eq!(seen.header_all("authorization"), authorization, "{form} {sent:?}");
            assert!(!format!("{:?}", seen.headers).contains("client-secret"), "{form} {sent:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_between_client_and_proxy_does_not_go_up() {
    let a = Upstream::healthy();
    let (qcc, _) = started(one(&a, "weight = 100"));
    let sent = [
        "Cookie: session=1",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "Proxy-Anything: 1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "Forwarded: for=10.0.0.1;host=evil.example",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Connection: keep-alive, X-Named, x-other",
        "X-Named: 1",
        "X-Other: 2",
        "X-Kept: 3",
    ];
    assert_eq!(send(&qcc, "/v1/messages", &sent, b"{}").await.status(), 200);
    let seen = the_post(&a);
    assert_eq!(seen.header("x-kept"), Some("3"));
    for (name, value) in &seen.headers {
        let name = name.to_lowercase();
        let between = ["cookie", "forwarded", "keep-alive", "te", "x-named", "x-other", "connection"];
        let dropped = between.contains(&name.as_str())
            || name.starts_with("proxy-")
            || name.starts_with("x-forwarded-");
        // A connection header of the proxy's own says nothing of the client's.
        let own = name == "connection" && ["keep-alive", "close"].contains(&value.to_lowercase().as_str());
        assert!(!dropped || own, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_between_proxy_and_upstream_does_not_come_down() {
    let a = Upstream::start(llm::on_post(|_| {
        Answer::json(200, &llm::message_answer("hello"))
            .header("Set-Cookie", "session=1")
            .header("Connection", "keep-alive, x-named")
            .header("Keep-Alive", "timeout=5")
            .header("X-Named", "1")
            .header("request-id", "req_1")
            .header("anthropic-ratelimit-requests-remaining", "7")
            .header("openai-processing-ms", "5")
            .header("x-unknown", "kept")
    }));
    let (qcc, _) = started(one(&a, "weight = 100"));
    let reply = send(&qcc, "/v1/messages", &[], b"{}").await;
    for (name, value) in [
        ("request-id", "req_1"),
        ("anthropic-ratelimit-requests-remaining", "7"),
        ("openai-processing-ms", "5"),
        ("x-unknown", "kept"),
        ("content-type", "application/json"),
        ("x-qcc-endpoint", "a"),
        ("x-qcc-attempts", "1"),
    ] {
        assert_eq!(reply.head.header(name), Some(value), "{name}");
    }
    for name in ["set-cookie", "keep-alive", "x-named", "x-qcc-error"] {
        assert_eq!(reply.head.header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_come_down_byte_for_byte_errors_and_compressed_ones_too() {
    let odd = b"{\"type\" : \"error\", \"error\":{\"type\":\"invalid_request_error\",\"message\":\"\\u00e9\xff\"} }\n\n";
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff not really, and nobody may look";
    for (status, encoding, body) in
        [(400, "identity", &odd[..]), (422, "identity", b""), (413, "gzip", &gzip[..])]
    {
        let a = Upstream::start(llm::on_post(move |_| {
            Answer::new(status).header("content-encoding", encoding).body(body)
        }));
        let (qcc, _) = started(one(&a, "weight = 100"));
        let reply = send(&qcc, "/v1/messages", &[], b"{}").await;
        assert_eq!((reply.status(), reply.head.header("content-encoding")), (status, Some(encoding)));
        assert_eq!((reply.body.as_slice(), reply.end), (body, BodyEnd::Clean));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_or_target_of_a_client_chooses_the_host() {
    let (a, evil) = (Upstream::healthy(), Upstream::healthy());
    let (qcc, _) = started(one(&a, "weight = 100"));
    let (own, other) = (qcc.address().to_owned(), evil.address().to_string());
    let forwarded = format!("X-Forwarded-Host: {other}");
    let targets = [
        format!("http://{other}/v1/messages"),
        format!("http://user@{other}/v1/messages"),
        format!("//{other}/v1/messages"),
        format!("@{other}/v1/messages"),
        format!("/v1/messages@{other}"),
        format!("/v1/%23@{other}/messages"),
        format!("/v1//{other}/messages"),
        format!("/v1/messages?url=http://{other}"),
    ];
    for (target, host) in targets.iter().flat_map(|target| [(target, &own), (target, &other)]) {
        let mut raw = Raw::connect(&own).await;
        raw.send(raw_request("POST", target, host, &[&forwarded], b"{}")).await;
        // Refused or served: what counts is where it went.
        let _ = raw.read_reply().await;
    }
    assert_eq!(evil.connections(), 0);
    for seen in a.requests() {
        assert_eq!(seen.header_all("host"), [a.address().to_string()], "{seen:?}");
        assert!(seen.target.starts_with("/v1/"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_methods_and_paths_under_v1_pass_as_well() {
    let a = Upstream::start(|request| match request.method.as_str() {
        "DELETE" => Answer::new(200).body("gone"),
        "GET" if request.path() == "/v1/files/file-1" => Answer::new(200).body("a file"),
        "GET" => llm::healthy(request),
        _ => llm::healthy(request),
    });
    let (_qcc, client) = started(one(&a, "weight = 100"));
    assert_eq!(exchange(client.get("/v1/models?limit=1000")).await.json()["data"][0]["id"], "claude-test-1");
    assert_eq!(exchange(client.get("/v1/files/file-1")).await.text(), "a file");
    let url = format!("{}/v1/files/file-1?purge=1", client.base);
    assert_eq!(exchange(client.http.delete(url)).await.text(), "gone");
    assert_eq!(a.requests().last().unwrap().target, "/v1/files/file-1?purge=1");
    let counted = client.post("/v1/messages/count_tokens", &llm::message("count"));
    assert_eq!(exchange(counted).await.json()["input_tokens"], 7);
}
