//! How often a session meets its own cache: an endpoint counts a hit when it has served the session's
//! previous turn. The figures are printed with `--nocapture`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::support::{Answer, Client, Qcc, Recorded, Upstream, exchange, llm};
use super::{cluster, of_session};

const ENDPOINTS: usize = 4;
const SESSIONS: usize = 24;
const TURNS: usize = 40;
/// Every turn but the first of a session can be a hit.
const HITS_MAX: usize = SESSIONS * (TURNS - 1);
/// The turns over which one endpoint is down.
const OUTAGE: std::ops::Range<usize> = 13..27;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    ByHeader,
    Hidden,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outage {
    None,
    Passing,
}

struct Counted {
    hits: usize,
    /// The sessions that were at the endpoint that went down.
    affected: usize,
}

/// The turns that an upstream has served.
#[derive(Clone, Default)]
struct Cache {
    served: Arc<Mutex<HashSet<(usize, usize)>>>,
    hits: Arc<AtomicUsize>,
}

impl Cache {
    fn behaviour(&self) -> impl Fn(&Recorded) -> Answer + Send + Sync + 'static {
        let cache = self.clone();
        llm::on_post(move |request| {
            if let Some((session, turn)) = session_and_turn(&llm::last_user_text(&request.json())) {
                cache.serve(session, turn);
            }
            llm::healthy(request)
        })
    }

    fn serve(&self, session: usize, turn: usize) {
        let mut served = self.served.lock().unwrap();
        if turn > 0 && served.contains(&(session, turn - 1)) {
            self.hits.fetch_add(1, Ordering::SeqCst);
        }
        served.insert((session, turn));
    }
}

fn session_and_turn(text: &str) -> Option<(usize, usize)> {
    let (_, rest) = text.split_once("session ")?;
    let (session, turn) = rest.split_once(" turn ")?;
    Some((session.parse().ok()?, turn.parse().ok()?))
}

async fn turn_of_all(client: &Client, turn: usize, named: Named) -> Vec<String> {
    let mut asking = JoinSet::new();
    for session in 0..SESSIONS {
        let body = llm::message(&format!("session {session} turn {turn}"));
        let request = match named {
            Named::ByHeader => of_session(client, &format!("s{session}"), &body),
            Named::Hidden => client.post("/v1/messages", &body),
        };
        asking.spawn(exchange(request));
    }
    let replies = asking.join_all().await;
    assert!(replies.iter().all(|reply| reply.status == 200), "turn {turn}: {replies:?}");
    replies.iter().map(|reply| reply.endpoint().to_owned()).collect()
}

async fn measure(named: Named, outage: Outage) -> Counted {
    let caches: Vec<_> = (0..ENDPOINTS).map(|_| Cache::default()).collect();
    let upstreams: Vec<_> = caches.iter().map(|cache| Upstream::start(cache.behaviour())).collect();
    let qcc = Qcc::start(&cluster(&upstreams).quick_recovery());
    let client = Client::of(&qcc);
    let mut affected = 0;
    for turn in 0..TURNS {
        if outage == Outage::Passing && turn == OUTAGE.start {
            upstreams[0].set(llm::always(500));
        }
        if outage == Outage::Passing && turn == OUTAGE.end {
            upstreams[0].set(caches[0].behaviour());
            qcc.endpoint_in("a", "healthy").await;
        }
        let places = turn_of_all(&client, turn, named).await;
        if turn + 1 == OUTAGE.start {
            affected = places.iter().filter(|place| *place == "a").count();
        }
    }
    let hits = caches.iter().map(|cache| cache.hits.load(Ordering::SeqCst)).sum();
    Counted { hits, affected }
}

fn report(what: &str, counted: &Counted) {
    let percent = counted.hits as f64 * 100.0 / HITS_MAX as f64;
    println!("{what}: {} hits of {HITS_MAX} ({percent:.1} %)", counted.hits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_turn_of_a_session_but_its_first_meets_a_warm_cache() {
    let (named, hidden) =
        (measure(Named::ByHeader, Outage::None).await, measure(Named::Hidden, Outage::None).await);
    report("all fine, sessions named", &named);
    report("all fine, sessions hidden", &hidden);
    assert_eq!(named.hits, HITS_MAX);
    assert!(hidden.hits < named.hits, "{} hits without sessions", hidden.hits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_each_session_of_its_endpoint_one_cold_turn() {
    let (named, hidden) =
        (measure(Named::ByHeader, Outage::Passing).await, measure(Named::Hidden, Outage::Passing).await);
    report(&format!("an outage of {} of {SESSIONS} sessions, named", named.affected), &named);
    report("an outage, sessions hidden", &hidden);
    assert_eq!(named.hits, HITS_MAX - named.affected);
    assert!(hidden.hits < named.hits, "{} hits without sessions", hidden.hits);
}
