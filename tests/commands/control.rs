//! The control socket, and the admin address that takes no commands.

use serde_json::Value;

use super::support::client::{RawReply, raw_request};
use super::support::proxy::mode;
use super::support::{Client, Qcc, Raw, Upstream, eventually, exchange, llm};
use super::two;

async fn over_socket(qcc: &Qcc, path: &str) -> RawReply {
    let mut raw = Raw::connect_unix(&qcc.home().socket_path()).await;
    raw.ask(raw_request("GET", path, "localhost", &[], b"")).await
}

/// The list of events, whether it is the document or a member of it.
fn events(document: &Value) -> Vec<Value> {
    let list = document.as_array().or_else(|| document["events"].as_array());
    list.unwrap_or_else(|| panic!("no list of events: {document:#}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_its_owners_alone() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    let socket = qcc.home().socket_path();
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()) & 0o077, 0, "nor can others look into its directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_serves_the_status_document() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    let reply = over_socket(&qcc, "/status").await;
    assert_eq!((reply.status(), reply.head.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.json()["endpoints"], qcc.status()["endpoints"]);
    assert_eq!(over_socket(&qcc, "/nosuch").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_of_state_is_an_event_and_a_log_line() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    Client::of(&qcc).ask("refused").await.expect_from("b");
    let benched = qcc.endpoint_in("a", "unhealthy").await;
    a.set(llm::healthy);
    qcc.command("recheck", "a");
    let back = qcc.endpoint_in("a", "healthy").await;

    let all = events(&over_socket(&qcc, "/events").await.json());
    let of_a = |from: &str, to: &str| {
        let found: Vec<&Value> = all
            .iter()
            .filter(|event| event["endpoint"] == "a" && event["from"] == from && event["to"] == to)
            .collect();
        assert_eq!(found.len(), 1, "{from} to {to}, once: {all:#?}");
        found[0].clone()
    };
    let left = of_a("healthy", "unhealthy");
    assert_eq!(
        (&left["cause"], &left["method"], &left["epoch"]),
        (&"auth".into(), &"chat".into(), &benched["epoch"])
    );
    assert!(
        left.as_object()
            .unwrap()
            .values()
            .any(|value| { value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()) })
    );
    of_a("unknown", "healthy");
    of_a("unhealthy", "recovering");
    assert_eq!(of_a("recovering", "healthy")["epoch"], back["epoch"]);

    let (mark, last) = ("endpoint=a", "endpoint back in service");
    eventually("the last line", || qcc.stderr().contains(last)).await;
    let log = qcc.stderr();
    for parts in [
        &[
            "WARN",
            "endpoint left service",
            "from=healthy",
            "to=unhealthy",
            "cause=auth",
            "method=chat",
            "epoch=",
        ][..],
        &["INFO", "recovery check", "method=chat", "reason="],
        &["INFO", "recovery check passed", "method=chat", "latency_ms="],
        &["INFO", last, "from=recovering", "to=healthy", "method=chat", "epoch="],
    ] {
        let found =
            log.lines().any(|line| line.contains(mark) && parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line of a with {parts:?} in\n{log}");
    }
    assert!(!log.contains('\x1b'), "no colours into a pipe");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_can_be_json() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy());
    let qcc = super::support::proxy::Home::new(&two(&a, &b)).start_with(&["--log-format", "json"]);
    Client::of(&qcc).ask("refused").await.expect_from("b");
    qcc.endpoint_in("a", "unhealthy").await;
    let left = super::support::eventually_some("the line", || {
        let log = qcc.stderr();
        let line = log.lines().find(|line| line.contains("endpoint left service"));
        line.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
    })
    .await;
    let text = left.to_string();
    for part in ["\"endpoint\":\"a\"", "\"cause\":\"auth\"", "\"to\":\"unhealthy\"", "WARN"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_prometheus_text() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    Client::of(&qcc).ask("counted").await.expect_from("a");
    let reply = over_socket(&qcc, "/metrics").await;
    assert_eq!(reply.status(), 200);
    assert!(
        reply.head.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        reply.head
    );
    let text = String::from_utf8(reply.body).unwrap();
    let samples: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(samples.iter().any(|line| line.starts_with("qcc_") && line.contains("endpoint=\"a\"")), "{text}");
    assert!(samples.contains(&"qcc_retries_refused_total{cluster=\"work\"} 0"), "{text}");
    for line in samples {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_address_shows_everything_and_does_nothing() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    // The port is known to be free a moment before; nobody tells which one a `:0` became.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let qcc = Qcc::start(&two(&a, &b).line(&format!("admin_listen = '{admin}'")));
    let client = Client { base: format!("http://{admin}"), ..Client::of(&qcc) };
    for path in ["/status", "/metrics", "/events", "/livez", "/readyz", "/"] {
        assert_eq!(exchange(client.get(path)).await.status, 200, "{path}");
    }
    assert_eq!(exchange(client.get("/status")).await.json()["endpoints"], qcc.status()["endpoints"]);
    let page = exchange(client.get("/")).await;
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    assert!(page.header("access-control-allow-origin").is_none());

    let before = qcc.status()["endpoints"].clone();
    for path in [
        "/",
        "/status",
        "/stop",
        "/proxy/stop",
        "/endpoint/disable/a",
        "/endpoint/a/disable",
        "/endpoints/a/disable",
        "/endpoints/disable/a",
        "/endpoint/disable?name=a",
        "/reload",
        "/v1/messages",
    ] {
        for method in [reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::DELETE] {
            let request = client
                .http
                .request(method.clone(), format!("{}{path}", client.base))
                .body("{\"name\":\"a\"}");
            let status = exchange(request).await.status;
            assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
        }
    }
    assert_eq!(qcc.status()["endpoints"], before);
    assert_eq!(a.posts().len() + b.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_address_is_for_no_page_of_another_site() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let qcc = Qcc::start(&two(&a, &b).line(&format!("admin_listen = '{admin}'")));
    let client = Client { base: format!("http://{admin}"), ..Client::of(&qcc) };
    let status_of = async |headers: &[(&str, &str)]| {
        let request = headers
            .iter()
            .fold(client.get("/status"), |request, (name, value)| request.header(*name, *value));
        exchange(request).await.status
    };
    let own = format!("http://{admin}");
    for (headers, status) in [
        (&[][..], 200),
        (&[("origin", own.as_str()), ("sec-fetch-site", "same-origin")], 200),
        (&[("sec-fetch-site", "none")], 200),
        // A link that somebody follows shows its target to nobody but them.
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "script")], 403),
        (&[("sec-fetch-site", "same-site"), ("sec-fetch-dest", "iframe")], 403),
        (&[("host", "evil.example")], 421),
    ] {
        assert_eq!(status_of(headers).await, status, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_disables_or_enables_is_an_event() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    for (enabled, to) in [("false", "disabled"), ("true", "unknown")] {
        let mut changed = two(&a, &b);
        changed.endpoints[0] = changed.endpoints[0].clone().line(&format!("enabled = {enabled}"));
        qcc.home().write_config(&changed.render());
        qcc.sighup();
        qcc.endpoint_when("a", "follows", |a| (a["admin"] == "active") == (enabled == "true")).await;
        let all = events(&over_socket(&qcc, "/events").await.json());
        let found = all.iter().filter(|event| event["endpoint"] == "a" && event["to"] == to);
        let found: Vec<&Value> = found.filter(|event| event["caused_by"] == "operator").collect();
        assert_eq!(found.len(), 1, "{to}: {all:#?}");
    }
    assert!(qcc.stderr().contains("to=disabled"));
}
