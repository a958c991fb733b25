//! What it costs to choose an endpoint: the whole step that a request takes, from the roster to an
//! attempt in hand and back, among 10, 1,000 and 10,000 endpoints, with and without a session: when 0, 50 and
//! 99 % are down, or all but one; when one in a hundred serves the model or speaks the protocol; for a request that
//! has tried three. It is to cost about the same for 10 and for 10,000.

#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qcc::clock::Clock;
use qcc::cluster::{Choice, Cluster, Endpoint, Session, SessionKey, Wanted};
use qcc::config::{Environment, Protocol, parse_str};
use qcc_fsm::{AdminCommand, Tick, Ticks};

/// A cluster in a state, and a request for it.
struct Case {
    name: &'static str,
    down: fn(usize) -> usize,
    /// What the file says of all but one endpoint in a hundred.
    others: &'static str,
    tried: usize,
}

const USUAL: Case = Case { name: "0 % down", down: |_| 0, others: "", tried: 0 };
const CASES: [Case; 7] = [
    USUAL,
    Case { name: "50 % down", down: |all| all / 2, ..USUAL },
    Case { name: "99 % down", down: |all| all * 99 / 100, ..USUAL },
    Case { name: "all down but one", down: |all| all - 1, ..USUAL },
    Case { name: "1 % serve the model", others: "models = [\"gpt-*\"]", ..USUAL },
    Case { name: "1 % speak the protocol", others: "protocol = \"openai\"", ..USUAL },
    Case { name: "three tried", tried: 3, ..USUAL },
];

fn cluster(endpoints: usize, case: &Case) -> Arc<Cluster> {
    let mut text = String::new();
    for index in 0..endpoints {
        let lines = if index % 100 == 0 { "" } else { case.others };
        text += &format!(
            "[[clusters.bench.endpoints]]\nname = \"e{index}\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k{index}\"\n{lines}\n"
        );
    }
    let settings = parse_str(&text, Path::new("bench.toml"), &Environment::closed([])).expect("valid");
    let cluster = Cluster::new(settings.clusters["bench"].clone(), Clock::start()).expect("set up");
    for endpoint in cluster.roster().endpoints().iter().take((case.down)(endpoints)) {
        cluster.command(endpoint, AdminCommand::Disable);
    }
    cluster
}

fn choose(cluster: &Arc<Cluster>, wanted: &Wanted<'_>, tried: &[Arc<Endpoint>], now: Tick) {
    match cluster.choose(black_box(wanted), tried, now) {
        Choice::Go(attempt) => drop(black_box(attempt)),
        Choice::Wait { .. } | Choice::Nothing => {}
    }
}

fn choosing(criterion: &mut Criterion) {
    let mut wanted = Wanted {
        protocol: Protocol::Anthropic,
        model: Some("claude-sonnet-4-5"),
        can_be_trial: true,
        session: None,
        patience: Duration::from_secs(60),
    };
    let mut group = criterion.benchmark_group("choose");
    for case in &CASES {
        for endpoints in [10, 1_000, 10_000] {
            let cluster = cluster(endpoints, case);
            let now = cluster.clock.now();
            let tried: Vec<_> = cluster.roster().endpoints()[..case.tried].to_vec();
            let at = format!("{endpoints} endpoints");
            wanted.session = None;
            group.bench_function(BenchmarkId::new(case.name, &at), |bencher| {
                bencher.iter(|| choose(&cluster, &wanted, &tried, now));
            });
            let mut next = 0u64;
            group.bench_function(BenchmarkId::new(format!("{}, session", case.name), &at), |bencher| {
                bencher.iter(|| {
                    next = next.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    wanted.session = Some(Session { key: SessionKey(next), ttl: Ticks::from_secs(300) });
                    choose(&cluster, &wanted, &tried, now);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choosing);
criterion_main!(benches);
