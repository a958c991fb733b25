//! What the program lives through: what it needs runs out, clients come slowly and leave early, it is told to
//! change, to stop, or is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod descriptors;
mod disk;
mod drain;
mod killed;
mod leaving;
mod log;
mod many;
mod reload;
mod slow;

use support::llm::EVENTS_BEFORE_CONTENT;
use support::{Answer, Cluster, Endpoint, Gate, Recorded, Upstream, llm};

fn one(a: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", a)])
}

fn two(a: &Upstream, b: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", a), Endpoint::new("b", b)])
}

/// The texts of a stream that [`streams_with_a_pause`] answers with.
const PIECES: [&str; 2] = ["before the pause", "after the pause"];

/// Streams show their first content and wait at the gate; anything else is answered at once.
fn streams_with_a_pause(gate: &Gate) -> impl Fn(&Recorded) -> Answer + Send + Sync + 'static {
    let gate = gate.clone();
    llm::on_post(move |request| match request.json()["stream"] == true {
        false => llm::healthy(request),
        true => {
            let events = llm::message_events(&PIECES);
            let (shown, rest) = events.split_at(EVENTS_BEFORE_CONTENT + 1);
            rest.iter().fold(Answer::events(shown).wait(&gate), |answer, event| answer.chunk(event.as_str()))
        }
    })
}

/// What such a stream says.
fn whole_stream() -> String {
    llm::message_events(&PIECES).concat()
}
