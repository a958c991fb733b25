//! Found out by `GET /v1/models`: cleared by it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Answer, Cluster, End, Endpoint, Qcc, Recorded, Upstream, llm};
use super::{alone, assert_benched, count, started};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_at_start_is_checked_by_model_lists_alone_until_it_is_accepted() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let b = Upstream::healthy();
    let cluster = Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]).quick_recovery();
    let (qcc, client) = started(cluster);
    assert_benched(&qcc.endpoint("a"), "auth", "model-list");
    client.ask("while a is out").await.expect_from("b");
    a.wait_for("three checks after the one at start", 4, Recorded::is_model_list).await;
    assert_eq!(a.posts().len(), 0, "the model list would pass by a chat check here, so none may be sent");
    assert_benched(&qcc.endpoint("a"), "auth", "model-list");

    a.set(llm::healthy);
    let back = qcc.endpoint_in("a", "healthy").await;
    assert_eq!((&back["cause"], &back["usable"]), (&Value::Null, &true.into()));
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_check_raises_the_backoff_level() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a)]));
    let benched = qcc.endpoint("a");
    assert_eq!((&benched["level"], count(&benched, "checks", "failed")), (&1.into(), 1));
    qcc.command("recheck", "a");
    let again = qcc
        .endpoint_when("a", "failed again", |a| {
            count(a, "checks", "failed") == 2 && a["state"] == "unhealthy"
        })
        .await;
    assert_eq!(again["level"], 2);
    assert!(again["epoch"].as_u64() > benched["epoch"].as_u64());
    assert!(again["next_check_at"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_a_model_list_is_not_failing_and_is_checked_by_chat() {
    for status in [404, 405, 501] {
        let a = Upstream::start(llm::on_get(llm::always(status)));
        let cluster = Cluster::tiers([Endpoint::new("a", &a)]).health("check_interval = '1s'");
        let (qcc, client) = started(cluster);
        let begun = qcc.endpoint("a");
        assert!(begun["state"] == "unknown" || begun["state"] == "healthy", "{status}: {begun:#}");
        assert_eq!((&begun["usable"], &begun["failures"]), (&true.into(), &0.into()), "{status}");
        assert_eq!(count(&begun, "checks", "failed"), 0, "{status}");
        a.wait_for("a chat check in its place", 1, Recorded::is_chat_check).await;
        qcc.endpoint_in("a", "healthy").await;
        client.ask("served").await.expect_from("a");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_endpoint_is_checked_by_model_lists_and_no_chat() {
    let a = Upstream::healthy();
    let (qcc, _client) = started(Cluster::tiers([Endpoint::new("a", &a)]).health("check_interval = '1s'"));
    assert_eq!(qcc.endpoint("a")["state"], "healthy", "the check at start passed");
    a.wait_for("checks while idle", 3, Recorded::is_model_list).await;
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_goes_with_the_check_as_with_a_request() {
    let a = Upstream::healthy();
    let _qcc = alone(&a);
    let check = &a.requests()[0];
    assert_eq!(check.header_all("x-api-key"), ["sk-key-of-a-0123456789"]);
    assert_eq!(check.header_all("authorization"), ["Bearer sk-key-of-a-0123456789"]);
    assert_eq!(check.header("host"), Some(a.address().to_string().as_str()));
    assert!(check.header("anthropic-version").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_follows_no_redirect() {
    let elsewhere = Upstream::healthy();
    let location = format!("{}/v1/models", elsewhere.url());
    let a = Upstream::start(llm::on_get(move |_| Answer::new(302).header("location", &location)));
    let (qcc, _client) = alone(&a);
    assert_benched(&qcc.endpoint("a"), "server", "model-list");
    a.wait_for("further checks", 3, Recorded::is_model_list).await;
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_does_not_wait_for_a_silent_endpoint() {
    let a = Upstream::start(llm::on_get(|_| Answer::nothing(End::Stall)));
    let b = Upstream::healthy();
    let begun = Instant::now();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("b", &b), Endpoint::new("a", &a)]));
    assert!(begun.elapsed() < Duration::from_secs(6), "ready after {:?}; 3 s are allowed", begun.elapsed());
    assert_eq!(qcc.endpoint("b")["state"], "healthy");
    client.ask("served").await.expect_from("b");
}
