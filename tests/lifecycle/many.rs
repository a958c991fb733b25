//! A thousand streams at once.

use super::support::under::{descriptors, memory_kib, raise_limit};
use super::support::{Client, Gate, Http2Client, Qcc, Upstream, eventually};
use super::{one, streams_with_a_pause, whole_stream};

const STREAMS: usize = 1000;
/// Streams of HTTP/2 a connection.
const SHARED_BY: usize = 50;
/// Idle connections to an upstream that are kept.
const KEPT_MAX: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_at_once_are_all_whole_and_leave_nothing_behind() {
    raise_limit();
    let gate = Gate::new("rest of the streams");
    let a = Upstream::start(streams_with_a_pause(&gate));
    let qcc = Qcc::start(&one(&a));
    let client = Client::of(&qcc);
    client.ask("warm").await.expect_from("a");
    let (files_before, memory_before) = (descriptors(qcc.pid()), memory_kib(qcc.pid()));
    let mut streams = Vec::new();
    for number in 0..STREAMS / 2 {
        // A client each, so that none waits for a connection of another's.
        let client = Client::of(&qcc);
        streams.push(tokio::spawn(async move { client.ask_streamed(&format!("one {number}")).await }));
    }
    for _ in 0..STREAMS / 2 / SHARED_BY {
        let http2 = Http2Client::connect(qcc.address()).await;
        streams.extend((0..SHARED_BY).map(|number| http2.asking_streamed(&format!("two {number}"))));
    }
    gate.arrived(STREAMS).await;
    let (files, memory) = (descriptors(qcc.pid()), memory_kib(qcc.pid()));
    let a_stream_kib = (memory - memory_before) as f64 / STREAMS as f64;
    println!(
        "{STREAMS} streams: {files} descriptors, {memory_before} KiB before, {memory} KiB, {a_stream_kib:.1} KiB a stream"
    );
    assert!(memory - memory_before < 100 * 1024, "{memory} KiB");
    client.ask("beside them").await.expect_from("a");
    gate.open();
    for stream in streams {
        assert_eq!(stream.await.unwrap().expect_from("a").text(), whole_stream());
    }
    eventually("descriptors are given back", || descriptors(qcc.pid()) <= files_before + KEPT_MAX).await;
    let endpoint = qcc.endpoint_when("a", "is at rest", |a| a["in_flight"] == 0).await;
    assert_eq!(endpoint["requests"]["passed"], STREAMS + 2, "{endpoint:#}");
    println!("afterwards {} descriptors, {} KiB", descriptors(qcc.pid()), memory_kib(qcc.pid()));
}
