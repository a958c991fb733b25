//! SIGHUP: what is the same keeps its word, what is wrong changes nothing.

use super::support::{Client, Cluster, Endpoint, Qcc, Upstream, eventually, llm};
use super::two;

/// A running proxy whose `a` was refused.
async fn with_a_benched(a: &Upstream, b: &Upstream) -> (Qcc, Client, serde_json::Value) {
    let qcc = Qcc::start(&two(a, b));
    let client = Client::of(&qcc);
    client.ask("refused").await.expect_from("b");
    let word = qcc.endpoint_in("a", "unhealthy").await;
    (qcc, client, word)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_endpoints_keep_their_word_and_new_ones_serve() {
    let (a, b, c) =
        (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy(), Upstream::healthy());
    let (qcc, client, before) = with_a_benched(&a, &b).await;
    let key_of_b = "{ env = 'QCC_TEST_KEY_B' }";
    let changed = Cluster::tiers([
        Endpoint::new("a", &a).line("weight = 7"),
        // Another base URL is another endpoint; its key must be one that the process has.
        Endpoint::new("c", &c).line(&format!("api_key = {key_of_b}")),
        Endpoint::new("b", &b),
    ]);
    qcc.home().write_config(&changed.render());
    qcc.sighup();
    eventually("the new endpoint is there", || {
        qcc.status()["endpoints"].as_array().is_some_and(|all| all.len() == 3)
    })
    .await;
    let after = qcc.endpoint("a");
    for field in [
        "id",
        "state",
        "epoch",
        "level",
        "cause",
        "check_method",
        "failures",
        "since",
        "next_check_at",
        "requests",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["weight"], 7);
    client.ask("after the reload").await.expect_from("c");
    assert_eq!(a.posts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_begins_anew() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy());
    let (qcc, client, before) = with_a_benched(&a, &b).await;
    a.set(llm::healthy);
    let other_key = "api_key = { env = 'QCC_TEST_KEY_B' }";
    let changed = Cluster::tiers([Endpoint::new("a", &a).line(other_key), Endpoint::new("b", &b)]);
    qcc.home().write_config(&changed.render());
    qcc.sighup();
    let after = qcc.endpoint_when("a", "is another", |a| a["id"] != before["id"]).await;
    assert!(after["state"] == "unknown" || after["state"] == "healthy", "{after:#}");
    client.ask("with the new key").await.expect_from("a");
    assert_eq!(a.users()[1].header("x-api-key"), Some("sk-key-of-b-0123456789"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_file_changes_nothing_and_the_log_says_why() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy());
    let (qcc, client, before) = with_a_benched(&a, &b).await;
    qcc.home().write_config(&two(&a, &b).line("qeue_timeout = '1s'").render());
    qcc.sighup();
    eventually("the log says why", || qcc.stderr().contains("qeue_timeout")).await;
    assert_eq!(qcc.endpoint("a"), before);
    client.ask("as ever").await.expect_from("b");
    // And the next valid one is taken.
    qcc.home().write_config(&Cluster::tiers([Endpoint::new("b", &b)]).render());
    qcc.sighup();
    eventually("a is gone", || qcc.status()["endpoints"].as_array().is_some_and(|all| all.len() == 1)).await;
    client.ask("still").await.expect_from("b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_at_an_endpoint_that_is_removed_ends_well() {
    let gate = super::support::Gate::new("answer at a");
    let held = gate.clone();
    let a = Upstream::start(llm::on_post(move |request| llm::healthy(request).after(&held)));
    let b = Upstream::healthy();
    let qcc = Qcc::start(&two(&a, &b));
    let client = Client::of(&qcc);
    let asking = client.asking("on its way");
    gate.arrived(1).await;
    qcc.home().write_config(&Cluster::tiers([Endpoint::new("b", &b)]).render());
    qcc.sighup();
    eventually("a is gone", || qcc.status()["endpoints"].as_array().is_some_and(|all| all.len() == 1)).await;
    client.ask("elsewhere").await.expect_from("b");
    gate.open();
    asking.reply().await.expect_from("a");
}
