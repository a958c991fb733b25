//! No key of anybody's in anything that is written: canaries in every place a key can be, and every
//! place that text comes out searched for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::client::raw_request;
use support::llm::EVENTS_BEFORE_CONTENT;
use support::proxy::Home;
use support::{Answer, Client, Cluster, End, Endpoint, Qcc, Raw, Upstream, eventually, exchange, llm};

const KEY: &str = "sk-canary-7Qz9XcVb31/mK+pL0==";
const CLIENT_KEY: &str = "sk-client-canary-55TgBnHy88";

fn base64(bytes: &[u8], alphabet_end: &[u8; 2]) -> String {
    let mut alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    alphabet.extend_from_slice(alphabet_end);
    // Whole groups only: how a rest is padded depends on what follows it.
    let groups = bytes.chunks_exact(3).map(|group| u32::from_be_bytes([0, group[0], group[1], group[2]]));
    groups
        .flat_map(|bits| [18, 12, 6, 0].map(|shift| alphabet[(bits >> shift & 63) as usize] as char))
        .collect()
}

fn percent(text: &str) -> String {
    let escaped = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => (byte as char).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

fn bytes_list(text: &str) -> String {
    let list: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    list.join(", ")
}

/// The forms in which a secret could come out.
fn forms(secret: &str) -> Vec<String> {
    let mut forms =
        vec![secret.to_owned(), percent(secret), percent(secret).to_lowercase(), bytes_list(secret)];
    for prefix in ["", "x", "xx"] {
        let padded = format!("{prefix}{secret}");
        for alphabet_end in [b"+/", b"-_"] {
            // Without the prefix's own groups, which are no secret.
            let encoded = base64(padded.as_bytes(), alphabet_end);
            forms.push(encoded[prefix.len().div_ceil(3) * 4..].to_owned());
        }
    }
    forms
}

#[track_caller]
fn assert_clean(place: &str, text: &str) {
    for (whose, secret) in [("the endpoint's", KEY), ("the client's", CLIENT_KEY)] {
        for form in forms(secret) {
            if let Some(at) = text.find(&form) {
                let line = text[..at].lines().count();
                panic!(
                    "{whose} key is in {place}, line {line}, as {form}:\n{}",
                    text.lines().nth(line.max(1) - 1).unwrap_or("")
                );
            }
        }
    }
}

#[test]
fn the_search_finds_what_it_should() {
    assert_eq!(base64(b"Man", b"+/"), "TWFu");
    assert!(forms("sk-1/2").contains(&"sk-1%2F2".to_owned()));
    let hidden = [
        "Authorization: Basic eHNrLWNhbmFyeS03UXo5WGNWYjMxL21LK3BMMD09",
        KEY,
        &percent(KEY),
        &bytes_list(KEY),
    ];
    for text in hidden {
        assert!(std::panic::catch_unwind(|| assert_clean("a test", text)).is_err(), "{text}");
    }
    assert_clean("a test", "nothing to see");
}

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
    let qcc = Home::new(&cluster).with([("QCC_LOG".into(), "trace".into())]).start();
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
