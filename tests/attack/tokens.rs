//! Every path, with no token, a wrong one and the right one.

use super::endpoint;
use super::support::client::raw_request;
use super::support::{Cluster, Qcc, Raw, Recorder, recorder};

const TOKEN: &str = "token-of-a-client";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_token_opens_what_is_not_open_to_all() {
    let recorder = Recorder::start();
    let cluster = Cluster::tiers([endpoint(&recorder)]).line(&format!("client_tokens = ['{TOKEN}']"));
    let qcc = Qcc::start(&cluster);
    let own_key = cluster.endpoints[0].key.clone();
    let wrong = [
        vec![],
        vec!["x-api-key: wrong".to_owned()],
        vec!["authorization: Bearer wrong".into()],
        vec![format!("authorization: Basic {TOKEN}")],
        vec![format!("authorization: {TOKEN}")],
        vec![format!("x-api-key: {TOKEN}x")],
        vec![format!("x-api-key: {}", &TOKEN[1..])],
        vec![format!("x-api-key: {}", TOKEN.to_uppercase())],
        vec![format!("x-api-key: \"{TOKEN}\"")],
        vec!["x-api-key:".into()],
        vec![format!("x-api-key: {own_key}")],
        vec![format!("cookie: x-api-key={TOKEN}")],
        vec![format!("proxy-authorization: Bearer {TOKEN}")],
        vec![format!("x_api_key: {TOKEN}")],
    ];
    let right = [
        vec![format!("x-api-key: {TOKEN}")],
        vec![format!("Authorization: bearer {TOKEN}")],
        // RFC 9110 §11.4: one space or more.
        vec![format!("authorization: Bearer  {TOKEN}")],
        vec!["x-api-key: wrong".into(), format!("authorization: Bearer {TOKEN}")],
    ];
    // With a token; without one all but those that are open answer 401.
    let paths = [
        ("POST", "/v1/messages", 200),
        ("POST", "/v1/messages?beta=true", 200),
        ("POST", "/v1/messages/count_tokens", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/x", 200),
        ("GET", "/v1/files/x", 200),
        ("DELETE", "/v1/files/x", 200),
        ("OPTIONS", "/v1/messages", 200),
        ("OPTIONS", "*", 204),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("GET", "/status", 404),
        ("GET", "/metrics", 404),
        ("POST", "/endpoints/a/disable", 404),
        ("GET", "/v1", 404),
        ("GET", "/V1/models", 404),
        ("GET", "/x/v1/models", 404),
    ];
    let body = [b"{}", recorder::END].concat();
    let ask = async |method: &str, path: &str, lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["connection: close"]).collect();
        let body: &[u8] = if method == "POST" { &body } else { b"" };
        let mut raw = Raw::connect(qcc.address()).await;
        let reply = raw.ask(raw_request(method, path, qcc.address(), &lines, body)).await;
        (reply.status(), String::from_utf8_lossy(&recorder.take()).into_owned())
    };
    for (method, path, status) in paths {
        for lines in &wrong {
            let (refused, up) = ask(method, path, lines).await;
            assert_eq!((refused, up.as_str()), (401, ""), "{method} {path} {lines:?}");
        }
        for lines in &right {
            let (served, up) = ask(method, path, lines).await;
            assert_eq!((served, up.is_empty()), (status, status != 200), "{method} {path} {lines:?}");
            assert!(!up.contains(TOKEN), "{method} {path}: the token goes up");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask("GET", path, &[]).await.0, 200, "{path}");
    }
    for path in ["/", "/api/hello", "/livez", "/readyz"] {
        let mut raw = Raw::connect(qcc.address()).await;
        raw.send(format!("HEAD {path} HTTP/1.1\r\nhost: {}\r\n\r\n", qcc.address())).await;
        assert_eq!(raw.read_head().await.expect("an answer").status(), 200, "HEAD {path}");
    }
    println!("{} paths, {} wrong and {} right credentials", paths.len(), wrong.len(), right.len());
}
