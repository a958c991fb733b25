//! An upstream that dies at every byte of its answer, the end included: before content another endpoint serves the
//! request, or none where it may have been billed; from then on the client gets a part of the answer and no end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kinds::{Kind, Scene};
use super::rig::{Billing, Rig};
use super::support::client::{BodyEnd, RawReply};
use super::support::eventually;
use super::support::faults::{Act, Delimited};

/// So many answers are cut at once; failures in a row stay below the threshold.
const AT_ONCE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Fin,
    Reset,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// The whole answer of `b`.
    Moved,
    /// No answer but that it was lost.
    Lost,
    /// A part of the answer of `a`, and no end.
    Cut,
    /// The whole answer of `a`.
    Whole,
}

static CUTS: AtomicUsize = AtomicUsize::new(0);

struct Cut<'a> {
    scene: &'a Scene,
    at: usize,
    death: Death,
    billing: Billing,
    id: String,
}

impl Cut<'_> {
    fn what(&self) -> String {
        let Scene { kind, delimited, bytes, .. } = self.scene;
        let sent = String::from_utf8_lossy(&bytes[..self.at]).into_owned();
        format!("{kind:?} {delimited:?} {:?} {:?} at {}: {sent:?}", self.death, self.billing, self.at)
    }

    fn came(&self, reply: &RawReply) -> Came {
        let (what, scene) = (self.what(), self.scene);
        let header = |name| reply.head.header(name);
        if reply.status() == 502 {
            assert_eq!((header("x-qcc-error"), header("x-qcc-attempts")), (Some("upstream_lost"), Some("1")));
            assert_eq!(reply.end, BodyEnd::Clean, "{what}");
            return Came::Lost;
        }
        assert_eq!(reply.status(), 200, "{what}");
        match header("x-qcc-endpoint") {
            Some("b") => {
                let well = scene.kind.scene(scene.kind.usual(), "b");
                assert_eq!((&reply.end, header("x-qcc-attempts")), (&BodyEnd::Clean, Some("2")), "{what}");
                assert!(reply.body == well.body, "{what}: {}", String::from_utf8_lossy(&reply.body));
                Came::Moved
            }
            Some("a") => {
                assert_eq!(header("x-qcc-attempts"), Some("1"), "{what}");
                let got = String::from_utf8_lossy(&reply.body);
                assert!(scene.body.starts_with(&reply.body), "no part of the answer: {what}: {got}");
                match reply.end {
                    BodyEnd::Broken => Came::Cut,
                    BodyEnd::Clean => {
                        let needed = scene.body.trim_ascii_end();
                        assert!(reply.body.starts_with(needed), "a cut looks like an end: {what}: {got}");
                        Came::Whole
                    }
                }
            }
            other => panic!("{what}: served by {other:?}"),
        }
    }

    /// What must become of it.
    fn expected(&self) -> &'static [Came] {
        let Scene { kind, committed_from, committed_at, .. } = *self.scene;
        let complete_at = match self.death {
            Death::Fin => Some(self.scene.closed_at),
            Death::Reset => self.scene.complete_at,
        };
        let unserved = match self.billing {
            Billing::PerRequest if !kind.is_free() => Came::Lost,
            Billing::PerRequest | Billing::PerToken => Came::Moved,
        };
        match (self.at, unserved) {
            (at, _) if complete_at.is_some_and(|complete_at| at >= complete_at) => &[Came::Whole],
            (at, _) if at >= committed_at => &[Came::Cut],
            (at, Came::Lost) if at >= committed_from => &[Came::Cut, Came::Lost],
            (at, _) if at >= committed_from => &[Came::Cut, Came::Moved],
            (_, Came::Lost) => &[Came::Lost],
            (_, _) => &[Came::Moved],
        }
    }

    async fn check(&self, rig: &Rig) {
        let end = match self.death {
            Death::Fin => Act::Die,
            Death::Reset => Act::Reset,
        };
        rig.a.script(&self.id, [Act::Read, Act::Send(self.scene.bytes[..self.at].to_vec()), end]);
        let reply = rig.ask(self.scene.kind, &self.id).await;
        let came = self.came(&reply);
        let what = self.what();
        // A whole answer may be here before its connection's end is: the next request would go out on it.
        eventually("its connection has ended", || {
            rig.a.taken(&self.id).iter().all(|taken| taken.connection.end().is_some())
        })
        .await;
        assert!(self.expected().contains(&came), "{came:?}, not {:?}: {what}", self.expected());
        assert_eq!(rig.a.accepted(&self.id), 1, "{what}");
        assert_eq!(rig.b.accepted(&self.id), usize::from(came == Came::Moved), "{what}");
    }
}

/// Every byte of the scene, some at once.
async fn cut_at_every_byte(rig: &Arc<Rig>, billing: Billing, death: Death, scene: Scene) {
    let scene = Arc::new(scene);
    let positions: Vec<usize> = (0..=scene.bytes.len()).collect();
    for batch in positions.chunks(AT_ONCE) {
        rig.earn_retries(batch.len()).await;
        let mut running = tokio::task::JoinSet::new();
        for &at in batch {
            let (rig, scene) = (Arc::clone(rig), Arc::clone(&scene));
            running.spawn(async move {
                let id = format!("cut-{}", CUTS.fetch_add(1, Ordering::Relaxed));
                Cut { scene: &scene, at, death, billing, id }.check(&rig).await;
            });
        }
        running.join_all().await;
        // A success ends the row of failures.
        let kind = if scene.kind.is_free() { Kind::Messages } else { scene.kind };
        let good = rig.ask(kind, "").await;
        assert_eq!(good.head.header("x-qcc-endpoint"), Some("a"), "{good:?}");
    }
}

async fn cut(kinds: &[Kind], delimited: &[Delimited], billing: Billing) {
    let rig = Arc::new(Rig::start(kinds[0].is_openai(), billing, |cluster| cluster));
    let first = if kinds[0].is_free() { Kind::Messages } else { kinds[0] };
    assert_eq!(rig.ask(first, "").await.status(), 200);
    let mut cuts = 0;
    for &kind in kinds {
        for &delimited in delimited {
            for death in [Death::Fin, Death::Reset] {
                let scene = kind.scene(delimited, "a");
                cuts += scene.bytes.len() + 1;
                cut_at_every_byte(&rig, billing, death, scene).await;
            }
        }
    }
    println!("{kinds:?} {billing:?}: {cuts} cuts");
    assert_eq!((rig.a.accepted_twice(), rig.b.accepted_twice()), (Vec::new(), Vec::new()));
    assert_eq!(rig.status("a").await["state"], "healthy");
}

const ALL: &[Delimited] = &[Delimited::Length, Delimited::Chunks, Delimited::Close];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_cut_at_any_byte_are_served_elsewhere_or_never_look_whole() {
    cut(&[Kind::Messages, Kind::MessagesStreamed], ALL, Billing::PerToken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_cut_at_any_byte_is_served_elsewhere_or_never_looks_whole() {
    cut(&[Kind::Chat, Kind::ChatStreamed], ALL, Billing::PerToken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_cut_at_any_byte_are_served_elsewhere_or_never_look_whole() {
    cut(&[Kind::Responses, Kind::ResponsesStreamed], ALL, Billing::PerToken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_lists_cut_at_any_byte_are_served_elsewhere_or_never_look_whole() {
    cut(&[Kind::CountTokens, Kind::Models], ALL, Billing::PerToken).await;
    cut(&[Kind::CountTokens, Kind::Models], &[Delimited::Length], Billing::PerRequest).await;
}

/// Its end is told by its framing only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_stream_cut_at_any_byte_is_served_elsewhere_or_never_looks_whole() {
    let framed = &[Delimited::Length, Delimited::Chunks];
    cut(&[Kind::MessagesStreamedGzip], framed, Billing::PerToken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_billed_by_the_request_is_accepted_once_wherever_it_is_cut() {
    cut(&[Kind::Messages, Kind::MessagesStreamed], ALL, Billing::PerRequest).await;
    let framed = &[Delimited::Chunks];
    cut(&[Kind::Chat, Kind::ChatStreamed], framed, Billing::PerRequest).await;
    cut(&[Kind::Responses, Kind::ResponsesStreamed], framed, Billing::PerRequest).await;
}
