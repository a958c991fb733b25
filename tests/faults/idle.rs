//! A kept connection that the upstream closes at the very moment at which the next request is sent on it. Whoever is
//! first, the request is accepted once: by the same endpoint without counting another attempt where nothing was
//! written, by another endpoint where something was.

use super::kinds::Kind;
use super::rig::{Billing, Rig};
use super::support::Gate;
use super::support::faults::Act;

const ROUNDS: usize = 200;

fn answer() -> Act {
    Act::Send(Kind::Messages.scene(Kind::Messages.usual(), "a").bytes)
}

/// How often the request went to a new connection of `a`, and how often to `b`.
#[derive(Debug, Default)]
struct Went {
    replaced: usize,
    moved: usize,
}

impl Went {
    async fn ask(&mut self, rig: &Rig, id: &str, billing: Billing) {
        let reply = rig.ask(Kind::Messages, id).await;
        let header = |name| reply.head.header(name);
        let accepted = (rig.a.accepted(id), rig.b.accepted(id));
        match (reply.status(), header("x-qcc-endpoint"), billing) {
            (200, Some("a"), _) => {
                assert_eq!((accepted, header("x-qcc-attempts")), ((1, 0), Some("1")), "{id}");
                self.replaced += 1;
            }
            (200, Some("b"), Billing::PerToken) => {
                assert_eq!((accepted, header("x-qcc-attempts")), ((0, 1), Some("2")), "{id}");
                self.moved += 1;
            }
            (502, None, Billing::PerRequest) => {
                assert_eq!((accepted, header("x-qcc-error")), ((0, 0), Some("upstream_lost")), "{id}");
                self.moved += 1;
            }
            other => panic!("{id}: {other:?}"),
        }
        assert!(rig.a.taken(id).len() <= 1, "sent twice: {id}");
    }
}

async fn race(end: Act, billing: Billing) {
    let rig = Rig::start(false, billing, |cluster| cluster);
    let mut went = Went::default();
    for round in 0..ROUNDS {
        rig.earn_retries(1).await;
        let gate = Gate::new("the end of an idle connection");
        let first = format!("first-{round}");
        rig.a.script(&first, [Act::Read, answer(), Act::Wait(gate.clone()), end.clone()]);
        let reply = rig.ask(Kind::Messages, &first).await;
        assert_eq!(reply.head.header("x-qcc-endpoint"), Some("a"));
        gate.arrived(1).await;
        // It closes and is written to at once.
        gate.open();
        went.ask(&rig, &format!("second-{round}"), billing).await;
    }
    assert_eq!(went.replaced + went.moved, ROUNDS);
    println!("{billing:?}: {went:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_while_it_is_written_to_never_gets_a_request_accepted_twice() {
    for billing in [Billing::PerToken, Billing::PerRequest] {
        race(Act::Die, billing).await;
        race(Act::Reset, billing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_closes_after_some_requests_without_a_word_gets_each_once() {
    for allowed in 1..=3 {
        let rig = Rig::start(false, Billing::PerToken, |cluster| cluster);
        let mut went = Went::default();
        for round in 0..ROUNDS / 3 {
            rig.earn_retries(1).await;
            let id = format!("round-{round}");
            let is_last = round % allowed == allowed - 1;
            let end = if is_last { vec![Act::Read, answer(), Act::Die] } else { vec![Act::Read, answer()] };
            rig.a.script(&id, end);
            went.ask(&rig, &id, Billing::PerToken).await;
        }
        println!("closed after {allowed}: {went:?}");
    }
}
