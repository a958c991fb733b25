//! The commit point of a stream: its head is held until content, for so long, and for so many bytes. Once
//! it is out, the request is never moved.

use super::protocols::{ALL, Mode, Protocol};
use super::rig::Rig;
use super::support::client::BodyEnd;
use super::support::{Answer, Cluster, End, Gate, Recorded};

/// The first event, then a wait at `gate` for all the others, of which `rest` come.
fn paused(protocol: Protocol, gate: &Gate, rest: usize, end: End) -> impl Fn(&Recorded) -> Answer + use<> {
    let (gate, events) = (gate.clone(), protocol.events(&["of-a"]));
    move |_| {
        let begun = Answer::events(&events[..1]).wait(&gate);
        events[1..].iter().take(rest).fold(begun, |answer, event| answer.chunk(event.as_str())).ending(end)
    }
}

fn commits_soon(cluster: Cluster) -> Cluster {
    cluster.line("commit_after = '150ms'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_slow_to_its_content_goes_out_as_it_stands_and_passes_at_it() {
    for protocol in ALL {
        let gate = Gate::new("the rest");
        let rig = Rig::start(protocol, paused(protocol, &gate, usize::MAX, End::Clean), commits_soon);
        let mut raw = rig.send("slow", Mode::Streamed).await;
        let head = raw.read_head().await.expect("a head before any content");
        assert_eq!((head.status(), head.header("x-qcc-endpoint")), (200, Some("a")));
        assert!(raw.await_body(protocol.events(&["of-a"])[0].len()).await, "what was held is out");
        assert_eq!(rig.status("a").await["requests"]["passed"], 0);
        gate.open();
        let (body, end) = raw.read_body(&head).await;
        assert_eq!((body, end), (protocol.well_body(Mode::Streamed, "of-a"), BodyEnd::Clean));
        assert_eq!(rig.settled("a", 1).await["requests"]["passed"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_whose_head_is_out_is_never_moved_though_no_content_came() {
    for protocol in ALL {
        for end in [End::Fin, End::Clean] {
            let gate = Gate::new("the cut");
            let posts = paused(protocol, &gate, protocol.events_before_content() - 1, end);
            let rig = Rig::start(protocol, posts, commits_soon);
            let mut raw = rig.send("slow", Mode::Streamed).await;
            let head = raw.read_head().await.expect("a head");
            gate.open();
            let (body, end) = raw.read_body(&head).await;
            let came = protocol.events(&["of-a"])[..protocol.events_before_content()].concat();
            assert_eq!((String::from_utf8_lossy(&body), end), (came.into(), BodyEnd::Broken));
            let after = rig.settled("a", 1).await;
            assert_eq!((&after["requests"]["failed"], &after["failures"]), (&1.into(), &1.into()));
            assert_eq!(rig.b.users().len(), 0, "{protocol:?}");
        }
    }
}

/// Until content `first_byte` is the limit, which may be much the longer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_was_slow_to_its_content_falls_silent_for_idle_at_most() {
    for protocol in ALL {
        let gate = Gate::new("content");
        let posts = paused(protocol, &gate, protocol.events_before_content(), End::Stall);
        let limits = |cluster: Cluster| {
            commits_soon(cluster).timeouts("idle = '250ms'").timeouts("first_byte = '10m'")
        };
        let rig = Rig::start(protocol, posts, limits);
        let mut raw = rig.send("slow", Mode::Streamed).await;
        let head = raw.read_head().await.expect("a head");
        let events = protocol.events(&["of-a"]);
        assert!(raw.await_body(events[0].len()).await);
        // The relay waits for content by now: nothing else sends the head out.
        gate.open();
        let (body, end) = raw.read_body(&head).await;
        let came = events[..=protocol.events_before_content()].concat();
        assert_eq!((String::from_utf8_lossy(&body), end), (came.into(), BodyEnd::Broken), "{protocol:?}");
        assert_eq!(rig.settled("a", 1).await["requests"]["failed"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_than_64_kib_are_held() {
    for protocol in ALL {
        let comment = format!(": {}\n\n", "x".repeat(1022));
        let held_back = comment.repeat(65);
        let gate = Gate::new("the rest");
        let (held, begun, events) = (gate.clone(), held_back.clone(), protocol.events(&["of-a"]));
        let rig = Rig::start(
            protocol,
            move |_| Answer::events([&begun]).wait(&held).chunk(events.concat()),
            |cluster| cluster.line("commit_after = '1h'"),
        );
        let mut raw = rig.send("large", Mode::Streamed).await;
        let head = raw.read_head().await.expect("a head before any content");
        assert!(raw.await_body(held_back.len()).await);
        gate.open();
        let (body, end) = raw.read_body(&head).await;
        let whole = held_back + &protocol.events(&["of-a"]).concat();
        assert!(body == whole.as_bytes() && end == BodyEnd::Clean, "{protocol:?}");
        assert_eq!(rig.settled("a", 1).await["requests"]["passed"], 1);
    }
}
