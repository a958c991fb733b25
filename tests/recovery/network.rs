//! Found out without any HTTP answer: cleared by any answer that accepts the key.

use super::support::{Cluster, Endpoint, Recorded, Upstream, llm};
use super::{alone, assert_benched, started};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_is_checked_by_model_lists_until_it_is_open_again() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let cluster = Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]).quick_recovery();
    let (qcc, client) = started(cluster);
    client.ask("while all is well").await.expect_from("a");
    a.stop();
    // Two refused connections of weight 2 reach the threshold of 3.
    client.ask("first without a").await.expect_from("b");
    client.ask("second without a").await.expect_from("b");
    let benched = qcc.endpoint_when("a", "is benched", |a| a["usable"] == false).await;
    assert_benched(&benched, "network", "network");
    let failed = benched["checks"]["failed"].as_u64();
    qcc.endpoint_when("a", "failed a check", |a| a["checks"]["failed"].as_u64() > failed).await;

    let before = a.requests().len();
    a.restart();
    qcc.endpoint_in("a", "healthy").await;
    let since = a.requests().split_off(before);
    assert!(since[0].is_model_list(), "{:?}", since[0]);
    assert!(!since.iter().any(|request| request.is_chat_check()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_out_of_reach_at_start_is_found_when_it_comes_up() {
    let a = Upstream::stopped(llm::healthy);
    let (qcc, client) = alone(&a);
    assert_benched(&qcc.endpoint("a"), "network", "network");
    a.restart();
    qcc.endpoint_in("a", "healthy").await;
    client.ask("served").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_answer_to_our_key_proves_the_network() {
    for status in [404, 429, 500] {
        let a = Upstream::stopped(llm::on_get(llm::always(status)));
        let (qcc, _client) = alone(&a);
        assert_benched(&qcc.endpoint("a"), "network", "network");
        a.restart();
        qcc.endpoint_in("a", "healthy").await;
        assert!(a.requests().iter().all(|request| request.is_model_list()), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_behind_a_network_failure_is_told_as_a_refusal() {
    for status in [401, 403] {
        let a = Upstream::stopped(llm::always(status));
        let (qcc, _client) = alone(&a);
        assert_benched(&qcc.endpoint("a"), "network", "network");
        a.restart();
        a.wait_for("a check that gets through", 1, Recorded::is_model_list).await;
        let refused = qcc.endpoint_when("a", "has the cause auth", |a| a["cause"] == "auth").await;
        assert!(refused["state"] == "unhealthy" || refused["state"] == "recovering", "{status}: {refused:#}");
        a.set(llm::healthy);
        qcc.endpoint_in("a", "healthy").await;
    }
}
