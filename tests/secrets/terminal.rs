//! Text from upstreams and clients, on a terminal, in a log, in JSON, on the page.

use serde_json::Value;

use super::support::client::raw_request;
use super::support::proxy::Home;
use super::support::{Answer, Client, Cluster, Endpoint, Qcc, Raw, Upstream, eventually, exchange, llm};

/// What a terminal, a log, an event stream, JSON or a page could take for its own.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\r\nWARN forged line=1\n\nevent: message_stop\ndata: {}\n\n\
                       \u{85}\u{9b}31m\u{7f}\u{202e}\u{2066}\u{200b}\u{2028}\u{2029}\u{feff}\u{e0041}\
                       </td><script>alert(1)</script>\"}],\"usable\":99,\\";

fn is_obeyed(c: char) -> bool {
    let (c0, c1) = (c < ' ' && c != '\n', ('\u{7f}'..='\u{9f}').contains(&c));
    let unseen = "\u{202a}\u{202e}\u{2066}\u{2069}\u{200b}\u{2028}\u{2029}\u{feff}\u{e0041}".contains(c);
    c0 || c1 || unseen
}

#[track_caller]
fn assert_harmless(place: &str, text: &str) {
    if let Some(found) = text.chars().find(|c| is_obeyed(*c)) {
        panic!("{found:?} is in {place}:\n{text:?}");
    }
    for line in text.lines() {
        assert!(!line.starts_with("WARN forged") && !line.starts_with("event:"), "{place}:\n{text}");
    }
}

async fn over_socket(qcc: &Qcc, path: &str) -> String {
    let mut raw = Raw::connect_unix(&qcc.home().socket_path()).await;
    let reply = raw.ask(raw_request("GET", path, "localhost", &[], b"")).await;
    String::from_utf8(reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_of_an_upstream_does_nothing_anywhere() {
    for format in ["text", "json"] {
        let a = Upstream::start(|_| Answer::json(401, &llm::anthropic_error(HOSTILE, HOSTILE)));
        let cluster = Cluster::new("work").endpoint(Endpoint::new("a", &a)).line("queue_timeout = '0s'");
        let home = Home::new(&cluster).with([("QCC_LOG".into(), "trace".into())]);
        let qcc = home.start_with(&["--log-format", format]);
        let client = Client::of(&qcc);
        for path in ["/v1/messages", "/v1/chat/completions"] {
            let reply = exchange(client.post(path, &llm::streamed(llm::message("asked")))).await;
            assert!(reply.own_error().is_some(), "{reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert_harmless("our answer", &reply.text());
            assert!(reply.json()["error"]["message"].is_string());
        }
        qcc.command("recheck", "a");
        for path in ["/status", "/events", "/metrics"] {
            assert_harmless(path, &over_socket(&qcc, path).await);
        }
        let status: Value = serde_json::from_str(&over_socket(&qcc, "/status").await).unwrap();
        assert_eq!((&status["usable"], status["endpoints"].as_array().unwrap().len()), (&Value::from(0), 1));
        assert!(status["endpoints"][0]["last_error"].as_str().unwrap().contains("forged"), "{status}");
        for args in [&["status"][..], &["status", "--json"], &["check"], &["check", "--json"]] {
            let done = qcc.run(args);
            assert_harmless(&format!("qcc {args:?}"), &format!("{}{}", done.stdout, done.stderr));
            if args.contains(&"--json") {
                assert!(done.json()["endpoints"].is_array());
            }
        }
        eventually("the refusal is logged", || qcc.stderr().contains("forged")).await;
        let log = qcc.stderr();
        assert_harmless("the log", &log);
        if format == "json" {
            for line in log.lines().filter(|line| line.starts_with('{')) {
                assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
            }
            assert!(log.lines().any(|line| line.starts_with('{') && line.contains("forged")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_model_forges_no_line_either() {
    let a = Upstream::start(llm::on_post(|_| {
        Answer::json(404, &llm::anthropic_error("not_found_error", "model: that-one"))
    }));
    let cluster = Cluster::new("work").endpoint(Endpoint::new("a", &a));
    let qcc = Home::new(&cluster).with([("QCC_LOG".into(), "trace".into())]).start();
    let mut body = llm::message("asked");
    body["model"] = HOSTILE.into();
    let client = Client::of(&qcc);
    exchange(client.post("/v1/messages", &body)).await;
    let own = exchange(client.post("/v1/messages", &body)).await;
    if own.own_error().is_some() {
        assert_harmless("our answer", &own.text());
    }
    eventually("the model is told", || qcc.stderr().contains("does not have the model")).await;
    assert_harmless("the log", &qcc.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_runs_nothing_but_its_own_file_and_answers_loopback_names_only() {
    let a = Upstream::start(|_| Answer::json(401, &llm::anthropic_error("x", HOSTILE)));
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cluster =
        Cluster::new("work").endpoint(Endpoint::new("a", &a)).line(&format!("admin_listen = '{admin}'"));
    let qcc = Qcc::start(&cluster);
    let client = Client { base: format!("http://{admin}"), ..Client::of(&qcc) };
    for path in ["/", "/page.js", "/page.css", "/status", "/metrics", "/events", "/nosuch"] {
        let reply = exchange(client.get(path)).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert!(reply.header("access-control-allow-origin").is_none(), "{path}");
        let is_markup = reply.header("content-type").unwrap().starts_with("text/html");
        assert_eq!(is_markup, path == "/", "text of others is never markup: {path}");
    }
    let page = exchange(client.get("/")).await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let script = exchange(client.get("/page.js")).await.text();
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
        assert!(!script.contains(sink) && !page.text().contains(sink), "{sink}");
    }
    assert!(!page.text().contains("style=") && !page.text().contains(" onload="));
    for host in
        ["evil.example", "evil.example:80", "127.0.0.1.nip.io", "localhost.evil.example", "0x7f.1", ""]
    {
        for path in ["/", "/status", "/livez"] {
            let mut raw = Raw::connect(&admin.to_string()).await;
            let reply = raw.ask(raw_request("GET", path, host, &[], b"")).await;
            assert_eq!(reply.status(), 421, "{host:?} {path}");
        }
    }
}
