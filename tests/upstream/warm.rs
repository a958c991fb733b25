//! Connections opened ahead of need.

use serde_json::Value;

use crate::support::{Client, Cluster, Endpoint, Http2Upstream, Qcc, Upstream, eventually, llm, tls};
use crate::trusting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_finds_an_http2_connection_open_on_which_nothing_was_sent() {
    let refusing = Upstream::start(llm::on_post(llm::always(401)));
    let standby = Http2Upstream::healthy();
    let (_qcc, client) = trusting(Cluster::tiers([
        Endpoint::new("a", &refusing),
        Endpoint::at("b", &standby.tls.url()).per_request(),
    ]));
    eventually("a connection is open", || standby.tls.handshakes() == 1).await;
    assert_eq!(standby.streams(), 0);
    client.ask("one").await.expect_from("b");
    assert_eq!((standby.tls.accepted(), standby.streams()), (1, 1), "no handshake on failover");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_finds_an_http1_connection_open_on_which_nothing_was_sent() {
    let refusing = Upstream::start(llm::on_post(llm::always(401)));
    let standby = Upstream::healthy();
    let front = tls::front(&standby);
    let (_qcc, client) = trusting(Cluster::tiers([
        Endpoint::new("a", &refusing),
        Endpoint::at("b", &front.url()).per_request(),
    ]));
    eventually("a connection is open", || standby.connections() == 1).await;
    assert!(standby.requests().is_empty());
    client.ask("one").await.expect_from("b");
    assert_eq!(standby.users()[0].connection, 0, "no handshake on failover");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_in_service_is_left_alone() {
    let upstream = Upstream::healthy();
    let disabled = Http2Upstream::healthy();
    let other = Http2Upstream::healthy();
    let (_qcc, client) = trusting(Cluster::tiers([
        Endpoint::new("a", &upstream),
        Endpoint::at("b", &disabled.tls.url()).line("enabled = false"),
        Endpoint::at("c", &other.tls.url()).per_request(),
    ]));
    client.ask("one").await.expect_from("a");
    // They are looked at in this order.
    eventually("the one in service is warmed", || other.tls.handshakes() == 1).await;
    assert_eq!(disabled.tls.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_cant_be_connected_to_ahead_of_need_is_not_judged_by_it() {
    let upstream = Upstream::healthy();
    let untrusted = Http2Upstream::healthy();
    let qcc = Qcc::start(&Cluster::tiers([
        Endpoint::new("a", &upstream),
        Endpoint::at("b", &untrusted.tls.url()).per_request(),
    ]));
    eventually("a handshake was tried", || untrusted.tls.accepted() == 1).await;
    Client::of(&qcc).ask("one").await.expect_from("a");
    let b = qcc.endpoint("b");
    assert_eq!((&b["state"], &b["failures"], &b["last_error"]), (&"unknown".into(), &0.into(), &Value::Null));
    assert_eq!(untrusted.tls.handshakes(), 0);
}
