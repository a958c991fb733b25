//! Clusters to choose from, and the step that a request takes to choose.

#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::hint::black_box;
use std::iter::successors;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qcc::clock::Clock;
use qcc::cluster::{Choice, Cluster, Endpoint, Session, SessionKey, Wanted};
use qcc::config::{Environment, Protocol, parse_str};
use qcc_fsm::{Tick, Ticks};

/// A cluster of so many endpoints; the file says `others` of all but one in a hundred.
pub fn cluster_of(endpoints: usize, others: &str) -> Arc<Cluster> {
    let mut text = String::new();
    for index in 0..endpoints {
        let lines = if index % 100 == 0 { "" } else { others };
        text += &format!(
            "[[clusters.bench.endpoints]]\nname = \"e{index}\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k{index}\"\n{lines}\n"
        );
    }
    let settings = parse_str(&text, Path::new("bench.toml"), &Environment::closed([])).expect("valid");
    Cluster::new(settings.clusters["bench"].clone(), Clock::start()).expect("set up")
}

/// What a request of no session wants.
pub fn wanted() -> Wanted<'static> {
    Wanted {
        protocol: Protocol::Anthropic,
        model: Some("claude-sonnet-4-5"),
        can_be_trial: true,
        session: None,
        patience: Duration::from_secs(60),
    }
}

/// Sessions, each another one.
pub fn sessions() -> impl Iterator<Item = Session> {
    let keys = successors(Some(0u64), |last| Some(last.wrapping_add(0x9E37_79B9_7F4A_7C15)));
    keys.map(|key| Session { key: SessionKey(key), ttl: Ticks::from_secs(300) })
}

/// From the roster to an attempt in hand, and back.
pub fn choose(cluster: &Arc<Cluster>, wanted: &Wanted<'_>, tried: &[Arc<Endpoint>], now: Tick) {
    match cluster.choose(black_box(wanted), tried, now) {
        Choice::Go(attempt) => drop(black_box(attempt)),
        Choice::Wait { .. } | Choice::Nothing => {}
    }
}
