//! Connections opened ahead of need, so that a failover does not wait for a TLS handshake.
//!
//! Nothing is sent on them, so they cost nothing, however the endpoint is billed; and whether one comes about
//! says nothing of the endpoint's health: that is for requests and checks to find out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{Tick, Ticks};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::debug;

use super::identity::Identity;
use crate::cluster::{Cluster, Endpoint};
use crate::upstream::Origin;

/// Between two looks at the pools.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many connections are opened at once, over all endpoints.
const OPENING_MAX: usize = 8;
/// Where each request has a connection of its own: at most so many wait for a failover. A burst beyond them
/// pays a handshake for its rest only.
const READY_MAX: usize = 4;
/// After an opening until the next one at the same endpoint; doubles while they fail, or are closed unused.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// A connection that was not used and is gone sooner was closed by the upstream, which does not want it.
const KEPT_AT_LEAST: Duration = Duration::from_secs(45);
/// Load is remembered for one to two of these.
const RECENT: Duration = Duration::from_secs(60);

/// Keeps connections ready until it is dropped.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut warming = Warming::default();
    let mut opening = JoinSet::new();
    loop {
        warming.look(&cluster, &mut opening);
        tokio::select! {
            biased;
            () = sleep(LOOK_EVERY) => {}
            Some(done) = opening.join_next() => {
                // One that panicked is a defect; its endpoint is not warmed again.
                if let Ok((key, came)) = done {
                    warming.note(key, came, cluster.clock.now());
                }
            }
        }
    }
}

/// Whether the connections came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    All,
    NotAll,
}

#[derive(Default)]
struct Warming {
    endpoints: HashMap<Key, Warmth>,
    load: Load,
}

/// What was done for an endpoint.
struct Warmth {
    is_opening: bool,
    next: Tick,
    pause: Duration,
    last: Option<Came>,
    opened: Tick,
    /// Connections reused when the last one was opened.
    reused: u64,
}

impl Warming {
    fn look(&mut self, cluster: &Arc<Cluster>, opening: &mut JoinSet<(Key, Came)>) {
        let now = cluster.clock.now();
        let roster = cluster.roster();
        let endpoints = roster.endpoints();
        if self.endpoints.len() > endpoints.len() {
            self.endpoints.retain(|of, _| endpoints.iter().any(|endpoint| of.is(&endpoint.origin)));
        }
        let in_flight: u32 = endpoints.iter().map(|endpoint| endpoint.vitals.in_flight()).sum();
        self.load.note(in_flight as usize, now);
        for endpoint in endpoints {
            endpoint.origin.prune();
            if opening.len() >= OPENING_MAX || !endpoint.is_usable(now) {
                continue;
            }
            let missing = self.missing(endpoint);
            if missing > 0 && self.is_due(endpoint, now) {
                opening.spawn(open(endpoint.clone(), missing));
            }
        }
    }

    /// How many connections short of the wanted number an endpoint is.
    fn missing(&self, endpoint: &Endpoint) -> usize {
        let origin = &endpoint.origin;
        let wanted = match (origin.is_secured(), origin.shares_connections()) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.load.recent().clamp(1, READY_MAX),
        };
        wanted.saturating_sub(origin.connections_ready())
    }

    fn is_due(&mut self, endpoint: &Arc<Endpoint>, now: Tick) -> bool {
        let warmth = self.endpoints.entry(key(endpoint)).or_insert_with(|| Warmth::new(now));
        warmth.begins(endpoint.origin.connections_reused(), now)
    }

    fn note(&mut self, key: Key, came: Came, now: Tick) {
        if let Some(warmth) = self.endpoints.get_mut(&key) {
            warmth.ended(came, now);
        }
    }
}

impl Warmth {
    fn new(now: Tick) -> Self {
        Self { is_opening: false, next: now, pause: PAUSE, last: None, opened: now, reused: 0 }
    }

    /// Whether connections are to be opened now, which then counts as begun.
    fn begins(&mut self, reused: u64, now: Tick) -> bool {
        if self.is_opening || now < self.next {
            return false;
        }
        let is_young = now.since(self.opened) < Ticks::from_duration(KEPT_AT_LEAST);
        let was_used = self.reused != reused;
        self.pause = match self.last {
            Some(Came::All) if is_young && !was_used => longer(self.pause),
            // After so long a pause nobody knows when it was closed.
            Some(Came::All) if self.pause >= KEPT_AT_LEAST && !was_used => self.pause,
            Some(Came::All) | None => PAUSE,
            Some(Came::NotAll) => self.pause,
        };
        (self.is_opening, self.reused) = (true, reused);
        true
    }

    fn ended(&mut self, came: Came, now: Tick) {
        self.is_opening = false;
        self.pause = match (came, self.last) {
            (Came::NotAll, _) => longer(self.pause),
            (Came::All, Some(Came::NotAll)) => PAUSE,
            (Came::All, Some(Came::All) | None) => self.pause,
        };
        (self.last, self.opened) = (Some(came), now);
        self.next = now + Ticks::from_duration(self.pause);
    }
}

async fn open(endpoint: Arc<Endpoint>, count: usize) -> (Key, Came) {
    let gate = endpoint.admission();
    for _ in 0..count {
        if let Err(error) = endpoint.origin.warm(&gate).await {
            let error = endpoint.shown(&error.to_string());
            debug!(endpoint = endpoint.name(), error, "no connection could be opened ahead of need");
            return (key(&endpoint), Came::NotAll);
        }
        debug!(endpoint = endpoint.name(), "a connection was opened ahead of need");
    }
    (key(&endpoint), Came::All)
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

/// The most requests that ran at once lately, as far as looks once a second show: they may all fail over together.
#[derive(Default)]
struct Load {
    begun: Tick,
    before: usize,
    now: usize,
}

impl Load {
    fn note(&mut self, in_flight: usize, now: Tick) {
        if now.since(self.begun) >= Ticks::from_duration(RECENT) {
            (self.begun, self.before, self.now) = (now, self.now, 0);
        }
        self.now = self.now.max(in_flight);
    }

    fn recent(&self) -> usize {
        self.now.max(self.before)
    }
}

/// By an endpoint's way out, which a reload makes anew.
type Key = Identity<Origin>;

fn key(endpoint: &Arc<Endpoint>) -> Key {
    Identity::of(&endpoint.origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens as soon as it may, and gives the seconds until it may again.
    fn pause_s(warmth: &mut Warmth, now: &mut Tick, reused: u64, came: Came) -> u64 {
        *now = warmth.next;
        assert!(warmth.begins(reused, *now) && !warmth.begins(reused, *now));
        warmth.ended(came, *now);
        (warmth.next.0 - now.0) / 10
    }

    #[test]
    fn openings_that_fail_come_ever_less_often() {
        let mut now = Tick(1);
        let mut warmth = Warmth::new(now);
        let pauses: Vec<u64> = (0..8).map(|_| pause_s(&mut warmth, &mut now, 0, Came::NotAll)).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause_s(&mut warmth, &mut now, 0, Came::All), 5);
    }

    #[test]
    fn connections_that_are_closed_unused_are_opened_ever_less_often_until_one_is_used() {
        let mut now = Tick(1);
        let mut warmth = Warmth::new(now);
        let pauses: Vec<u64> = (0..7).map(|_| pause_s(&mut warmth, &mut now, 7, Came::All)).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 80, 80]);
        assert_eq!(pause_s(&mut warmth, &mut now, 8, Came::All), 5);
    }

    #[test]
    fn load_is_remembered_for_one_to_two_minutes() {
        let mut load = Load::default();
        for (second, in_flight, recent) in [(100, 3, 3), (101, 1, 3), (161, 0, 3), (219, 0, 3), (222, 0, 0)] {
            load.note(in_flight, Tick(second * 10));
            assert_eq!(load.recent(), recent, "at {second} s");
        }
    }
}
