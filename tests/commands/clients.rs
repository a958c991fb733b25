//! Clients with tokens: who is let in, under which name, and what is shown of it.

use serde_json::Value;

use super::one;
use super::support::client::raw_request;
use super::support::proxy::Home;
use super::support::{Client, Cluster, Endpoint, Qcc, Raw, Reply, Upstream, eventually, exchange, llm};

const CI: &str = "token-canary-of-ci-4711";
const ADA: &str = "token-canary-of-ada-0815";
const LIST: &str = "client_tokens = [{ name = 'ci', env = 'CI_TOKEN' }, { env = 'ADA_TOKEN' }]";

fn with_tokens(cluster: &Cluster) -> Home {
    Home::new(cluster).with([("CI_TOKEN".into(), CI.into()), ("ADA_TOKEN".into(), ADA.into())])
}

/// `POST /v1/messages` with these headers alone.
async fn ask(qcc: &Qcc, headers: &[(&str, &str)]) -> Reply {
    let client = Client::of(qcc);
    let request = client.http.post(format!("{}/v1/messages", qcc.url())).json(&llm::message("mine"));
    exchange(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

fn client_named(status: &Value, name: &str) -> Value {
    let clients = status["clients"].as_array().expect("a list of clients");
    clients.iter().find(|client| client["name"] == name).cloned().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_asks_for_a_token_but_those_that_are_open() {
    let a = Upstream::healthy();
    let qcc = with_tokens(&one(&a).line(LIST)).start();
    let before = a.requests().len();
    let bearer = format!("authorization: Bearer {CI}");
    let (right, almost) = (format!("x-api-key: {CI}"), format!("x-api-key: {}", &CI[..CI.len() - 1]));
    let longer = format!("x-api-key: {CI}1");
    for (method, path, protocol) in [
        ("POST", "/v1/messages", "anthropic"),
        ("POST", "/v1/messages?beta=true", "anthropic"),
        ("POST", "/v1/messages/count_tokens", "anthropic"),
        ("POST", "/v1/chat/completions", "openai"),
        ("POST", "/v1/responses", "openai"),
        ("POST", "/v1/embeddings", "openai"),
        ("GET", "/v1/models", "openai"),
        ("GET", "/v1/files/x", "openai"),
        ("DELETE", "/v1/responses/x", "openai"),
        ("GET", "/status", "openai"),
        ("GET", "/metrics", "openai"),
        ("POST", "/endpoints/a/disable", "openai"),
        ("GET", "/", "openai"),
        ("POST", "/livez", "openai"),
        ("OPTIONS", "/v1/messages", "anthropic"),
    ] {
        for wrong in [
            &[][..],
            &["x-api-key: "],
            &[&almost],
            &[&longer],
            &["authorization: Bearer"],
            &["authorization: Basic dG9rZW4="],
        ] {
            let mut raw = Raw::connect(qcc.address()).await;
            let reply = raw.ask(raw_request(method, path, qcc.address(), wrong, b"")).await;
            assert_eq!(reply.status(), 401, "{method} {path} with {wrong:?}");
            assert_eq!(reply.head.header("www-authenticate"), Some("Bearer realm=\"qcc\""), "{path}");
            assert_eq!(reply.head.header("x-should-retry"), Some("false"), "{path}");
            let body = reply.json();
            assert_eq!(body["error"]["type"], "authentication_error", "{path}: {body}");
            assert_eq!(body["type"] == "error", protocol == "anthropic", "{path}: {body}");
        }
    }
    assert_eq!(a.requests().len(), before, "nothing went up");
    for right in [&right, &bearer] {
        let mut raw = Raw::connect(qcc.address()).await;
        let body = llm::message("let in").to_string();
        let reply =
            raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[right], body.as_bytes())).await;
        assert_eq!(reply.status(), 200);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(exchange(Client::of(&qcc).get(path)).await.status, 200, "{path}");
    }
    assert!(a.posts().iter().all(|seen| !String::from_utf8_lossy(&seen.head).contains("canary")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_credentials_one_right_one_is_enough_and_the_first_one_counts() {
    let a = Upstream::healthy();
    let qcc = with_tokens(&one(&a).line(LIST)).start();
    let bearer = |token: &str| format!("Bearer {token}");
    for (headers, counted) in [
        (vec![("x-api-key", "sk-ant-of-the-user".to_owned()), ("authorization", bearer(CI))], Some("ci")),
        (vec![("x-api-key", ADA.to_owned()), ("authorization", "Bearer wrong".to_owned())], Some("token-2")),
        (vec![("x-api-key", ADA.to_owned()), ("authorization", bearer(CI))], Some("token-2")),
        (vec![("x-api-key", "wrong".to_owned()), ("x-api-key", CI.to_owned())], Some("ci")),
        (vec![("authorization", bearer("wrong")), ("authorization", bearer(CI))], Some("ci")),
        (vec![("authorization", format!("bEARER   {CI}"))], Some("ci")),
        (vec![("x-api-key", bearer(CI))], None),
        (vec![("authorization", CI.to_owned())], None),
        (vec![("authorization", format!("Bearer {CI}, {ADA}"))], None),
        (vec![("x-api-key", format!("{CI},{ADA}"))], None),
    ] {
        let before = qcc.status();
        let borrowed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let reply = ask(&qcc, &borrowed).await;
        assert_eq!(reply.status, if counted.is_some() { 200 } else { 401 }, "{headers:?}");
        let after = qcc.status();
        for name in ["ci", "token-2"] {
            let requests = |status: &Value| client_named(status, name)["requests"].as_u64().unwrap();
            let more = u64::from(counted == Some(name));
            assert_eq!(requests(&after) - requests(&before), more, "{name} {headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_named_wherever_its_requests_show_and_its_token_nowhere() {
    let a = Upstream::healthy();
    let cluster = one(&a).line(LIST);
    let qcc = with_tokens(&cluster).with([("QCC_LOG".into(), "debug".into())]).start();
    assert_eq!(
        client_named(&qcc.status(), "ci"),
        serde_json::json!({"name": "ci", "requests": 0, "last_seen": null})
    );
    for _ in 0..3 {
        ask(&qcc, &[("x-api-key", CI)]).await.expect_from("a");
    }
    let counted = client_named(&qcc.status(), "ci");
    assert_eq!(counted["requests"], 3);
    assert!(counted["last_seen"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{counted}");
    let table = qcc.run(&["status"]).stdout;
    let line = table.lines().find(|line| line.starts_with("ci ")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains(" 3 ") && table.contains("token-2"), "{table}");
    let mut raw = Raw::connect_unix(&qcc.home().socket_path()).await;
    let metrics = raw.ask(raw_request("GET", "/metrics", "localhost", &[], b"")).await.body;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("qcc_client_requests_total{cluster=\"work\",client=\"ci\"} 3\n"), "{metrics}");
    eventually("the requests' lines", || {
        qcc.stderr().lines().filter(|line| line.contains("request answered client=ci ")).count() == 3
    })
    .await;

    // A token that is renewed under its name goes on being counted; one that is gone is gone.
    let renewed = "client_tokens = [{ name = 'ci', env = 'ADA_TOKEN' }]";
    qcc.home().write_config(&one(&a).line(renewed).render());
    qcc.sighup();
    eventually("the reload", || client_named(&qcc.status(), "token-2").is_null()).await;
    assert_eq!(ask(&qcc, &[("x-api-key", CI)]).await.status, 401);
    ask(&qcc, &[("x-api-key", ADA)]).await.expect_from("a");
    assert_eq!(client_named(&qcc.status(), "ci")["requests"], 4);

    let shown = format!("{}{}{}{}", qcc.status(), qcc.run(&["status"]).stdout, metrics, qcc.stderr());
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_do_not_fill_the_log() {
    let a = Upstream::healthy();
    let qcc = with_tokens(&one(&a).line(LIST)).start();
    let line = "requests without a right client token were refused";
    let started = std::time::Instant::now();
    for number in 0..500 {
        let mut raw = Raw::connect(qcc.address()).await;
        let guess = format!("x-api-key: guess-{number}");
        let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[&guess], b"{}")).await;
        assert_eq!(reply.status(), 401);
    }
    let seconds = started.elapsed().as_secs() as usize;
    eventually("a line", || qcc.stderr().contains(line)).await;
    let lines = qcc.stderr().matches(line).count();
    assert!(lines <= seconds + 2, "{lines} lines in {seconds} s");
    assert!(!qcc.stderr().contains("guess-"), "what was presented is not repeated");
    assert_eq!(qcc.status()["clients"][0]["requests"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_others_reach_never_loses_its_tokens() {
    let a = Upstream::healthy();
    let guarded = |listen: &str| one(&a).line(&format!("listen = '{listen}'")).line(LIST);
    let home = with_tokens(&guarded("0.0.0.0:0"));
    let qcc = home.start();
    let reach = format!("http://{}", qcc.address().replace("0.0.0.0", "127.0.0.1"));
    let open = Client::at(&reach);
    assert_eq!(exchange(open.post("/v1/messages", &llm::message("stranger"))).await.status, 401);
    // The second one looks harmless by itself: the file's address is loopback, and the proxy's is not.
    for (number, listen) in ["0.0.0.0:0", "127.0.0.1:0"].into_iter().enumerate() {
        qcc.home().write_config(&one(&a).line(&format!("listen = '{listen}'")).render());
        qcc.sighup();
        eventually("the log says why", || qcc.stderr().matches("is not loopback").count() == number + 1)
            .await;
        assert_eq!(exchange(open.post("/v1/messages", &llm::message("stranger"))).await.status, 401);
    }
    assert_eq!(a.posts().len(), 0);
    exchange(open.http.post(format!("{reach}/v1/messages")).bearer_auth(CI).json(&llm::message("known")))
        .await
        .expect_from("a");
}

#[test]
fn a_start_without_tokens_on_an_address_that_others_reach_is_refused() {
    let cluster = Cluster::tiers([Endpoint::at("a", "http://127.0.0.1:9")]);
    for listen in ["0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0", "[::ffff:0.0.0.0]:0"] {
        let by_flag = Home::new(&cluster).run(&["proxy", "start", "--listen", listen]).expect_code(2);
        let by_file = Home::new(&cluster.clone().line(&format!("listen = '{listen}'")));
        let by_file = by_file.run(&["proxy", "start"]).expect_code(2);
        for done in [by_flag, by_file] {
            assert!(done.stderr.contains("client_tokens") && done.stdout.is_empty(), "{listen}: {done:?}");
        }
    }
}
