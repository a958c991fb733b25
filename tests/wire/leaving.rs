//! Clients that go away, in each phase: the exchange upstream is closed within 250 ms, and it is nobody's
//! failure.

use std::time::{Duration, Instant};

use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::rig::Rig;
use super::support::{Answer, Gate, Recorded, eventually};

/// Of the contract: how soon an exchange is closed whose client went away.
const CANCELLED_WITHIN: Duration = Duration::from_millis(250);

/// Where in the exchange the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    BeforeTheHead,
    /// The head and events without content have come, and are held.
    Held,
    AfterContent,
}

fn answer(protocol: Protocol, mode: Mode, phase: Phase, gate: &Gate) -> Answer {
    let events = match mode {
        Mode::Streamed => protocol.events(&["of-a", "never"]),
        Mode::Whole => {
            let whole = protocol.answer("of-a").to_string();
            let (start, rest) = whole.split_at(whole.len() - 2);
            vec!["{".into(), start[1..].to_owned(), rest.to_owned()]
        }
    };
    let shown = match (phase, mode) {
        (Phase::BeforeTheHead, _) => return Answer::events(events).after(gate),
        (Phase::Held, _) => 1,
        (Phase::AfterContent, Mode::Streamed) => protocol.events_before_content() + 1,
        (Phase::AfterContent, Mode::Whole) => 2,
    };
    let kind = if mode == Mode::Streamed { "text/event-stream" } else { "application/json" };
    let begun = events[..shown]
        .iter()
        .fold(Answer::new(200).header("content-type", kind).chunked(), |answer, event| {
            answer.chunk(event.as_str())
        });
    begun.wait(gate).chunk(events[shown..].concat())
}

async fn leave(protocol: Protocol, mode: Mode, phase: Phase) -> Duration {
    let what = format!("{protocol:?} {mode:?} {phase:?}");
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let rig =
        Rig::start(protocol, move |_: &Recorded| answer(protocol, mode, phase, &held), |cluster| cluster);
    let before = rig.status("a").await;
    let mut raw = rig.send("leaving", mode).await;
    gate.arrived(1).await;
    if phase == Phase::AfterContent {
        assert!(raw.read_until("of-a").await, "{what}");
    }
    let left = Instant::now();
    drop(raw);
    eventually("the upstream sees it", || rig.a.users()[0].was_abandoned()).await;
    let took = left.elapsed();
    assert!(took <= CANCELLED_WITHIN, "{what}: cancelled after {took:?}");
    let after = rig.settled("a", 1).await;
    for field in ["state", "cause", "failures", "epoch", "level", "cooldown_until", "last_error"] {
        assert_eq!(after[field], before[field], "{what}: {field}");
    }
    // What had passed at its content stays passed.
    let counted = if phase == Phase::AfterContent && mode == Mode::Streamed { "passed" } else { "neutral" };
    assert_eq!(after["requests"][counted], 1, "{what}: {after:#}");
    assert_eq!(rig.b.users().len(), 0, "{what}");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_its_exchange_within_250_ms_and_fails_nobody() {
    let mut longest = Duration::ZERO;
    for protocol in ALL {
        for mode in BOTH {
            for phase in [Phase::BeforeTheHead, Phase::Held, Phase::AfterContent] {
                longest = longest.max(leave(protocol, mode, phase).await);
            }
        }
    }
    println!("the slowest of 18 exchanges was cancelled after {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_for_an_endpoint_sends_nothing() {
    let rig = Rig::start(Protocol::Messages, |_| Answer::new(500), |cluster| cluster);
    for name in ["a", "b"] {
        rig.qcc.command("drain", name);
    }
    let waiting = rig.send("waiting", Mode::Whole).await;
    drop(waiting);
    // On another connection afterwards, so that the first is known to have been seen.
    let second = rig.send("the second", Mode::Whole).await;
    for name in ["b", "a"] {
        rig.qcc.command("enable", name);
    }
    let mut second = second;
    assert_eq!(second.read_reply().await.unwrap().status(), 200);
    assert!(rig.a.users().iter().chain(&rig.b.users()).all(|request| request.says("the second")));
}
