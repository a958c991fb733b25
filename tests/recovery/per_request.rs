//! An endpoint billed per request costs money with every check, so it gets none: a user's request
//! is what finds out.

use std::time::Duration;

use super::support::{Client, Cluster, Endpoint, Gate, Qcc, Upstream, eventually, llm, never_within};
use super::{assert_benched, count, started};

async fn bench(qcc: &Qcc, client: &Client) {
    // Nothing vouched for it yet, so the first failure decides.
    assert_eq!(client.ask("failing").await.status, 500);
    let benched = qcc.endpoint_when("p", "is benched", |p| p["usable"] == false).await;
    assert_benched(&benched, "server", "chat");
}

/// Enough for any check that would come: the start's, one at the deadline, one of the idle ones.
async fn time_for_a_check(upstream: &Upstream, requests: usize) {
    never_within("a check at p", Duration::from_secs(2), || upstream.requests().len() > requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_check_is_ever_sent_to_it() {
    let p = Upstream::healthy();
    let cluster = Cluster::tiers([Endpoint::new("p", &p).per_request()]).quick_recovery();
    let (qcc, client) = started(cluster.health("check_interval = '1s'"));
    assert_eq!(qcc.endpoint("p")["state"], "unknown");
    assert_eq!(qcc.endpoint("p")["usable"], true);
    time_for_a_check(&p, 0).await;
    p.set(llm::always(500));
    bench(&qcc, &client).await;
    time_for_a_check(&p, 1).await;
    let out = qcc.endpoint("p");
    assert_benched(&out, "server", "chat");
    assert_eq!(count(&out, "checks", "sent"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_brings_it_back_while_others_wait() {
    let p = Upstream::start(llm::always(500));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("p", &p).per_request()]).quick_recovery());
    bench(&qcc, &client).await;

    let trial = Gate::new("the trial's answer");
    let held = trial.clone();
    p.set(move |request| llm::healthy(request).after(&held));
    let asking: Vec<_> = (0..6).map(|number| client.asking(&format!("waiting {number}"))).collect();
    trial.arrived(1).await;
    assert_eq!(qcc.endpoint("p")["state"], "recovering");
    never_within("a second request at p", Duration::from_millis(500), || p.users().len() > 2).await;
    assert!(asking.iter().all(|asking| !asking.is_answered()));
    trial.release(1);
    // Only now do the others come.
    trial.arrived(6).await;
    assert_eq!(qcc.endpoint("p")["state"], "healthy");
    trial.open();
    for asking in asking {
        asking.reply().await.expect_from("p");
    }
    assert_eq!(p.users().len(), 1 + 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_trial_costs_one_request_and_the_next_in_line_tries_later() {
    let p = Upstream::start(llm::always(500));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("p", &p).per_request()]).quick_recovery());
    bench(&qcc, &client).await;

    let trial = Gate::new("the trial's answer");
    let held = trial.clone();
    p.set(move |_| llm::error(500).after(&held));
    let first = client.asking("first");
    trial.arrived(1).await;
    let second = client.asking("second");
    never_within("a second trial beside the first", Duration::from_millis(300), || trial.arrivals() > 1)
        .await;
    p.set(llm::healthy);
    trial.open();
    assert_eq!(first.reply().await.status, 500);
    second.reply().await.expect_from("p");
    qcc.endpoint_in("p", "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_endpoint_serves_it_is_tried_at_its_deadline_only() {
    let (p, b) = (Upstream::start(llm::always(500)), Upstream::healthy());
    let (qcc, client) =
        started(Cluster::tiers([Endpoint::new("p", &p).per_request(), Endpoint::new("b", &b)]));
    client.ask("failing").await.expect_from("b");
    assert_benched(&qcc.endpoint_in("p", "unhealthy").await, "server", "chat");
    p.set(llm::healthy);
    for _ in 0..10 {
        assert_eq!(client.ask("before the deadline").await.expect_from("b").attempts(), "1");
    }
    qcc.command("recheck", "p");
    never_within("a check at p", Duration::from_millis(500), || p.requests().len() > 1).await;
    client.ask("at the deadline").await.expect_from("p");
    eventually("the trial counted", || qcc.endpoint("p")["state"] == "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_its_trial_gives_it_to_the_next() {
    let p = Upstream::start(llm::always(500));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("p", &p).per_request()]).quick_recovery());
    bench(&qcc, &client).await;
    let never = Gate::new("never opened");
    let held = never.clone();
    p.set(move |request| llm::healthy(request).after(&held));
    let leaving = client.asking("leaving");
    never.arrived(1).await;
    let level = qcc.endpoint("p")["level"].clone();
    p.set(llm::healthy);
    leaving.leave().await;
    eventually("the upstream sees it", || p.users()[1].was_abandoned()).await;
    let released = qcc.endpoint_when("p", "has its trial released", |p| p["in_flight"] == 0).await;
    assert_eq!(
        (&released["level"], &released["usable"]),
        (&level, &false.into()),
        "leaving is nobody's failure"
    );
    client.ask("next").await.expect_from("p");
}
