//! What it costs to choose an endpoint: the whole step that a request takes, from the roster to an
//! attempt in hand and back, among 10, 1,000 and 10,000 endpoints, with and without a session: when 0, 50 and
//! 99 % are down, or all but one; when one in a hundred serves the model or speaks the protocol; for a request that
//! has tried three. It is to cost about the same for 10 and for 10,000.

use std::sync::Arc;

use clusters::{choose, cluster_of, sessions, wanted};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qcc::cluster::Cluster;
use qcc_fsm::AdminCommand;

mod clusters;

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
    let cluster = cluster_of(endpoints, case.others);
    for endpoint in cluster.roster().endpoints().iter().take((case.down)(endpoints)) {
        cluster.command(endpoint, AdminCommand::Disable);
    }
    cluster
}

fn choosing(criterion: &mut Criterion) {
    let mut wanted = wanted();
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
            let mut sessions = sessions();
            group.bench_function(BenchmarkId::new(format!("{}, session", case.name), &at), |bencher| {
                bencher.iter(|| {
                    wanted.session = sessions.next();
                    choose(&cluster, &wanted, &tried, now);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choosing);
criterion_main!(benches);
