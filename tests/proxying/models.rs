//! An endpoint that has no such model is not asked for it again for a while; others are.

use serde_json::{Value, json};

use super::support::{
    Answer, Client, Cluster, Endpoint, Qcc, Recorded, Reply, Upstream, eventually, exchange, llm,
};
use super::{started, two};

const UNKNOWN: &str = "claude-unknown-1";

fn request(model: &str) -> Value {
    let mut request = llm::message("asked");
    request["model"] = model.into();
    request
}

async fn ask(client: &Client, model: &str) -> Reply {
    exchange(client.post("/v1/messages", &request(model))).await
}

/// As Anthropic says it.
fn not_found(model: &str) -> Value {
    llm::anthropic_error("not_found_error", &format!("model: {model}"))
}

/// Serves every model but one.
fn without(status: u16, error: Value) -> impl Fn(&Recorded) -> Answer {
    llm::on_post(move |request| match request.json()["model"] == UNKNOWN {
        true => Answer::json(status, &error),
        false => llm::healthy(request),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_an_endpoint_lacks_is_asked_of_others_at_once() {
    let by_code =
        json!({"error": {"message": "no channel", "type": "new_api_error", "code": "model_not_found"}});
    let sentence = "The model `claude-unknown-1` does not exist or you do not have access to it.";
    for (status, error) in [
        (404, not_found(UNKNOWN)),
        (404, json!({"error": {"message": sentence, "type": "invalid_request_error"}})),
        (404, by_code.clone()),
        (400, by_code.clone()),
        (403, by_code.clone()),
        (503, by_code.clone()),
        (200, by_code.clone()),
    ] {
        let (a, b) = (Upstream::start(without(status, error.clone())), Upstream::healthy());
        let (qcc, client) = started(two(&a, &b));
        let before = qcc.endpoint("a");
        assert_eq!(ask(&client, UNKNOWN).await.expect_from("b").attempts(), "2", "{status} {error}");
        assert_eq!(ask(&client, UNKNOWN).await.expect_from("b").attempts(), "1", "{status} {error}");
        ask(&client, "claude-known-1").await.expect_from("a");
        let after = qcc.endpoint_when("a", "has passed", |a| a["requests"]["passed"] == 1).await;
        assert_eq!(after["requests"]["neutral"], 1);
        for field in ["state", "failures", "epoch", "level", "usable", "cooldown_until"] {
            assert_eq!(after[field], before[field], "{status} {error} {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_endpoint_has_the_model_the_client_gets_what_the_last_one_said() {
    let (a, b) =
        (Upstream::start(without(404, not_found("of-a"))), Upstream::start(without(404, not_found("of-b"))));
    let (_qcc, client) = started(two(&a, &b));
    for round in 1..=3 {
        let reply = ask(&client, UNKNOWN).await;
        assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (404, "b", "2"), "{round}");
        assert_eq!(reply.text(), not_found("of-b").to_string());
        assert_eq!((a.posts().len(), b.posts().len()), (round, round), "all are asked again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_endpoint_is_asked_every_time() {
    let a = Upstream::start(without(404, not_found(UNKNOWN)));
    let (_qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    for round in 1..=2 {
        let reply = ask(&client, UNKNOWN).await;
        assert_eq!((reply.status, reply.text()), (404, not_found(UNKNOWN).to_string()));
        assert_eq!(a.posts().len(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_404_that_is_not_about_a_model_is_the_requests_fault() {
    let (a, b) = (
        Upstream::start(without(404, llm::anthropic_error("not_found_error", "no such container"))),
        Upstream::healthy(),
    );
    let (_qcc, client) = started(two(&a, &b));
    for _ in 0..2 {
        let reply = ask(&client, UNKNOWN).await;
        assert_eq!((reply.status, reply.endpoint()), (404, "a"));
    }
    assert_eq!(b.posts().len(), 0);
}

/// `a` has said that it lacks the model.
async fn with_one_skipped() -> (Upstream, Upstream, Qcc, Client, Cluster) {
    let (a, b) = (Upstream::start(without(404, not_found(UNKNOWN))), Upstream::healthy());
    let cluster = two(&a, &b).line("queue_timeout = '300ms'");
    let (qcc, client) = started(cluster.clone());
    ask(&client, UNKNOWN).await.expect_from("b");
    a.set(llm::healthy);
    (a, b, qcc, client, cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_it_and_a_reset_forgets_it() {
    let (_a, _b, qcc, client, cluster) = with_one_skipped().await;
    qcc.home().write_config(&cluster.line("max_attempts = 3").render());
    qcc.sighup();
    eventually("the reload is logged", || qcc.stderr().contains("was reloaded")).await;
    ask(&client, UNKNOWN).await.expect_from("b");
    qcc.command("reset", "a");
    ask(&client, UNKNOWN).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_gets_another_name_by_a_reload_is_asked_for_anew() {
    let (a, b, qcc, client, cluster) = with_one_skipped().await;
    let mapped = Endpoint::new("a", &a).line("model_map = { 'claude-unknown-*' = 'relay/known' }");
    let renamed = Cluster::tiers([mapped, Endpoint::new("b", &b)]);
    assert_ne!(renamed.render(), cluster.render());
    qcc.home().write_config(&renamed.render());
    qcc.sighup();
    eventually("the reload is logged", || qcc.stderr().contains("was reloaded")).await;
    ask(&client, UNKNOWN).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_the_model_is_named_where_nobody_serves() {
    let (_a, b, qcc, client, _) = with_one_skipped().await;
    b.set(llm::on_post(|_| llm::error(429).header("retry-after", "60")));
    ask(&client, UNKNOWN).await;
    qcc.endpoint_when("b", "cools", |b| b["usable"] == false).await;
    let reply = ask(&client, UNKNOWN).await;
    assert_eq!(reply.own_error(), Some("no_endpoint"));
    let text = reply.text();
    assert!(
        text.contains(&format!("a does not have model {UNKNOWN}")) && text.contains("b is rate-limited"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_taken_out_of_use_is_nobody_to_ask_instead() {
    let (_a, _b, qcc, client, _) = with_one_skipped().await;
    qcc.command("disable", "b");
    ask(&client, UNKNOWN).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_whose_key_is_refused_is_nobody_to_ask_instead() {
    let (_a, b, qcc, client, _) = with_one_skipped().await;
    b.set(llm::always(401));
    ask(&client, UNKNOWN).await;
    qcc.endpoint_in("b", "unhealthy").await;
    ask(&client, UNKNOWN).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_the_tokens_of_an_unknown_model_moves_on_as_well() {
    let (a, b) = (Upstream::start(without(404, not_found(UNKNOWN))), Upstream::healthy());
    let (_qcc, client) = started(two(&a, &b));
    let count = || exchange(client.post("/v1/messages/count_tokens", &request(UNKNOWN)));
    assert_eq!(count().await.expect_from("b").attempts(), "2");
    assert_eq!(count().await.expect_from("b").attempts(), "1");
    assert_eq!(a.posts().len(), 1);
}
