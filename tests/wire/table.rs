//! Runs a table: one case a row, all of them, and the failing ones by their names.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::differences::{Differences, Shown, seconds_from_now};
use super::protocols::{Mode, Protocol};
use super::rig::{OF_B, Rig};
use super::support::client::{BodyEnd, RawReply};
use super::support::{Answer, Cluster, Endpoint, Recorded};

type Posts = Arc<dyn Fn(&Recorded) -> Answer + Send + Sync>;

/// What endpoint `a` does, what the client gets of it, and what it says of `a`.
#[derive(Clone)]
pub struct Case {
    name: String,
    protocol: Protocol,
    mode: Mode,
    posts: Posts,
    endpoint: fn(Endpoint) -> Endpoint,
    cluster: fn(Cluster) -> Cluster,
    stops: Stops,
    client: Client,
    verdict: Verdict,
}

/// Whether `a` still listens when the request comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stops {
    Never,
    AfterTheStart,
}

/// What the client gets.
#[derive(Clone)]
pub enum Client {
    /// The answer of `b`, whole, and nothing of `a`.
    FromB,
    /// The answer of `a`, unchanged; `b` is never asked.
    FromA { status: u16, body: Vec<u8> },
    /// These bytes of `a`, then the connection breaks; `b` is never asked.
    Aborted { body: Vec<u8> },
    /// 502 `upstream_lost`, which says that it may have been billed; `b` is never asked.
    Lost,
}

/// What it says of `a`.
#[derive(Clone)]
pub enum Verdict {
    Passes,
    /// It works, and is left alone for these seconds: it said that nothing remains.
    PassesAndCools(RangeInclusive<f64>),
    /// Nothing.
    Neutral,
    /// Nothing, but `a` is left alone: the seconds, from the answer on.
    Cools(RangeInclusive<f64>),
    /// A failure of this weight; enough of them take it out of service.
    Fails(&'static str, u64),
    /// A failure that decides alone.
    Decides(&'static str),
    /// As `Fails`, found out without an answer of HTTP.
    FailsUnsent(u64),
    /// A failure after the content that had passed, so that no number of them in a row adds up; one of these
    /// causes.
    Breaks(&'static [&'static str]),
}

const THRESHOLD: u64 = 3;
/// An overload or a rate limit that says nothing: 1 s, half of it jitter.
pub const FIRST_DOUBLING: RangeInclusive<f64> = 0.0..=1.0;
/// `retry-after: 20`, seen a little later.
pub const ABOUT_20_S: RangeInclusive<f64> = 8.0..=20.0;

pub fn case(
    name: &str,
    protocol: Protocol,
    mode: Mode,
    posts: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
) -> Case {
    Case {
        name: format!("{protocol:?}, {mode:?}: {name}"),
        protocol,
        mode,
        posts: Arc::new(posts),
        endpoint: |endpoint| endpoint,
        cluster: |cluster| cluster,
        stops: Stops::Never,
        client: Client::FromB,
        verdict: Verdict::Neutral,
    }
}

impl Case {
    pub fn gives(mut self, client: Client, verdict: Verdict) -> Self {
        (self.client, self.verdict) = (client, verdict);
        self
    }

    pub fn endpoint(mut self, endpoint: fn(Endpoint) -> Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    pub fn cluster(mut self, cluster: fn(Cluster) -> Cluster) -> Self {
        self.cluster = cluster;
        self
    }

    pub fn stopped_before_the_request(mut self) -> Self {
        self.stops = Stops::AfterTheStart;
        self
    }

    async fn run(self) -> Vec<String> {
        // A cooldown of half a second may be over before a busy machine has looked.
        for _ in 0..5 {
            let began = Instant::now();
            let found = self.try_once().await;
            let is_late = matches!(&self.verdict, Verdict::Cools(range) if *range == FIRST_DOUBLING)
                && began.elapsed() > Duration::from_millis(400);
            if found.is_empty() || !is_late {
                return found;
            }
        }
        vec!["the machine is too busy to see a cooldown of half a second".into()]
    }

    async fn try_once(&self) -> Vec<String> {
        let posts = Arc::clone(&self.posts);
        let answer = move |request: &Recorded| posts(request);
        let rig = Rig::start_with(self.protocol, answer.clone(), self.endpoint, self.cluster);
        let before = rig.status("a").await["state"].clone();
        if self.stops == Stops::AfterTheStart {
            rig.a.stop();
        }
        let mut found = Differences::default();
        let reply = rig.ask("once", self.mode).await;
        self.check_reply(&rig, &reply, &mut found);
        let after = rig.settled("a", 1).await;
        self.check_status(&before, &after, &mut found);
        if let Verdict::Fails(cause, weight) = self.verdict {
            self.check_threshold(&rig, cause, "chat", weight, &mut found).await;
        }
        if let Verdict::FailsUnsent(weight) = self.verdict {
            self.check_threshold(&rig, "network", "network", weight, &mut found).await;
        }
        if let Verdict::Breaks(causes) = self.verdict {
            let one = |cluster| (self.cluster)(cluster).health("failure_threshold = 1");
            let rig = Rig::start_with(self.protocol, answer, self.endpoint, one);
            let _ = rig.ask("the one that is enough", self.mode).await;
            let after = rig.settled("a", 1).await;
            let cause = causes.iter().find(|cause| after["cause"] == **cause).unwrap_or(&causes[0]);
            found.compare_out_of_service(&after, cause, "chat", 1);
        }
        found.0
    }

    fn check_reply(&self, rig: &Rig, reply: &RawReply, found: &mut Differences) {
        let header = |name| reply.head.header(name);
        let (status, body, end, endpoint, attempts, own) = match &self.client {
            Client::FromB => {
                let body = self.protocol.well_body(self.mode, OF_B);
                (200, Some(body), BodyEnd::Clean, Some("b"), "2", None)
            }
            Client::FromA { status, body } => {
                (*status, Some(body.clone()), BodyEnd::Clean, Some("a"), "1", None)
            }
            Client::Aborted { body } => (200, Some(body.clone()), BodyEnd::Broken, Some("a"), "1", None),
            Client::Lost => (502, None, BodyEnd::Clean, None, "1", Some("upstream_lost")),
        };
        found.compare("status", reply.status(), status);
        found.compare("x-qcc-endpoint", header("x-qcc-endpoint"), endpoint);
        found.compare("x-qcc-attempts", header("x-qcc-attempts"), Some(attempts));
        found.compare("x-qcc-error", header("x-qcc-error"), own);
        found.compare("end of the body", &reply.end, &end);
        if let Some(body) = body {
            found.compare("body", Shown(&reply.body), Shown(&body));
        }
        if matches!(self.client, Client::Lost) {
            let error = &reply.json()["error"];
            let kind = if self.protocol.is_openai() { "server_error" } else { "api_error" };
            found.compare("error.type", error["type"].as_str(), Some(kind));
            let says = error["message"].as_str().is_some_and(|message| message.contains("billed"));
            found.compare("x-should-retry", header("x-should-retry"), Some("false"));
            found.compare("the message says that it may have been billed", says, true);
        }
        let at_b = usize::from(matches!(self.client, Client::FromB));
        found.compare("requests at b", rig.b.users().len(), at_b);
    }

    fn check_status(&self, before: &Value, after: &Value, found: &mut Differences) {
        let (mut state, mut cause, mut method, mut failures) =
            (json!("healthy"), Value::Null, Value::Null, json!(0));
        let mut counted = "neutral";
        match &self.verdict {
            Verdict::Passes | Verdict::PassesAndCools(_) => counted = "passed",
            Verdict::Neutral | Verdict::Cools(_) => state = before.clone(),
            Verdict::Fails(_, weight) => {
                (failures, method, counted) = ((*weight).into(), json!("chat"), "failed");
            }
            Verdict::FailsUnsent(weight) => {
                (failures, method, counted) = ((*weight).into(), json!("network"), "failed");
            }
            Verdict::Breaks(_) => (failures, method, counted) = (json!(1), json!("chat"), "failed"),
            Verdict::Decides(why) => {
                (state, cause, method, counted) = (json!("unhealthy"), json!(why), json!("chat"), "failed");
                failures = after["failures"].clone();
            }
        }
        let mut tally = json!({"sent": 1, "passed": 0, "failed": 0, "neutral": 0, "stale": 0});
        tally[counted] = 1.into();
        found.compare("state", &after["state"], &state);
        found.compare("cause", &after["cause"], &cause);
        found.compare("check_method", &after["check_method"], &method);
        found.compare("failures", &after["failures"], &failures);
        found.compare("requests", &after["requests"], &tally);
        let cools = match &self.verdict {
            Verdict::Cools(range) | Verdict::PassesAndCools(range) => Some(range),
            Verdict::Passes
            | Verdict::Neutral
            | Verdict::Fails(..)
            | Verdict::Decides(_)
            | Verdict::FailsUnsent(_)
            | Verdict::Breaks(_) => None,
        };
        match (cools, seconds_from_now(&after["cooldown_until"])) {
            (None, None) => {}
            (Some(range), Some(seconds)) if range.contains(&seconds) => {}
            (wanted, seen) => found.0.push(format!("cooldown: {seen:?} s, not {wanted:?}")),
        }
    }

    /// Goes on until the failures of that weight make the threshold.
    async fn check_threshold(
        &self,
        rig: &Rig,
        cause: &str,
        method: &str,
        weight: u64,
        found: &mut Differences,
    ) {
        let needed = THRESHOLD.div_ceil(weight);
        for _ in 1..needed {
            let _ = rig.ask("again", self.mode).await;
        }
        found.compare_out_of_service(&rig.settled("a", needed).await, cause, method, needed);
    }
}

/// Runs every case, some at once, and fails with all that differ.
pub async fn run(cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let (count, slots) = (cases.len(), Arc::new(Semaphore::new(4)));
    let mut running = JoinSet::new();
    for case in cases {
        let slots = Arc::clone(&slots);
        running.spawn(async move {
            let _slot = slots.acquire_owned().await.expect("never closed");
            let name = case.name.clone();
            // A task of its own, so that a panic is one case's failure.
            let found = tokio::spawn(case.run()).await;
            (name, found.unwrap_or_else(|error| vec![format!("{error:?}")]))
        });
    }
    let mut failed: Vec<String> = running
        .join_all()
        .await
        .into_iter()
        .filter(|(_, found)| !found.is_empty())
        .map(|(name, found)| format!("{name}\n    {}", found.join("\n    ")))
        .collect();
    failed.sort();
    assert!(failed.is_empty(), "{} of {count} cases:\n{}", failed.len(), failed.join("\n"));
}
