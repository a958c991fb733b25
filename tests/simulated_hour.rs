//! An hour in which nothing is asked of an endpoint that is billed by the request and is down: the
//! program's own parts over real sockets, on a clock that the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qcc::clock::Clock;
use qcc::cluster::{Cluster, Source};
use qcc::config::{Environment, parse_str};
use qcc::{prober, proxy};
use support::{Client, Gate, Upstream, llm, never_within, within};
use tokio::net::TcpListener;
use tokio::sync::watch;

fn cluster_before(upstream: &Upstream) -> Arc<Cluster> {
    let text = format!(
        "[[clusters.work.endpoints]]\nname = \"relay\"\nbase_url = \"{}\"\napi_key = \"sk-relay\"\nbilling = \"per-request\"\n",
        upstream.url()
    );
    let settings = parse_str(&text, Path::new("test.toml"), &Environment::closed([])).unwrap();
    Cluster::new(settings.clusters["work"].clone(), Clock::start()).unwrap()
}

/// One thread, so that no part of the program runs while the test moves the clock.
#[tokio::test]
async fn an_endpoint_billed_by_the_request_gets_no_check_in_an_hour_and_comes_back_by_one_users_request() {
    let relay = Upstream::start(llm::on_post(llm::always(500)));
    let cluster = cluster_before(&relay);
    let (stop, stopped) = watch::channel(false);
    prober::start_round(&cluster).await;
    let prober = prober::spawn(cluster.clone(), stopped.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::at(&format!("http://{}", listener.local_addr().unwrap()));
    let acceptor = proxy::Acceptor::new("clients", 16);
    let serving = tokio::spawn(proxy::serve(proxy::Proxy::new(cluster.clone()), listener, acceptor, stopped));

    assert_eq!(client.ask("the failure").await.status, 500);
    let out_of_service_by = relay.requests().len();
    assert_eq!(out_of_service_by, 1, "the user's request, and no check before it");

    tokio::time::pause();
    for _ in 0..3600 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert_eq!(relay.requests().len(), out_of_service_by, "nothing was asked in an hour");

    let gate = Gate::new("the trial");
    let at_gate = gate.clone();
    relay.set(move |request| llm::healthy(request).after(&at_gate));
    let asking: Vec<_> = (0..5).map(|n| client.asking(&format!("user {n}"))).collect();
    within("the trial's arrival", gate.arrived(1)).await;
    never_within("a second request beside the trial", Duration::from_millis(300), || gate.arrivals() > 1)
        .await;
    gate.open();
    for asked in asking {
        asked.reply().await.expect_from("relay");
    }
    let claims = cluster.journal.records().iter().filter(|record| record.to == "recovering").count();
    assert_eq!(claims, 1, "one user's request was the trial");
    assert!(cluster.journal.records().iter().all(|record| record.source == Source::Traffic));
    assert_eq!(relay.users().len(), relay.requests().len(), "no check at all");

    stop.send_replace(true);
    within("the end", async { drop(tokio::join!(prober, serving)) }).await;
}
