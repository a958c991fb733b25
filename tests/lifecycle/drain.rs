//! SIGTERM under load.

use std::time::Duration;

use tokio::net::TcpStream;

use super::support::{Client, Gate, Http2Client, Qcc, Upstream, eventually, within};
use super::{one, streams_with_a_pause, whole_stream};

/// Half of them HTTP/1.1, half HTTP/2.
const STREAMS: usize = 50;

async fn streaming(qcc: &Qcc, gate: &Gate) -> Vec<tokio::task::JoinHandle<super::support::Reply>> {
    let (http1, http2) = (Client::of(qcc), Http2Client::connect(qcc.address()).await);
    let streams = (0..STREAMS).map(|number| match number % 2 {
        0 => http2.asking_streamed(&format!("number {number}")),
        _ => {
            let client = http1.clone();
            tokio::spawn(async move { client.ask_streamed(&format!("number {number}")).await })
        }
    });
    let streams = streams.collect();
    gate.arrived(STREAMS).await;
    streams
}

async fn refuses(address: &str) {
    within("new connections are refused", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_streams_end_whole_after_a_sigterm_and_the_exit_is_clean() {
    let gate = Gate::new("rest of the streams");
    let a = Upstream::start(streams_with_a_pause(&gate));
    let mut qcc = Qcc::start(&one(&a));
    let streams = streaming(&qcc, &gate).await;
    qcc.sigterm();
    refuses(qcc.address()).await;
    assert_eq!(qcc.status()["endpoints"][0]["in_flight"], STREAMS, "the operator sees the drain");
    gate.open();
    for stream in streams {
        assert_eq!(stream.await.unwrap().expect_from("a").text(), whole_stream());
    }
    assert_eq!(qcc.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_at_the_end_of_the_drain_is_aborted_and_never_looks_ended() {
    let gate = Gate::new("never opened");
    let a = Upstream::start(streams_with_a_pause(&gate));
    let mut qcc = Qcc::start(&one(&a).line("drain_timeout = '300ms'"));
    let streams = streaming(&qcc, &gate).await;
    qcc.sigterm();
    assert_eq!(qcc.wait(), Some(0));
    for stream in streams {
        let reply = stream.await.unwrap();
        assert!(!reply.whole && !reply.text().contains("message_stop"), "{reply:?}");
    }
    eventually("the upstream is let go", || a.users().iter().all(|user| user.was_abandoned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_does_not_wait_for_streams_nor_for_a_secret_that_is_being_fetched() {
    let gate = Gate::new("never opened");
    let a = Upstream::start(streams_with_a_pause(&gate));
    let cluster = one(&a).line("drain_timeout = '10m'");
    let mut qcc = Qcc::start(&cluster);
    let streams = streaming(&qcc, &gate).await;
    // A command for a key, as a password manager's, that waits for somebody.
    let command = "touch begun; exec sleep 600";
    let mut slow = cluster.clone();
    slow.endpoints[0] =
        slow.endpoints[0].clone().line(&format!("api_key = {{ command = ['sh', '-c', '{command}'] }}"));
    qcc.home().write_config(&slow.render());
    qcc.sighup();
    let begun = qcc.home().path("begun");
    eventually("the command runs", || begun.exists()).await;
    qcc.sigterm();
    refuses(qcc.address()).await;
    qcc.sigterm();
    assert_eq!(qcc.wait(), Some(0));
    for stream in streams {
        assert!(!stream.await.unwrap().whole);
    }
}
