//! The names under which endpoints know models: the one change that is ever made to a body.

use super::started;
use super::support::{Cluster, Endpoint, Recorded, Upstream, exchange, llm};

const MAP: &str = "model_map = { 'claude-*' = 'relay/claude', 'claude-test-*' = 'relay/\"test\"' }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_gets_its_own_name_for_the_model_and_else_the_same_bytes() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(529))), Upstream::healthy());
    let (_qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b).line(MAP)]));
    client.ask("mapped").await.expect_from("b");
    let (at_a, at_b) = (a.posts()[0].clone(), b.posts()[0].clone());
    assert_eq!(at_a.json(), llm::message("mapped"), "no map, no change");
    let as_sent = String::from_utf8(at_a.body().to_vec()).unwrap();
    let expected = as_sent.replace(r#""claude-test-1""#, r#""relay/\"test\"""#);
    assert_eq!(String::from_utf8_lossy(at_b.body()), expected);
    assert_eq!(at_b.header("content-length"), Some(expected.len().to_string().as_str()));
    assert_eq!(at_b.header("transfer-encoding"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_models_an_endpoint_serves_goes_by_the_clients_names() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let relay = Endpoint::new("a", &a).line(MAP).line("models = ['relay/*']");
    let (_qcc, client) = started(Cluster::tiers([relay, Endpoint::new("b", &b)]));
    client.ask("by the client's name").await.expect_from("b");
    let mut named = llm::message("by its own name");
    named["model"] = "relay/opus".into();
    exchange(client.post("/v1/messages", &named)).await.expect_from("a");
    assert_eq!(a.users()[0].json(), named, "a name that no pattern fits passes unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_check_asks_for_the_model_by_the_endpoints_name() {
    let a = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a).line(MAP)]).quick_recovery());
    client.ask("served").await.expect_from("a");
    a.set(llm::on_post(llm::always(401)));
    client.ask("refused").await;
    a.set(llm::healthy);
    qcc.endpoint_in("a", "healthy").await;
    let checks = a.wait_for("a chat check", 1, Recorded::is_chat_check).await;
    assert_eq!(checks[0].json()["model"], "relay/\"test\"");
}
