//! What a session is known by.

use std::collections::BTreeSet;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::support::{Client, Cluster, Endpoint, exchange, llm};
use super::{ask, cluster, session_at, started, upstreams};

/// Asks for each of a dozen sessions several times: each stays on one endpoint, and not all on one.
async fn assert_each_stays(what: &str, request: impl Fn(usize, usize) -> RequestBuilder) {
    let mut used = BTreeSet::new();
    for session in 0..12 {
        let mut served = BTreeSet::new();
        for turn in 0..4 {
            let reply = exchange(request(session, turn)).await;
            assert_eq!(reply.status, 200, "{what}: {reply:?}");
            served.insert(reply.endpoint().to_owned());
        }
        assert_eq!(served.len(), 1, "{what}: session {session} was at {served:?}");
        used.extend(served);
    }
    assert!(used.len() > 1, "{what}: all sessions are at {used:?}");
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn turn_text(session: usize, turn: usize) -> String {
    format!("{} turn {turn}", session * 100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claude_code_session_is_known_by_header_user_id_or_prompt() {
    let upstreams = upstreams(3);
    let (_qcc, client) = started(&cluster(&upstreams));
    let message = |session, turn| llm::message(&turn_text(session, turn));
    let post = |body: Value| client.post("/v1/messages?beta=true", &body);
    assert_each_stays("header", |session, turn| {
        post(message(session, turn)).header("x-claude-code-session-id", format!("s{session}"))
    })
    .await;
    assert_each_stays("user_id", |session, turn| {
        let user_id = json!({"device_id": "d", "session_id": format!("s{session}")}).to_string();
        post(with(message(session, turn), "metadata", json!({"user_id": user_id})))
    })
    .await;
    assert_each_stays("older user_id", |session, turn| {
        let user_id = format!("user_1_account_2_session_{session}");
        post(with(message(session, turn), "metadata", json!({"user_id": user_id})))
    })
    .await;
    assert_each_stays("system", |session, turn| {
        let billing = format!("x-anthropic-billing-header: n={turn};");
        let system =
            [billing, format!("You are number {session}.")].map(|text| json!({"type": "text", "text": text}));
        post(with(message(session, turn), "system", json!(system)))
    })
    .await;
    assert_each_stays("tools", |session, turn| {
        let tools = json!([{"name": format!("tool{session}"), "input_schema": {"type": "object"}}]);
        post(with(message(session, turn), "tools", tools))
    })
    .await;
    assert_each_stays("credential", |session, turn| {
        let body = with(message(session, turn), "system", json!("You are one of many."));
        let request = client.http.post(format!("{}/v1/messages", client.base));
        request.header("authorization", format!("Bearer client-{session}")).json(&body)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_openai_session_is_known_by_header_cache_key_or_prompt() {
    let upstreams = upstreams(3);
    let endpoints = ["a", "b", "c"].into_iter().zip(&upstreams);
    let (_qcc, client) = started(&endpoints.fold(Cluster::new("work"), |cluster, (name, upstream)| {
        cluster.endpoint(Endpoint::new(name, upstream).openai())
    }));
    let response = |session, turn| llm::response(&turn_text(session, turn));
    let post = |body: Value| client.post("/v1/responses", &body);
    for header in ["session-id", "session_id"] {
        assert_each_stays(header, |session, turn| {
            post(response(session, turn)).header(header, format!("s{session}"))
        })
        .await;
    }
    assert_each_stays("prompt_cache_key", |session, turn| {
        post(with(response(session, turn), "prompt_cache_key", json!(format!("s{session}"))))
    })
    .await;
    assert_each_stays("instructions", |session, turn| {
        post(with(response(session, turn), "instructions", json!(format!("You are number {session}."))))
    })
    .await;
    assert_each_stays("leading system turn", |session, turn| {
        let user = llm::chat(&turn_text(session, turn))["messages"][0].clone();
        let system = json!({"role": "system", "content": format!("You are number {session}.")});
        client.post("/v1/chat/completions", &json!({"model": "gpt-test-1", "messages": [system, user]}))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subagent_stays_with_its_parent() {
    let upstreams = upstreams(4);
    let (_qcc, client) = started(&cluster(&upstreams));
    for number in 0..10 {
        let session = format!("parent-{number}");
        let parent = ask(&client, &session).await;
        let mut subagent = with(llm::message("subagent"), "system", json!(format!("Subagent {number}")));
        subagent["model"] = "claude-test-small".into();
        exchange(super::of_session(&client, &session, &subagent)).await.expect_from(parent.endpoint());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_tokens_goes_with_the_session_and_moves_it_nowhere() {
    let upstreams = upstreams(3);
    let (_qcc, client) = started(&cluster(&upstreams));
    let session = session_at(&client, "a").await;
    let count = || {
        let request = client.post("/v1/messages/count_tokens", &llm::message("count"));
        exchange(request.header("x-claude-code-session-id", &session))
    };
    for _ in 0..5 {
        count().await.expect_from("a");
    }
    upstreams[0].set(llm::on_post(|request| match request.path().ends_with("/count_tokens") {
        true => llm::error(500),
        false => llm::healthy(request),
    }));
    assert_eq!(count().await.attempts(), "2");
    ask(&client, &session).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_name_is_neither_logged_nor_shown() {
    let upstreams = upstreams(2);
    let cluster = cluster(&upstreams);
    let home = super::support::proxy::Home::new(&cluster).with([("QCC_LOG".to_owned(), "trace".to_owned())]);
    let qcc = home.start();
    let client = Client::of(&qcc);
    let session = "canary-of-a-session";
    let first = super::served_by(&client, session).await;
    qcc.command("disable", &first);
    assert_ne!(super::served_by(&client, session).await, first);
    assert!(!qcc.stderr().contains(session));
    assert!(!qcc.status().to_string().contains(session));
}
