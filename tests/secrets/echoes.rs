//! Upstreams and proxies that repeat the key they were given, wherever an answer has room for text. What an
//! upstream sends its client is the client's; what is shown of it here is clean.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::canary::{CLIENT_KEY, KEY, assert_clean, base64, bytes_list, percent};
use super::sinks::EVERYTHING;
use super::support::client::raw_request;
use super::support::http::chunk;
use super::support::llm::EVENTS_BEFORE_CONTENT;
use super::support::proxy::Home;
use super::support::tls::TlsServer;
use super::support::{Answer, Client, Cluster, End, Endpoint, Qcc, Raw, Step, Upstream, exchange, llm, tls};

type Echo = Box<dyn Fn() -> Answer + Send + Sync>;

fn message_says(status: u16, text: String) -> Echo {
    Box::new(move || Answer::json(status, &llm::anthropic_error("api_error", &text)))
}

/// A body that serde has no part in.
fn raw_body(text: String) -> Echo {
    Box::new(move || Answer::new(500).header("content-type", "application/json").body(text.clone()))
}

fn wire(head: String, body: Vec<u8>) -> Echo {
    Box::new(move || {
        let bytes = [head.as_bytes(), &body].concat();
        Answer::wire([Step::Bytes(bytes), Step::End(End::Fin)])
    })
}

/// Each form in which a key could stand in an error's message.
fn in_messages() -> Vec<(&'static str, Echo)> {
    let half = KEY.len() / 2;
    let broken_by = |gap: &str| [&KEY[..half], &KEY[half..]].join(gap);
    let alternating: String =
        KEY.chars().enumerate().map(|(n, c)| if n % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    let hex =
        |separator: &str| KEY.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator);
    let json_escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let twice_escaped = json_escaped.replace('\\', "\\\\");
    // Around the 200 characters that are shown, and around the 8 KiB that are read.
    let mut all: Vec<(&'static str, Echo)> = Vec::new();
    for padding in (150..205).step_by(3).chain([990, 1_020]) {
        all.push(("where the text is cut", message_says(500, format!("{}{KEY}", "x".repeat(padding)))));
    }
    for padding in (8_100..8_192).step_by(10) {
        let body = format!(
            r#"{{"pad":"{}","error":{{"type":"api_error","message":"{KEY}"}}}}"#,
            "x".repeat(padding - 60)
        );
        all.push(("where the body is cut", raw_body(body)));
    }
    all.extend([
        ("raw", message_says(401, format!("invalid x-api-key: {KEY}"))),
        ("raw, as money", message_says(402, format!("no credit for {KEY}"))),
        ("raw, neutral", message_says(429, format!("slow down, {KEY}"))),
        ("broken over lines", message_says(500, broken_by("\r\n"))),
        ("broken by what is not seen", message_says(500, broken_by("\u{200b}\u{1b}[0m"))),
        ("in other case", message_says(500, KEY.to_uppercase())),
        ("in mixed case", message_says(500, alternating)),
        ("for a URL", message_says(500, percent(KEY))),
        ("for a URL, twice", message_says(500, percent(KEY).to_lowercase())),
        ("base64", message_says(500, base64(KEY.as_bytes(), b"+/"))),
        ("base64 of a pair", message_says(500, base64(format!("x:{KEY}").as_bytes(), b"-_"))),
        ("base64 of a header", message_says(500, base64(format!("Bearer {KEY}").as_bytes(), b"+/"))),
        ("hex", message_says(500, hex(""))),
        ("hex with spaces", message_says(500, hex(" "))),
        ("bytes", message_says(500, bytes_list(KEY))),
        ("escaped for JSON", raw_body(format!(r#"{{"error":{{"message":"{json_escaped}"}}}}"#))),
        ("escaped for JSON, twice", raw_body(format!(r#"{{"error":{{"message":"{twice_escaped}"}}}}"#))),
        ("slashes escaped", raw_body(format!(r#"{{"error":{{"message":"{}"}}}}"#, KEY.replace('/', "\\/")))),
        ("as the type", raw_body(format!(r#"{{"error":{{"type":"{KEY}","message":"m"}}}}"#))),
        ("as the code", raw_body(format!(r#"{{"error":{{"code":"{KEY}"}}}}"#))),
        ("as the error", raw_body(format!(r#"{{"error":"{KEY}"}}"#))),
        ("the end of it only", message_says(500, format!("…{}", &KEY[10..]))),
        ("as what it lacks", message_says(404, format!("model: {KEY}"))),
    ]);
    all
}

/// Everything else in an answer.
fn elsewhere() -> Vec<(&'static str, Echo)> {
    let error = llm::anthropic_error("api_error", "m").to_string();
    let with_reason = format!("HTTP/1.1 500 {KEY}\r\ncontent-length: {}\r\n\r\n", error.len());
    let with_trailer = b"0\r\nx-echo: KEY\r\n\r\n".to_vec();
    let trailer = String::from_utf8(with_trailer).unwrap().replace("KEY", KEY);
    let chunked = [chunk(error.as_bytes()), trailer.into_bytes()].concat();
    let event =
        |kind: &str| format!("event: error\ndata: {}\n\n", llm::anthropic_error(kind, &format!("no {KEY}")));
    let (overloaded, failed) = (event("overloaded_error"), event("api_error"));
    let after_content = failed.clone();
    vec![
        ("a header", Box::new(|| llm::error(500).header("x-echo", KEY).header("request-id", KEY))),
        ("the reason phrase", wire(with_reason, error.clone().into_bytes())),
        (
            "a redirect",
            Box::new(|| Answer::new(302).header("location", &format!("http://127.0.0.1:9/{KEY}"))),
        ),
        (
            "trailers",
            wire("HTTP/1.1 500 No\r\ntrailer: x-echo\r\ntransfer-encoding: chunked\r\n\r\n".into(), chunked),
        ),
        ("an event before content", Box::new(move || Answer::events([&failed]))),
        ("an overload before content", Box::new(move || Answer::events([&overloaded]))),
        (
            "an event after content",
            Box::new(move || {
                let mut events = llm::message_events(&["one"])[..=EVENTS_BEFORE_CONTENT].to_vec();
                events.push(after_content.clone());
                Answer::events(events)
            }),
        ),
        ("no answer at all", wire(format!("{KEY}\r\n\r\n"), Vec::new())),
        ("a malformed head", wire(format!("HTTP/1.1 200 OK\r\n{KEY}: \0\r\nx y: {KEY}\r\n\r\n"), Vec::new())),
        (
            "a length that is none",
            wire(format!("HTTP/1.1 200 OK\r\ncontent-length: {KEY}\r\n\r\n"), Vec::new()),
        ),
        ("a type", Box::new(|| Answer::new(200).header("content-type", KEY).body(KEY))),
        ("a success that is none", Box::new(|| Answer::json(200, &json!({"error": {"message": KEY}})))),
        (
            "a cut body",
            Box::new(|| Answer::json(500, &json!({"error": {"message": KEY}})).cut_at(40, End::Reset)),
        ),
        (
            "rate limits",
            Box::new(|| {
                llm::error(429).header("retry-after", KEY).header("anthropic-ratelimit-requests-reset", KEY)
            }),
        ),
        ("a keep-alive", Box::new(|| llm::error(500).header("keep-alive", &format!("timeout={KEY}")))),
    ]
}

/// What this program shows, all of it, after an exchange.
async fn assert_all_clean(what: &str, qcc: &Qcc) {
    for path in ["/status", "/events", "/metrics"] {
        let mut raw = Raw::connect_unix(&qcc.home().socket_path()).await;
        let reply = raw.ask(raw_request("GET", path, "localhost", &[], b"")).await;
        assert_clean(&format!("{path} after {what}"), &String::from_utf8_lossy(&reply.body));
    }
}

async fn asked(qcc: &Qcc, what: &str) {
    let client = Client::of(qcc);
    for stream in [false, true] {
        let mut body = llm::message(what);
        body["stream"] = stream.into();
        let request = client.http.post(format!("{}/v1/messages", qcc.url()));
        let reply = exchange(request.bearer_auth(CLIENT_KEY).json(&body)).await;
        if reply.own_error().is_some() {
            assert_clean(
                &format!("our answer after {what}"),
                &format!("{:?}{}", reply.headers, reply.text()),
            );
        }
        for (name, value) in &reply.headers {
            if name.as_str().starts_with("x-qcc") || name == "location" {
                assert_clean(&format!("{name} after {what}"), &format!("{value:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_an_upstream_repeats_is_shown_nowhere() {
    for format in ["text", "json"] {
        let upstream = Upstream::healthy();
        let cluster = Cluster::new("work")
            .endpoint(Endpoint::new("a", &upstream).key(KEY))
            .line("queue_timeout = '0s'");
        let home = Home::new(&cluster).with([("QCC_LOG".into(), EVERYTHING.into())]);
        let qcc = home.start_with(&["--log-format", format]);
        let echoes = in_messages().into_iter().chain(elsewhere());
        for (number, (what, echo)) in echoes.enumerate() {
            let echo = Arc::new(echo);
            let in_log = qcc.stderr().len();
            upstream.set(move |_| echo());
            qcc.command("reset", "a");
            asked(&qcc, what).await;
            // Nobody is left now, or as good as: our own answer tells why.
            asked(&qcc, what).await;
            qcc.command("recheck", "a");
            assert_all_clean(what, &qcc).await;
            assert_clean(&format!("the log after {what}"), &qcc.stderr()[in_log..]);
            // Commands are processes, so only now and then.
            if number % 8 == 0 {
                for args in [
                    &["status"][..],
                    &["status", "--json"],
                    &["check"],
                    &["check", "--json", "--method", "chat"],
                ] {
                    let done = qcc.run(args);
                    assert_clean(
                        &format!("qcc {args:?} after {what}"),
                        &format!("{}{}", done.stdout, done.stderr),
                    );
                }
            }
        }
        assert!(qcc.stderr().len() > 10_000, "the log is as chatty as it gets");
        assert_clean("the log", &qcc.stderr());
    }
}

/// HTTP/2 by hand: settings, then a GOAWAY whose debug data (RFC 9113 §6.8) repeats the key.
fn goodbye_with_the_key() -> TlsServer {
    TlsServer::start(&["h2"], |mut stream, _| async move {
        let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        let length = u8::try_from(KEY.len() + 8).unwrap();
        frames.extend([0, 0, length, 7, 0, 0, 0, 0, 0]);
        frames.extend([0, 0, 0, 0, 0, 0, 0, 11]);
        frames.extend_from_slice(KEY.as_bytes());
        let mut head = [0; 512];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(&frames).await;
        let _ = stream.flush().await;
        while stream.read(&mut head).await.is_ok_and(|length| length > 0) {}
    })
}

/// Takes a connection, reads what comes, and answers with the key where TLS or a proxy's answer is due.
async fn speaking(answer: String) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 2048];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_back_below_http_is_shown_nowhere() {
    let goodbye = goodbye_with_the_key();
    let no_tls = speaking(format!("HTTP/1.1 400 {KEY}\r\n\r\n{KEY}")).await;
    let password = base64(format!("user:{KEY}").as_bytes(), b"+/");
    let refusing = speaking(format!(
        "HTTP/1.1 407 {KEY}\r\nproxy-authenticate: Basic realm=\"{password}\"\r\n\r\n{KEY}"
    ))
    .await;
    let babbling = speaking(KEY.to_owned()).await;
    let through = |proxy: std::net::SocketAddr| format!("proxy = 'http://user:{}@{proxy}'", percent(KEY));
    let clusters = [
        ("GOAWAY", goodbye.url(), None),
        ("no TLS", format!("https://{no_tls}"), None),
        ("a proxy's 407", "https://llm.example".to_owned(), Some(through(refusing))),
        ("a proxy that babbles", "https://llm.example".to_owned(), Some(through(babbling))),
        ("a proxy that answers itself", "http://llm.example:80".to_owned(), Some(through(refusing))),
    ];
    for (what, base_url, proxy) in clusters {
        let mut cluster = Cluster::new("work")
            .endpoint(Endpoint::at("a", &base_url).key(KEY))
            .line("ca_file = 'ca.pem'")
            .line("queue_timeout = '0s'");
        if let Some(proxy) = proxy {
            cluster = cluster.line(&proxy);
        }
        let home = Home::new(&cluster).with([("QCC_LOG".into(), EVERYTHING.into())]);
        home.write_private("ca.pem", tls::authority_pem());
        let qcc = home.start();
        for _ in 0..2 {
            asked(&qcc, what).await;
            qcc.command("recheck", "a");
        }
        assert_all_clean(what, &qcc).await;
        let done = qcc.run(&["check"]);
        assert_clean(&format!("qcc check with {what}"), &format!("{}{}", done.stdout, done.stderr));
        let last_error = qcc.endpoint("a")["last_error"].clone();
        assert!(last_error.is_string(), "{what} was met: {last_error}");
        assert_clean(&format!("the log after {what}"), &qcc.stderr());
    }
}
