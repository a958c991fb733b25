//! The places that text comes out of, each searched after everything has happened.

use super::canary::{CLIENT_KEY, KEY, assert_clean};
use super::support::client::raw_request;
use super::support::llm::EVENTS_BEFORE_CONTENT;
use super::support::proxy::Home;
use super::support::{Answer, Client, Cluster, End, Endpoint, Qcc, Raw, Upstream, eventually, exchange, llm};

/// What libraries log of what they read and write, too.
pub const EVERYTHING: &str =
    "trace,hyper=trace,hyper_util=trace,h2=info,rustls=trace,tokio_rustls=trace,want=trace";

/// Answers with the key it was given, in its body, a header and its status text's place.
fn echo(status: u16) -> Answer {
    let body = llm::anthropic_error("authentication_error", &format!("invalid x-api-key: {KEY}"));
    Answer::json(status, &body).header("x-echo", KEY).header("request-id", &format!("req-{KEY}"))
}

/// Every way a request can go, so that every line that can be logged is.
async fn everything_happens(qcc: &Qcc, refusing: &Upstream) {
    let client = Client::of(qcc);
    let ask = |body: &serde_json::Value| {
        client
            .http
            .post(format!("{}/v1/messages", qcc.url()))
            .header("x-api-key", CLIENT_KEY)
            .bearer_auth(CLIENT_KEY)
            .json(body)
    };
    for number in 0..4 {
        exchange(ask(&llm::message(&format!("served in the end {number}")))).await;
    }
    exchange(ask(&llm::streamed(llm::message("cut")))).await;
    let too_large = exchange(ask(&llm::message(&"x".repeat(80_000)))).await;
    assert_eq!(too_large.status, 413);
    assert_clean("an answer of the proxy's own", &format!("{too_large:?} {}", too_large.text()));
    exchange(client.get("/nosuch").bearer_auth(CLIENT_KEY)).await;
    let mut raw = Raw::connect(qcc.address()).await;
    let authorization = format!("authorization: Bearer {CLIENT_KEY}");
    let mut broken =
        raw_request("POST", "/v1/messages", qcc.address(), &[&authorization, "transfer-encoding: x"], b"{}");
    broken.extend_from_slice(KEY.as_bytes());
    raw.send(broken).await;
    let _ = raw.read_reply().await;
    let before = refusing.requests().len();
    for name in ["refusing", "closed"] {
        qcc.command("recheck", name);
    }
    eventually("a check that is refused", || refusing.requests().len() > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_comes_out_anywhere_even_at_trace() {
    let refusing = Upstream::start(llm::on_post(|_| echo(401)));
    let failing = Upstream::start(llm::on_post(|_| echo(500)));
    let closed = Upstream::stopped(llm::healthy);
    let cutting = Upstream::start(llm::on_post(|request| match request.says("cut") {
        true => Answer::events(&llm::message_events(&["one"])[..=EVENTS_BEFORE_CONTENT]).ending(End::Fin),
        false => llm::healthy(request),
    }));
    let named = [("refusing", &refusing), ("failing", &failing), ("closed", &closed), ("cutting", &cutting)];
    // One key at four addresses: four endpoints.
    let endpoints = named.iter().map(|(name, upstream)| Endpoint::new(name, upstream).key(KEY));
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cluster = Cluster::tiers(endpoints)
        .line("max_body = '64 KiB'")
        .line("queue_timeout = '300ms'")
        .line(&format!("admin_listen = '{admin}'"));
    let qcc = Home::new(&cluster).with([("QCC_LOG".into(), EVERYTHING.into())]).start();
    everything_happens(&qcc, &refusing).await;

    for args in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["check", "--json"],
        &["config", "check"],
        &["config", "path"],
        &["endpoint", "drain", "nosuch"],
    ] {
        let done = qcc.run(args);
        assert_clean(&format!("qcc {args:?}"), &format!("{}{}", done.stdout, done.stderr));
    }
    let client = Client { base: format!("http://{admin}"), ..Client::of(&qcc) };
    for path in ["/status", "/metrics", "/events", "/", "/nosuch"] {
        let reply = exchange(client.get(path)).await;
        assert_clean(path, &format!("{:?}{}", reply.headers, reply.text()));
    }
    for (name, _) in named {
        qcc.command("disable", name);
    }
    let own = exchange(Client::of(&qcc).post("/v1/messages", &llm::message("nobody is left"))).await;
    assert!(own.own_error().is_some(), "{own:?}");
    assert_clean("the answer when nobody is left", &format!("{:?}{}", own.headers, own.text()));

    qcc.home().write_config(&format!("{}\nbroken = '{KEY}", cluster.render()));
    qcc.sighup();
    eventually("the reload's refusal is logged", || qcc.stderr().contains("qcc.toml")).await;
    let log = qcc.stderr();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is as chatty as it gets:\n{log}");
    assert_clean("the log", &log);
}

#[test]
fn a_configuration_error_shows_the_line_and_no_key() {
    let with = |line: &str| {
        format!(
            "[clusters.work]\n\n[[clusters.work.endpoints]]\nname = 'a'\nbase_url = 'http://127.0.0.1:9'\n{line}\n"
        )
    };
    for line in [
        format!("api_key = \"{KEY}"),
        format!("api_key = '{KEY}' trailing"),
        format!("apikey = '{KEY}'"),
        format!("api_key = {{ value = '{KEY}' }}"),
        format!("api_key = ['{KEY}']"),
        format!("api_key = {{ env = '{KEY}', file = 'x' }}"),
        format!("api_key = '{KEY}'\nweigth = 7"),
        format!("api_key = '{KEY}'\napi_key = '{KEY}'"),
    ] {
        let home = Home::empty("work");
        home.write_config(&with(&line));
        let done = home.run(&["config", "check"]).expect_code(2);
        assert_clean(&format!("the refusal of {line:?}"), &format!("{}{}", done.stdout, done.stderr));
        assert!(
            ["6", "7"].iter().any(|line| done.stderr.contains(&format!(":{line}"))
                || done.stderr.contains(&format!("line {line}"))),
            "{line:?}: {}",
            done.stderr
        );
    }
}

#[test]
fn a_key_is_not_on_any_command_line() {
    // The help of each command offers no option that takes one.
    let home = Home::empty("work");
    for args in [&["proxy", "start", "--help"][..], &["check", "--help"], &["config", "init", "--help"]] {
        let help = home.run(args).expect_code(0).stdout;
        assert!(!help.contains("--api-key") && !help.contains("--token"), "{help}");
    }
}
