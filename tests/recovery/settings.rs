//! The settings of health do what they say.

use std::time::Duration;

use serde_json::json;

use super::support::{
    Answer, Cluster, End, Endpoint, Gate, Recorded, Upstream, eventually, exchange, llm, never_within,
};
use super::{assert_benched, count, started};

fn one(a: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", a)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_threshold_is_how_many_failures_bench() {
    for threshold in [1, 5] {
        let a = Upstream::start(llm::on_post(llm::always(500)));
        let (qcc, client) = started(one(&a).health(&format!("failure_threshold = {threshold}")));
        for failures in 1..threshold {
            client.ask("failing").await;
            let now = qcc.endpoint_when("a", "counts it", |a| a["failures"] == failures).await;
            assert_eq!(now["state"], "healthy");
        }
        client.ask("the last").await;
        assert_benched(&qcc.endpoint_in("a", "unhealthy").await, "server", "chat");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_threshold_is_how_many_trials_must_pass() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let (qcc, _client) = started(one(&a).health("success_threshold = 2"));
    a.set(llm::healthy);
    qcc.command("recheck", "a");
    let halfway = qcc.endpoint_when("a", "passed once", |a| count(a, "checks", "passed") == 1).await;
    assert_eq!((&halfway["state"], &halfway["usable"]), (&"recovering".into(), &false.into()));
    qcc.endpoint_in("a", "healthy").await;
    qcc.endpoint_when("a", "passed twice", |a| count(a, "checks", "passed") == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_trial_between_makes_the_passed_ones_begin_anew() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let (qcc, _client) = started(one(&a).health("success_threshold = 2"));
    a.set(llm::healthy);
    qcc.command("recheck", "a");
    qcc.endpoint_when("a", "passed once", |a| count(a, "checks", "passed") == 1).await;
    a.set(llm::always(401));
    assert_eq!(qcc.endpoint_in("a", "unhealthy").await["level"], 2);
    qcc.endpoint_when("a", "failed twice", |a| count(a, "checks", "failed") == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_timeout_ends_a_silent_check() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let (qcc, _client) = started(one(&a).health("check_timeout = '300ms'"));
    a.set(|_| Answer::nothing(End::Stall));
    qcc.command("recheck", "a");
    let out = qcc.endpoint_when("a", "failed again", |a| count(a, "checks", "failed") == 2).await;
    assert_eq!(out["cause"], "timeout", "{out:#}");
    super::support::eventually("the silent check is closed", || a.requests()[1].was_abandoned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_check_asks_the_configured_model_or_the_last_that_was_served() {
    for (setting, model) in
        [("check_model = 'the-small-one'", "the-small-one"), ("failure_threshold = 3", "claude-served")]
    {
        let a = Upstream::healthy();
        let (qcc, client) = started(one(&a).quick_recovery().health(setting));
        let mut request = llm::message("served");
        request["model"] = "claude-served".into();
        super::support::exchange(client.post("/v1/messages", &request)).await.expect_from("a");
        a.set(llm::on_post(llm::always(402)));
        client.ask("not served").await;
        qcc.endpoint_when("a", "is benched", |a| a["usable"] == false).await;
        // A quota waits long; the operator knows that it was paid.
        qcc.command("recheck", "a");
        let checks = a.wait_for("a chat check", 1, Recorded::is_chat_check).await;
        assert_eq!(checks[0].json()["model"], model);
        assert!(checks[0].json()["max_tokens"].as_u64() >= Some(64), "room to think: {}", checks[0].json());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_else_can_serve_a_request_may_try_before_the_deadline() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = started(one(&a));
    for _ in 1..=3 {
        client.ask("failing").await;
    }
    assert_benched(&qcc.endpoint_in("a", "unhealthy").await, "server", "chat");
    a.set(llm::healthy);
    // The deadline is minutes away, and no check is due.
    client.ask("the last resort").await.expect_from("a");
    qcc.endpoint_in("a", "healthy").await;
    assert_eq!(a.matching(Recorded::is_chat_check).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_never_tried_by_a_request() {
    for status in [401, 402] {
        let a = Upstream::start(llm::on_post(llm::always(status)));
        let (qcc, client) = started(one(&a));
        client.ask("refused").await;
        qcc.endpoint_in("a", "unhealthy").await;
        a.set(llm::healthy);
        let waiting = client.asking("waiting");
        never_within("a request at a", Duration::from_millis(1500), || a.posts().len() > 1).await;
        waiting.leave().await;
        assert_eq!(qcc.endpoint("a")["state"], "unhealthy", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_start_gives_a_recovered_endpoint_only_a_part_at_first() {
    let (a, b) = (Upstream::start(llm::on_get(llm::always(401))), Upstream::healthy());
    let endpoints = [Endpoint::new("a", &a), Endpoint::new("b", &b)];
    let cluster = endpoints.into_iter().fold(Cluster::new("work"), Cluster::endpoint);
    let (qcc, client) = started(cluster.health("slow_start = '10m'"));
    a.set(llm::healthy);
    qcc.command("recheck", "a");
    qcc.endpoint_in("a", "healthy").await;
    for _ in 0..200 {
        assert_eq!(client.ask("shared").await.status, 200);
    }
    let at_a = a.users().len();
    assert!(at_a <= 60, "{at_a} of 200 went to an endpoint whose share is 10 % for now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_check_asks_no_model_that_only_embeds() {
    let o = Upstream::start(|request| match request.path() {
        "/v1/embeddings" => Answer::json(200, &json!({"object": "list", "data": []})),
        "/v1/chat/completions" => llm::error(401),
        _ => llm::healthy(request),
    });
    let (_qcc, client) = started(Cluster::tiers([Endpoint::new("o", &o).openai()]).quick_recovery());
    let mut embedding = llm::response("embedded");
    embedding["model"] = "text-embedding-served".into();
    exchange(client.post("/v1/embeddings", &embedding)).await.expect_from("o");
    exchange(client.post("/v1/chat/completions", &llm::chat("refused"))).await;
    let checks = o.wait_for("a chat check", 1, Recorded::is_chat_check).await;
    assert_ne!(checks[0].json()["model"], "text-embedding-served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_trials_are_claimed_than_checks_may_run() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let names: Vec<String> = (0..40).map(|number| format!("e{number}")).collect();
    let cluster = names.iter().fold(Cluster::new("work").quick_recovery(), |cluster, name| {
        cluster.endpoint(Endpoint::new(name, &a))
    });
    let gate = Gate::new("the model lists");
    let held = gate.clone();
    let (qcc, _client) =
        started(cluster.health("auth_backoff_base = '1s'").health("auth_backoff_max = '1s'"));
    a.set(llm::on_get(move |request| llm::healthy(request).after(&held)));
    gate.arrived(32).await;
    let in_state = |state: &str| {
        let status = qcc.status();
        status["endpoints"].as_array().unwrap().iter().filter(|endpoint| endpoint["state"] == state).count()
    };
    never_within("a trial that waits for its check", Duration::from_millis(1200), || {
        in_state("recovering") > 32
    })
    .await;
    gate.open();
    eventually("all are back", || in_state("healthy") == names.len()).await;
}
