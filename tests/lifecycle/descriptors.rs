//! Descriptors used up: the program waits, and says nothing of endpoints.

use std::time::Duration;

use tokio::net::TcpStream;

use super::support::proxy::Home;
use super::support::under::{computed_ticks, descriptors};
use super::support::{Client, Gate, Http2Client, Upstream, eventually, exchange, never_within};
use super::{one, streams_with_a_pause, two};

/// 16 clients, 16 connections to upstreams, 32 for all else.
const LIMIT: &str = "ulimit -n 64";
const CLIENTS_MAX: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_beyond_the_limit_wait_and_are_served_when_others_leave() {
    let a = Upstream::healthy();
    let qcc = Home::new(&one(&a).timeouts("client_header = '10m'")).start_under(LIMIT);
    let mut idle = Vec::new();
    for _ in 0..4 * CLIENTS_MAX {
        idle.push(TcpStream::connect(qcc.address()).await.unwrap());
    }
    eventually("it says that it is full", || qcc.stderr().contains("limit on open files")).await;
    let client = Client::of(&qcc);
    let waiting = client.asking("in the queue");

    let before = computed_ticks(qcc.pid());
    never_within("an answer without a place", Duration::from_millis(500), || waiting.is_answered()).await;
    let busy = computed_ticks(qcc.pid()) - before;
    println!("computed for {} ms in 500 ms of exhaustion", busy * 10);
    assert!(busy < 25, "it is busy with waiting: {busy} ticks");
    assert!(descriptors(qcc.pid()) <= 64);
    let status = qcc.status();
    assert_eq!(status["endpoints"][0]["state"], "healthy", "{status:#}");

    drop(idle);
    waiting.reply().await.expect_from("a");
    for _ in 0..2 * CLIENTS_MAX {
        client.ask("served again").await.expect_from("a");
    }
    assert_eq!(qcc.stderr().matches("limit on open files").count(), 1, "{}", qcc.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_short_here_benches_nobody_and_the_client_is_told_to_come_again() {
    let gate = Gate::new("answers");
    let (a, b) = (Upstream::start(streams_with_a_pause(&gate)), Upstream::start(streams_with_a_pause(&gate)));
    let qcc = Home::new(&two(&a, &b)).start_under(LIMIT);
    // One connection of a client's, and more requests than there can be connections to upstreams.
    let client = Http2Client::connect(qcc.address()).await;
    let mut served: Vec<_> =
        (0..CLIENTS_MAX).map(|number| client.asking_streamed(&format!("first {number}"))).collect();
    gate.arrived(CLIENTS_MAX).await;
    for number in 0..CLIENTS_MAX {
        let reply = client.ask(&format!("one too many {number}")).await;
        assert_eq!((reply.status, reply.own_error()), (529, Some("no_connection")), "{reply:?}");
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), (Some("1"), Some("true")));
        assert!(reply.text().contains("open files"), "{}", reply.text());
    }
    let status = qcc.status();
    for endpoint in status["endpoints"].as_array().unwrap() {
        assert_eq!(endpoint["state"], "healthy", "{status:#}");
        assert_eq!(
            (&endpoint["failures"], &endpoint["requests"]["failed"]),
            (&0.into(), &0.into()),
            "{status:#}"
        );
    }
    assert!(descriptors(qcc.pid()) <= 64);
    assert_eq!(
        qcc.stderr().matches("can't open a connection").count(),
        2,
        "once an endpoint: {}",
        qcc.stderr()
    );

    gate.open();
    for served in served.drain(..) {
        assert_eq!(served.await.unwrap().expect_from("a").text(), super::whole_stream());
    }
    client.ask("served again").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_to_one_upstream_make_room_for_another() {
    let gate = Gate::new("answers");
    let (a, b) = (Upstream::start(streams_with_a_pause(&gate)), Upstream::healthy());
    let qcc = Home::new(&two(&a, &b)).start_under(LIMIT);
    let client = Http2Client::connect(qcc.address()).await;
    let held: Vec<_> = (0..CLIENTS_MAX).map(|number| client.asking_streamed(&format!("{number}"))).collect();
    gate.arrived(CLIENTS_MAX).await;
    gate.open();
    for held in held {
        held.await.unwrap().expect_from("a");
    }
    // All places are now idle connections to `a`.
    qcc.command("disable", "a");
    client.ask("elsewhere").await.expect_from("b");
    let reply = exchange(Client::of(&qcc).get("/livez")).await;
    assert_eq!(reply.status, 200);
}
