//! No request chooses where the key goes.

use super::started;
use super::support::client::raw_request;
use super::support::recorder::END;
use super::support::{Raw, Recorder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_makes_a_connection_to_a_host_of_its_choice() {
    let (recorder, evil) = (Recorder::start(), Recorder::start());
    let qcc = started(&recorder);
    let (own, upstream) = (qcc.address(), recorder.address().to_string());
    let other = evil.address().to_string();
    let targets = [
        "/v1/messages".to_owned(),
        format!("http://{other}/v1/messages"),
        format!("https://{other}/v1/messages"),
        format!("http://{own}@{other}/v1/messages"),
        format!("http://{other}@{own}/v1/messages"),
        format!("http://{own}%23@{other}/v1/messages"),
        format!("http://{own}#@{other}/v1/messages"),
        format!("//{other}/v1/messages"),
        format!("///{other}/v1/messages"),
        format!("/\\{other}/v1/messages"),
        format!("@{other}/v1/messages"),
        format!(":@{other}/v1/messages"),
        format!(".{other}/v1/messages"),
        format!("/v1/messages@{other}"),
        format!("/v1/@{other}"),
        format!("/v1/%40{other}"),
        format!("/v1/%23@{other}/messages"),
        format!("/v1/%2f%2f{other}/messages"),
        format!("/v1/..//{other}/"),
        format!("/v1/messages?@{other}/"),
        format!("/v1/messages?url=http://{other}/"),
        format!("/v1/http://{other}/"),
        other.clone(),
    ];
    let lines = [
        "x: y".to_owned(),
        format!("x-forwarded-host: {other}\r\nx-forwarded-server: {other}\r\nx-forwarded-port: 80"),
        format!("forwarded: host={other};proto=http;for={other}"),
        format!("x-original-url: http://{other}/\r\nx-rewrite-url: http://{other}/\r\nx-host: {other}"),
        format!("referer: http://{other}/\r\ndestination: http://{other}/"),
        format!("via: 1.1 {other}\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5"),
        format!("connection: host\r\nx-upstream: {other}\r\nx-qcc-endpoint: http://{other}"),
        format!("host : {other}"),
        format!("host: {other}"),
    ];
    let body = [b"{}", END].concat();
    let mut passed = 0;
    for target in &targets {
        for (line, host) in lines.iter().flat_map(|line| [(line, own), (line, other.as_str())]) {
            let mut raw = Raw::connect(own).await;
            raw.send(raw_request("POST", target, host, &[line, "connection: close"], &body)).await;
            // Refused or served: what counts is where it went.
            let reply = raw.read_reply().await.unwrap_or_else(|| panic!("{target} {host} {line}: no answer"));
            let seen = String::from_utf8_lossy(&recorder.take()).to_ascii_lowercase();
            if seen.is_empty() {
                assert!((400..500).contains(&reply.status()), "{target} {host} {line}: {:?}", reply.head);
                continue;
            }
            passed += 1;
            assert_eq!(reply.status(), 200, "{target} {host} {line}");
            assert!(seen.starts_with("post /v1/"), "{target} {host} {line}: {seen}");
            let hosts: Vec<&str> = seen.lines().filter(|line| line.starts_with("host:")).collect();
            assert_eq!(hosts, [format!("host: {upstream}")], "{target} {host} {line}");
            for name in ["forwarded", "referer", "proxy-"] {
                let goes =
                    seen.lines().any(|line| line.starts_with(name) || line.starts_with(&format!("x-{name}")));
                assert!(!goes, "{name} goes up: {seen}");
            }
        }
    }
    assert!(passed > 20, "{passed} of them are requests that any client may send");
    assert_eq!(evil.connections(), 0);
}
