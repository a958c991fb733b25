//! An upstream that dies within a request: at every byte of its head and at some of a body of 200 KB, on a connection
//! made for it and on a kept one. It never gets that request again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kinds::Kind;
use super::rig::{Billing, KINDS, Rig, well};
use super::support::client::{BodyEnd, raw_request};
use super::support::faults::{Act, Delimited, Ended, Faulty};
use super::support::{Raw, eventually};

/// Where and how the upstream dies within the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    at: usize,
    resets: bool,
    /// Whether the connection had a request before.
    kept: bool,
}

const NONE: usize = usize::MAX;

/// The upstream `a` and what tells it where to die.
struct Dying {
    rig: Rig,
    at: Arc<AtomicUsize>,
    resets: Arc<AtomicUsize>,
}

impl Dying {
    fn start(billing: Billing) -> Self {
        let (at, resets) = (Arc::new(AtomicUsize::new(NONE)), Arc::<AtomicUsize>::default());
        let a = Faulty::start(well(KINDS, "a"));
        let (next, resetting) = (at.clone(), resets.clone());
        // Asked once the first byte of a request is there, so that an idle connection waits for its orders.
        a.before(move |_, _| {
            let (next, resetting) = (next.clone(), resetting.clone());
            vec![
                Act::ReadTo(1),
                Act::Ask(Arc::new(move || match next.swap(NONE, Ordering::SeqCst) {
                    NONE => Vec::new(),
                    at if resetting.load(Ordering::SeqCst) == 1 => vec![Act::ReadTo(at), Act::Reset],
                    at => vec![Act::ReadTo(at), Act::Die],
                })),
            ]
        });
        Self { rig: Rig::over(a, false, billing, |cluster| cluster), at, resets }
    }

    fn request(&self, id: &str, body: &str) -> Vec<u8> {
        let target = format!("/v1/messages?shot={id}");
        let headers = ["content-type: application/json", "x-api-key: client-key", "x-kind: messages"];
        raw_request("POST", &target, self.rig.qcc.address(), &headers, body.as_bytes())
    }

    async fn good(&self) -> usize {
        let reply = self.rig.ask(Kind::Messages, "").await;
        assert_eq!(reply.head.header("x-qcc-endpoint"), Some("a"));
        self.rig.a.taken("").last().unwrap().connection.number
    }

    async fn check(&self, cut: Cut, body: &str, billing: Billing, number: usize) {
        let id = format!("cut-{number}");
        let (a, b) = (&self.rig.a, &self.rig.b);
        self.rig.earn_retries(1).await;
        // A success ends the row of failures, and leaves a connection.
        let kept = self.good().await;
        if !cut.kept {
            let last = Kind::Messages.scene(Delimited::Close, "a").bytes;
            a.script("last", [Act::Read, Act::Send(last), Act::Die]);
            assert_eq!(self.rig.ask(Kind::Messages, "last").await.head.header("x-qcc-endpoint"), Some("a"));
        }
        let before = a.connections().len();
        self.resets.store(usize::from(cut.resets), Ordering::SeqCst);
        self.at.store(cut.at, Ordering::SeqCst);
        let mut raw = Raw::connect(self.rig.qcc.address()).await;
        raw.send(self.request(&id, body)).await;
        let reply = raw.read_reply().await.expect("a reply");
        let what = format!("{cut:?} {billing:?}");
        let header = |name| reply.head.header(name);
        assert_eq!(reply.end, BodyEnd::Clean, "{what}");
        match billing {
            Billing::PerToken => {
                let told = (reply.status(), header("x-qcc-endpoint"), header("x-qcc-attempts"));
                assert_eq!(told, (200, Some("b"), Some("2")), "{what}");
                assert_eq!(reply.body, Kind::Messages.scene(Kind::Messages.usual(), "b").body, "{what}");
            }
            Billing::PerRequest => {
                let told = (reply.status(), header("x-qcc-error"), header("x-qcc-attempts"));
                assert_eq!(told, (502, Some("upstream_lost"), Some("1")), "{what}");
            }
        }
        assert_eq!(a.accepted(&id), 0, "{what}");
        assert_eq!(b.accepted(&id), usize::from(billing == Billing::PerToken), "{what}");
        // The one connection that died, and none after it.
        let connections = a.connections();
        let died = if cut.kept { &connections[kept] } else { &connections[before] };
        eventually("the ledger has its end", || died.end().is_some()).await;
        let ended = if cut.resets { Ended::Reset } else { Ended::Died };
        assert_eq!(died.end().map(|(how, _)| how), Some(ended), "{what}");
        assert_eq!(connections.len(), before + usize::from(!cut.kept), "{what}");
    }
}

async fn cut(billing: Billing, positions: impl Fn(usize, usize) -> Vec<usize>, body: &str) {
    let dying = Dying::start(billing);
    dying.good().await;
    // What the program writes is not what its client has written: the length of its head is that of a good one.
    let id = "cut-0000";
    let mut raw = Raw::connect(dying.rig.qcc.address()).await;
    raw.send(dying.request(id, body)).await;
    assert_eq!(raw.read_reply().await.expect("a reply").status(), 200);
    let head = dying.rig.a.taken(id)[0].head.bytes.len();
    let mut cuts = 0;
    for (number, at) in positions(head, head + body.len()).into_iter().enumerate() {
        for (resets, kept) in [(false, false), (false, true), (true, false), (true, true)] {
            let cut = Cut { at, resets, kept };
            dying
                .check(cut, body, billing, 1000 + 4 * number + usize::from(resets) * 2 + usize::from(kept))
                .await;
            cuts += 1;
        }
    }
    println!("{billing:?}: {cuts} cuts of requests of {} bytes", head + body.len());
    assert_eq!(
        (dying.rig.a.accepted_twice(), dying.rig.b.accepted_twice()),
        (vec!["last".to_owned()], Vec::new())
    );
}

fn small() -> &'static str {
    Kind::Messages.request()
}

fn large() -> String {
    format!(r#"{{"model":"claude-1","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(200_000))
}

/// The last byte that may be missing: with it the request would have been accepted.
fn every_byte(_: usize, end: usize) -> Vec<usize> {
    (1..end).collect()
}

fn sampled(head: usize, end: usize) -> Vec<usize> {
    let body = end - head;
    let parts = (1..16).map(|part| head + body * part / 16);
    [1, head - 1, head, head + 1].into_iter().chain(parts).chain([end - 1]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cut_at_any_byte_is_served_elsewhere_once() {
    cut(Billing::PerToken, every_byte, small()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_cut_anywhere_is_served_elsewhere_once() {
    cut(Billing::PerToken, sampled, &large()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_have_been_billed_is_sent_nowhere_else_wherever_it_is_cut() {
    cut(Billing::PerRequest, |head, end| (1..end).step_by(7).chain([head, end - 1]).collect(), small()).await;
    cut(Billing::PerRequest, sampled, &large()).await;
}
