//! What it costs to choose an endpoint: the whole step that a request takes, from the roster to an
//! attempt in hand and back, among 10, 1,000 and 10,000 endpoints of which 0, 50 and 99 % are down, with
//! and without a session.

#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qcc::clock::Clock;
use qcc::cluster::{Choice, Cluster, Session, SessionKey, Wanted};
use qcc::config::{Environment, Protocol, parse_str};
use qcc_fsm::{AdminCommand, Tick, Ticks};

fn cluster(endpoints: usize, down_percent: usize) -> Arc<Cluster> {
    let mut text = String::new();
    for index in 0..endpoints {
        text += &format!(
            "[[clusters.bench.endpoints]]\nname = \"e{index}\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k{index}\"\n"
        );
    }
    let settings = parse_str(&text, Path::new("bench.toml"), &Environment::closed([])).expect("valid");
    let cluster = Cluster::new(settings.clusters["bench"].clone(), Clock::start()).expect("set up");
    let down = endpoints * down_percent / 100;
    for endpoint in cluster.roster().endpoints().iter().take(down) {
        cluster.command(endpoint, AdminCommand::Disable);
    }
    cluster
}

fn choose(cluster: &Arc<Cluster>, wanted: &Wanted, now: Tick) {
    match cluster.choose(black_box(wanted), &[], now) {
        Choice::Go(attempt) => drop(black_box(attempt)),
        Choice::Wait { .. } | Choice::Nothing => {}
    }
}

fn choosing(criterion: &mut Criterion) {
    let mut wanted = Wanted {
        protocol: Protocol::Anthropic,
        model: Some("claude-sonnet-4-5".to_owned()),
        can_be_trial: true,
        session: None,
        patience: Duration::from_secs(60),
    };
    let mut group = criterion.benchmark_group("choose");
    for endpoints in [10, 1_000, 10_000] {
        for down_percent in [0, 50, 99] {
            let cluster = cluster(endpoints, down_percent);
            let now = cluster.clock.now();
            let at = format!("{down_percent} % down");
            let id = BenchmarkId::new(format!("{endpoints} endpoints"), &at);
            wanted.session = None;
            group.bench_function(id, |bencher| bencher.iter(|| choose(&cluster, &wanted, now)));
            let id = BenchmarkId::new(format!("{endpoints} endpoints, session"), &at);
            let mut next = 0u64;
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    next = next.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    wanted.session = Some(Session { key: SessionKey(next), ttl: Ticks::from_secs(300) });
                    choose(&cluster, &wanted, now);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choosing);
criterion_main!(benches);
