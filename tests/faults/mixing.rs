//! Nothing of one exchange reaches another: many clients at once, each on a connection of its own that it keeps, before
//! an upstream that answers well, breaks and lies by turns. Each answer says whose it is.

use std::sync::Arc;

use super::kinds::Kind;
use super::rig::{Billing, Rig};
use super::support::client::BodyEnd;
use super::support::faults::{Act, Delimited};
use super::support::{Gate, Raw};

const CLIENTS: usize = 10;
const REQUESTS: usize = 60;

const KINDS: [Kind; 2] = [Kind::Messages, Kind::MessagesStreamed];

/// What the upstream does with a request, drawn by lot.
fn drawn(lots: &mut fastrand::Rng, kind: Kind, id: &str) -> Vec<Act> {
    let delimited = if lots.bool() { Delimited::Length } else { Delimited::Chunks };
    let answer = kind.scene(delimited, &format!("a {id}")).bytes;
    let poison = kind.scene(delimited, "POISON").bytes;
    let cut = answer[..lots.usize(..answer.len())].to_vec();
    let mut acts = vec![Act::Read];
    acts.extend(match lots.usize(..10) {
        0 => vec![Act::Send([answer, poison].concat())],
        1 => vec![Act::Send([answer, poison].concat()), Act::Die],
        2 => vec![Act::Send(cut), Act::Die],
        3 => vec![Act::Send(cut), Act::Reset],
        4 => vec![Act::Send(cut), Act::HalfClose],
        5 => vec![Act::Send(answer), Act::Die],
        6 => vec![Act::Trickle(answer, 16, std::time::Duration::from_micros(50))],
        _ => vec![Act::Send(answer)],
    });
    acts
}

async fn client(rig: Arc<Rig>, number: usize, seed: u64) {
    let mut lots = fastrand::Rng::with_seed(seed + number as u64);
    let mut raw = Raw::connect(rig.qcc.address()).await;
    for request in 0..REQUESTS {
        let (kind, id) = (KINDS[lots.usize(..2)], format!("client-{number}-request-{request}"));
        rig.earn_retries(1).await;
        rig.a.script(&id, drawn(&mut lots, kind, &id));
        raw.send(rig.request(kind, &id)).await;
        let reply = raw.read_reply().await.unwrap_or_else(|| panic!("{id}: no head"));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let own = kind.scene(kind.usual(), &format!("a {id}")).body;
        let of_b = kind.scene(kind.usual(), "b").body;
        match (reply.head.header("x-qcc-endpoint"), &reply.end) {
            (Some("a"), BodyEnd::Clean) => assert!(reply.body == own, "{id}: {text}"),
            (Some("a"), BodyEnd::Broken) => {
                assert!(own.starts_with(&reply.body), "{id}: {text}");
                raw = Raw::connect(rig.qcc.address()).await;
            }
            (Some("b"), BodyEnd::Clean) => assert!(reply.body == of_b, "{id}: {text}"),
            other => panic!("{id}: {other:?} {} {text}", reply.status()),
        }
        assert!(rig.a.taken(&id).len() <= 1 && rig.b.taken(&id).len() <= 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_gets_its_own_answer_or_a_part_of_it_whatever_the_upstream_does() {
    let seed =
        std::env::var("QCC_SEED").map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().unwrap());
    println!("QCC_SEED={seed}");
    let rig = Arc::new(Rig::start(false, Billing::PerToken, |cluster| cluster));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(rig.clone(), number, seed));
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!((rig.a.accepted_twice(), rig.b.accepted_twice()), (Vec::new(), Vec::new()));
}

/// What is left of an answer that nobody waits for any more goes down with its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_an_answer_whose_client_left_reaches_nobody() {
    let rig = Rig::start(false, Billing::PerToken, |cluster| cluster);
    for kind in KINDS {
        for delimited in [Delimited::Length, Delimited::Chunks] {
            for round in 0..20 {
                let (id, next) = (
                    format!("{kind:?}-{delimited:?}-{round}"),
                    format!("next-{kind:?}-{delimited:?}-{round}"),
                );
                let gate = Gate::new("the client has left");
                let scene = kind.scene(delimited, &format!("a {id}"));
                let (shown, rest) = scene.bytes.split_at(scene.committed_at);
                let shown_bytes = Act::Send(shown.to_vec());
                // All but its last byte: whole, it might be read before it is known that the client has left.
                let rest = Act::Send(rest[..rest.len() - 1].to_vec());
                rig.a.script(&id, [Act::Read, shown_bytes, Act::Pause(gate.clone()), rest, Act::Hush]);
                let mut raw = rig.send(kind, &id).await;
                raw.read_head().await.expect("a head");
                gate.arrived(1).await;
                drop(raw);
                gate.open();
                let reply = rig.ask(kind, &next).await;
                let own = kind.scene(kind.usual(), "a").body;
                assert!(reply.body == own && reply.end == BodyEnd::Clean, "{next}: {reply:?}");
                let (left, asked) = (rig.a.taken(&id), rig.a.taken(&next));
                assert_ne!(left[0].connection.number, asked[0].connection.number, "{next}");
            }
        }
    }
}
