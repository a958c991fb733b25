//! An overload announced within a stream, at every boundary of its events: before content the request
//! moves on, after it what came is forwarded, the error with it, and then no end.

use std::sync::{Arc, Mutex};

use super::differences::seconds_from_now;
use super::protocols::{ALL, Mode, Protocol};
use super::rig::{OF_B, Rig};
use super::support::client::BodyEnd;
use super::support::{Answer, End, Recorded};

/// The events up to a boundary, then the error.
fn stream(protocol: Protocol, events: usize) -> Vec<String> {
    let mut stream = protocol.events(&["of-a", "more-of-a"]);
    stream.truncate(events);
    stream.push(protocol.error_event(protocol.overload(), "busy"));
    stream
}

/// What the network makes of the events.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    EachOfItsOwn,
    AllInOne,
}

struct Overloads {
    rig: Rig,
    next: Arc<Mutex<Option<(usize, Pieces, End)>>>,
}

impl Overloads {
    fn start(protocol: Protocol) -> Self {
        let next: Arc<Mutex<Option<(usize, Pieces, End)>>> = Arc::default();
        let armed = Arc::clone(&next);
        let posts = move |request: &Recorded| match armed.lock().unwrap().take() {
            Some((events, pieces, end)) => match pieces {
                Pieces::EachOfItsOwn => Answer::events(stream(protocol, events)),
                Pieces::AllInOne => Answer::events([stream(protocol, events).concat()]),
            }
            .ending(end),
            None => protocol.well(Mode::of(request), "of-a"),
        };
        Self { rig: Rig::start(protocol, posts, |cluster| cluster), next }
    }

    async fn check(&self, events: usize, pieces: Pieces, end: End) {
        let (rig, protocol) = (&self.rig, self.rig.protocol);
        let what = format!("{protocol:?}: after {events} events, {pieces:?}, then {end:?}");
        let (at_b, before) = (rig.b.users().len(), rig.status("a").await);
        *self.next.lock().unwrap() = Some((events, pieces, end));
        let reply = rig.ask("overloaded", Mode::Streamed).await;
        let text = String::from_utf8_lossy(&reply.body);
        let header = |name| reply.head.header(name);
        if events > protocol.events_before_content() {
            let came = stream(protocol, events).concat();
            assert!(reply.body == came.as_bytes(), "what came, and nothing of our own: {what}: {text}");
            assert_eq!((&reply.end, header("x-qcc-endpoint")), (&BodyEnd::Broken, Some("a")), "{what}");
            assert_eq!(rig.b.users().len(), at_b, "{what}");
        } else {
            let expected = protocol.well_body(Mode::Streamed, OF_B);
            assert!(reply.body == expected, "{what}: {text}");
            assert_eq!((&reply.end, header("x-qcc-endpoint")), (&BodyEnd::Clean, Some("b")), "{what}");
            assert_eq!(header("x-qcc-attempts"), Some("2"), "{what}");
        }
        let after = rig.status_when("a", "has its verdict", |a| a["in_flight"] == 0).await;
        for field in ["state", "cause", "epoch", "level"] {
            assert_eq!(after[field], before[field], "{what}: {field}");
        }
        assert_eq!(after["failures"], 0, "{what}");
        let neutral = |status: &serde_json::Value| status["requests"]["neutral"].as_u64();
        assert_eq!(neutral(&after), neutral(&before).map(|count| count + 1), "{what}");
        assert!(after["last_error"].as_str().is_some_and(|text| text.contains("busy")), "{what}: {after:#}");
        // A success ends the doubling, so that the next cooldown is a first one again.
        let cooldown = seconds_from_now(&after["cooldown_until"]);
        assert!(cooldown.is_none_or(|seconds| seconds <= 1.0), "{what}: {cooldown:?}");
        rig.reset("a").await;
        let good = rig.ask("good", Mode::Whole).await;
        assert_eq!((good.status(), good.head.header("x-qcc-endpoint")), (200, Some("a")), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_overload_at_any_boundary_moves_on_before_content_and_aborts_after_it() {
    let mut running = tokio::task::JoinSet::new();
    for protocol in ALL {
        running.spawn(async move {
            let overloads = Overloads::start(protocol);
            // The last event is the end: after it nothing is a part of the stream.
            for events in 0..protocol.events(&["of-a", "more-of-a"]).len() {
                for end in [End::Clean, End::Fin] {
                    for pieces in [Pieces::EachOfItsOwn, Pieces::AllInOne] {
                        overloads.check(events, pieces, end).await;
                    }
                }
            }
        });
    }
    running.join_all().await;
}
