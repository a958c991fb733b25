//! Each event reaches the client when it comes: the next is sent only once the client has the one before,
//! so that whoever held one back would wait for good.

use std::time::{Duration, Instant};

use super::protocols::{ALL, Mode, Protocol};
use super::rig::Rig;
use super::support::client::BodyEnd;
use super::support::{Answer, Gate};

/// Of the contract: how long an event may take from its arrival to the client.
const FORWARDED_WITHIN: Duration = Duration::from_millis(5);
const EVENTS: usize = 200;

/// The time from the moment an event may be sent until the client has all of it, for each event after the
/// first content, sorted. It holds both hops and the upstream's own waking, so it is no less than what the
/// program takes.
async fn delays(protocol: Protocol) -> Vec<Duration> {
    let pieces: Vec<String> = (0..EVENTS).map(|number| format!("piece-{number}")).collect();
    let events = protocol.events(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
    let gate = Gate::new("the next event");
    let (held, all) = (gate.clone(), events.clone());
    let begun = protocol.events_before_content() + 1;
    let posts = move |_: &_| {
        all[begun..]
            .iter()
            .fold(Answer::events(&all[..begun]), |answer, event| answer.wait(&held).chunk(event.as_str()))
    };
    let rig = Rig::start(protocol, posts, |cluster| cluster);
    let mut raw = rig.send("prompt", Mode::Streamed).await;
    let head = raw.read_head().await.expect("a head");
    let mut length = events[..begun].concat().len();
    assert!(raw.await_body(length).await);
    let mut delays = Vec::new();
    for event in &events[begun..] {
        length += event.len();
        let sent = Instant::now();
        gate.release(1);
        assert!(raw.await_body(length).await, "{event}");
        delays.push(sent.elapsed());
    }
    let (body, end) = raw.read_body(&head).await;
    assert_eq!((String::from_utf8_lossy(&body), end), (events.concat().into(), BodyEnd::Clean));
    delays.sort_unstable();
    delays
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_forwarded_before_the_next_is_sent_and_within_5_ms() {
    for protocol in ALL {
        let delays = delays(protocol).await;
        let at = |share: usize| delays[(delays.len() - 1) * share / 100];
        println!(
            "{protocol:?}: {} events, median {:?}, p99 {:?}, longest {:?}",
            delays.len(),
            at(50),
            at(99),
            at(100)
        );
        assert!(at(50) <= FORWARDED_WITHIN, "{protocol:?}: the median is {:?}", at(50));
    }
}
