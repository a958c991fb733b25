//! What a client gets when nobody can serve it.

use serde_json::Value;

use super::support::{Cluster, Endpoint, Reply, Upstream, exchange, llm};
use super::{started, two};

#[track_caller]
fn assert_no_endpoint(reply: &Reply, status: u16, retry: &str) {
    assert_eq!((reply.status, reply.own_error()), (status, Some("no_endpoint")), "{reply:?}");
    assert_eq!(reply.header("x-should-retry"), Some(retry), "{reply:?}");
}

#[track_caller]
fn retry_after(reply: &Reply) -> u64 {
    let seconds = reply.header("retry-after").unwrap_or_else(|| panic!("no retry-after: {reply:?}"));
    seconds.parse().unwrap_or_else(|_| panic!("retry-after is in seconds: {seconds}"))
}

fn message(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap_or_else(|| panic!("no message: {body:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_anthropic_paths_it_is_an_overload_that_names_each_endpoint_and_cause() {
    let (one, two) = (Upstream::stopped(llm::healthy), Upstream::stopped(llm::healthy));
    let endpoints = [Endpoint::new("first-relay", &one), Endpoint::new("second-relay", &two)];
    let (_qcc, client) = started(Cluster::tiers(endpoints).line("queue_timeout = '300ms'"));
    for _ in 0..2 {
        let reply = client.ask("nobody there").await;
        assert_no_endpoint(&reply, 529, "true");
        assert!(retry_after(&reply) >= 1);
        let body = reply.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &"overloaded_error".into()));
        for part in ["first-relay", "second-relay", "network"] {
            assert!(message(&body).contains(part), "{part}: {body:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_openai_paths_it_is_a_503() {
    let o = Upstream::stopped(llm::healthy);
    let (_qcc, client) =
        started(Cluster::tiers([Endpoint::new("o", &o).openai()]).line("queue_timeout = '300ms'"));
    for (path, request) in [("/v1/chat/completions", llm::chat("m")), ("/v1/responses", llm::response("m"))] {
        let reply = exchange(client.post(path, &request)).await;
        assert_no_endpoint(&reply, 503, "true");
        assert!(retry_after(&reply) >= 1);
        let body = reply.json();
        assert_eq!(body["error"]["code"], "server_is_overloaded", "{body:#}");
        assert!(message(&body).contains("network"), "{body:#}");
        assert!(body["error"].get("type").is_some() && body["error"].get("param").is_some(), "{body:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_keys_are_refused_waiting_is_no_use_and_nobody_is_told_to_log_in() {
    for status in [401, 403] {
        let (a, b) = (Upstream::start(llm::always(status)), Upstream::start(llm::always(status)));
        let (_qcc, client) = started(two(&a, &b).line("queue_timeout = '300ms'"));
        let reply = client.ask("no key").await;
        assert_no_endpoint(&reply, 403, "false");
        let body = reply.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &"permission_error".into()));
        assert!(message(&body).contains("key"), "{body:#}");
        assert_eq!((a.posts().len(), b.posts().len()), (0, 0), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_by_every_attempt_is_never_the_clients_401() {
    let (a, b) =
        (Upstream::start(llm::on_post(llm::always(401))), Upstream::start(llm::on_post(llm::always(401))));
    let (_qcc, client) = started(two(&a, &b).line("queue_timeout = '300ms'"));
    let reply = client.ask("found out").await;
    assert_eq!((a.posts().len(), b.posts().len()), (1, 1));
    assert_eq!((reply.status, reply.header("x-should-retry")), (403, Some("false")), "{reply:?}");
    assert_eq!(reply.json()["error"]["type"], "permission_error");
    assert!(reply.own_error().is_some(), "it is the proxy's own answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_endpoint_that_may_come_back_makes_it_worth_waiting() {
    let (a, b) = (Upstream::start(llm::always(401)), Upstream::stopped(llm::healthy));
    let (_qcc, client) = started(two(&a, &b).line("queue_timeout = '300ms'"));
    let reply = client.ask("mixed").await;
    assert_no_endpoint(&reply, 529, "true");
    let body = reply.json();
    assert!(message(&body).contains("auth") && message(&body).contains("network"), "{body:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_cluster_is_not_worth_waiting_for() {
    let a = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]).line("queue_timeout = '300ms'"));
    qcc.command("disable", "a");
    assert_no_endpoint(&client.ask("off").await, 403, "false");
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limited_everywhere_tells_the_earliest_return() {
    let a = Upstream::start(llm::on_post(|_| llm::error(429).header("retry-after", "20")));
    let b = Upstream::start(llm::on_post(|_| llm::error(429).header("retry-after", "90")));
    let (_qcc, client) = started(two(&a, &b).line("queue_timeout = '300ms'"));
    // Attempts were made: the last answer, but with the earliest return of all.
    let last = client.ask("limited").await;
    assert_eq!((last.status, last.endpoint(), last.own_error()), (429, "b", None));
    assert_eq!(last.text(), llm::anthropic_error("rate_limit_error", "upstream says 429").to_string());
    assert!((15..=20).contains(&retry_after(&last)), "{last:?}");
    // None was made: the proxy's own.
    let own = client.ask("still limited").await;
    assert_no_endpoint(&own, 529, "true");
    assert!((10..=20).contains(&retry_after(&own)), "{own:?}");
    assert_eq!((a.posts().len(), b.posts().len()), (1, 1));
}
