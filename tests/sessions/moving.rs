//! When a session moves, and when it returns.

use std::collections::BTreeMap;
use std::time::Duration;

use super::support::{Client, Cluster, Endpoint, Gate, eventually, llm};
use super::{ask, cluster, served_by, session_at, started, upstreams};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_of_a_session_at_once_are_served_by_one_endpoint() {
    let upstreams = upstreams(3);
    let (_qcc, client) = started(&cluster(&upstreams));
    let home = served_by(&client, "busy").await;
    let gate = Gate::new("answers");
    for upstream in &upstreams {
        let held = gate.clone();
        upstream.set(llm::on_post(move |request| llm::healthy(request).after(&held)));
    }
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "busy").await })
        })
        .collect();
    gate.arrived(50).await;
    gate.open();
    for asking in asking {
        asking.await.unwrap().expect_from(&home);
    }
}

async fn places(client: &Client) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for number in 0..24 {
        let session = format!("session-{number}");
        let place = served_by(client, &session).await;
        places.insert(session, place);
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_sessions_of_an_endpoint_that_leaves_move_and_they_stay_where_they_went() {
    let upstreams = upstreams(4);
    let (qcc, client) = started(&cluster(&upstreams));
    let before = places(&client).await;
    let leaver = &before["session-0"];
    qcc.command("disable", leaver);
    let without = places(&client).await;
    for (session, home) in &before {
        assert_eq!(home == leaver, without[session] != *home, "{session} of {home}: {}", without[session]);
    }
    qcc.command("enable", leaver);
    assert_eq!(places(&client).await, without, "their caches are warm there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_returns_when_it_was_idle_for_session_ttl() {
    let upstreams = upstreams(3);
    let (qcc, client) = started(&cluster(&upstreams).line("session_ttl = '1s'"));
    let session = session_at(&client, "a").await;
    qcc.command("disable", "a");
    assert_ne!(served_by(&client, &session).await, "a");
    qcc.command("enable", "a");
    // The limit itself is the behaviour; a tick more, since it is counted in those.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    ask(&client, &session).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_session_ttl_of_zero_a_session_returns_with_its_endpoint() {
    let upstreams = upstreams(3);
    let (qcc, client) = started(&cluster(&upstreams).line("session_ttl = '0s'"));
    let session = session_at(&client, "a").await;
    qcc.command("disable", "a");
    assert_ne!(served_by(&client, &session).await, "a");
    qcc.command("enable", "a");
    ask(&client, &session).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_moves_a_session_and_its_end_does_not_bring_it_back() {
    let upstreams = upstreams(3);
    let (qcc, client) = started(&cluster(&upstreams));
    let session = session_at(&client, "a").await;
    upstreams[0].set(llm::on_post(|_| llm::error(429).header("retry-after", "1")));
    let moved = ask(&client, &session).await;
    assert_eq!((moved.status, moved.attempts()), (200, "2"));
    upstreams[0].set(llm::healthy);
    qcc.endpoint_when("a", "is usable again", |a| a["usable"] == true).await;
    ask(&client, &session).await.expect_from(moved.endpoint());
    session_at(&client, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_benches_nobody_moves_the_session_that_saw_it_and_no_other() {
    let upstreams = upstreams(3);
    let (_qcc, client) = started(&cluster(&upstreams));
    let before = places(&client).await;
    let session = session_at(&client, "a").await;
    upstreams[0].set(llm::on_post(llm::always(500)));
    let moved = served_by(&client, &session).await;
    assert_ne!(moved, "a");
    upstreams[0].set(llm::healthy);
    for (other, home) in places(&client).await {
        let expected = if other == session { &moved } else { &before[&other] };
        assert_eq!(home, *expected, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_endpoint_would_serve_moves_no_session() {
    let upstreams = upstreams(3);
    let (_qcc, client) = started(&cluster(&upstreams));
    let session = session_at(&client, "a").await;
    for upstream in &upstreams {
        upstream.set(llm::on_post(llm::always(500)));
    }
    assert_eq!(ask(&client, &session).await.status, 500);
    for upstream in &upstreams {
        upstream.set(llm::healthy);
    }
    ask(&client, &session).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_leaves_the_second_tier_as_soon_as_the_first_is_back() {
    let upstreams = upstreams(2);
    let cluster = Cluster::tiers([Endpoint::new("a", &upstreams[0]), Endpoint::new("b", &upstreams[1])]);
    let (qcc, client) = started(&cluster);
    ask(&client, "one").await.expect_from("a");
    qcc.command("disable", "a");
    ask(&client, "one").await.expect_from("b");
    qcc.command("enable", "a");
    ask(&client, "one").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_homes_and_moves_and_a_restart_keeps_homes() {
    let upstreams = upstreams(4);
    let cluster = cluster(&upstreams);
    let (qcc, client) = started(&cluster);
    let homes = places(&client).await;
    let leaver = homes["session-0"].clone();
    qcc.command("disable", &leaver);
    let moved = places(&client).await;
    qcc.command("enable", &leaver);

    qcc.home().write_config(&cluster.line("drain_timeout = '7s'").render());
    qcc.sighup();
    eventually("the reload is logged", || qcc.stderr().contains("the configuration was reloaded")).await;
    assert_eq!(places(&client).await, moved);

    let restarted = qcc.into_home().start();
    assert_eq!(places(&Client::of(&restarted)).await, homes);
}
