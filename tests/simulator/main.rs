//! The cluster, its prober, clients, faults and reloads on one simulated clock, thousands of times, each by its seed.
//!
//! The program's own code runs: only the network under it, the time and the randomness are the simulation's. After
//! each step the words of all endpoints and the ledger of what went where are looked at; see `watch` and `ledger`.
//!
//! `QCC_SIM_SEEDS=100000 cargo test --test simulator` runs so many worlds; `QCC_SIM_SEED=12345 cargo test --test
//! simulator replay -- --nocapture` shows all that happens in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
#![allow(
    clippy::disallowed_methods,
    reason = "the clock is the simulation's, and how many seeds run is asked here"
)]

mod answers;
mod client;
mod dial;
mod ledger;
mod log;
mod mood;
mod network;
mod run;
mod scene;
mod upstream;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use run::Wall;
use scene::Shape;
use world::Outcome;

/// What runs in CI.
const SEEDS: u64 = 2_000;
/// Seeds that once found something, run always.
///
/// 823: the lease of a lost trial was not ended while its endpoint cooled.
const REGRESSIONS: &[u64] = &[823];
/// How much of a trace is shown of a seed that fails.
const LINES_SHOWN: usize = 60;

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(log::Listener).expect("nobody else listens");
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            world::with_if_any(|state| state.violated(format_args!("panicked: {info}")));
            usual(info);
        }));
    });
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs each of these seeds, on all cores, and gives what `look` makes of each run.
fn run_all<T: Send>(seeds: &[u64], shape: Shape, look: impl Fn(u64, Outcome) -> T + Sync) -> Vec<T> {
    run_all_at(Wall(1_700_000_000), seeds, shape, look)
}

fn run_all_at<T: Send>(
    wall: Wall,
    seeds: &[u64],
    shape: Shape,
    look: impl Fn(u64, Outcome) -> T + Sync,
) -> Vec<T> {
    listen();
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    let mut found: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&seed) = seeds.get(place as usize) else { return found };
                        let ran = catch_unwind(AssertUnwindSafe(|| run::run(seed, shape, wall)));
                        let outcome = ran.unwrap_or_else(|_| world::end());
                        found.push((place, look(seed, outcome)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
    });
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, found)| found).collect()
}

/// What was violated in a run, with all that it takes to see it again.
fn complaint(seed: u64, outcome: &Outcome) -> Option<String> {
    let first = outcome.violations.first()?;
    let lines: Vec<&str> = outcome.trace.lines().collect();
    let at = lines.iter().position(|line| line.contains("VIOLATED")).unwrap_or(lines.len().saturating_sub(1));
    let shown = lines[at.saturating_sub(LINES_SHOWN)..=at].join("\n");
    Some(format!(
        "seed {seed}: {first} ({} violations)\n{shown}\nagain: QCC_SIM_SEED={seed} cargo test --test simulator replay -- \
         --nocapture",
        outcome.violations.len()
    ))
}

#[test]
fn every_invariant_holds_after_each_step_of_thousands_of_worlds() {
    let count = asked("QCC_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = REGRESSIONS.iter().copied().chain(0..count).collect();
    let begun = std::time::Instant::now();
    let ran = run_all(&seeds, Shape::Usual, |seed, outcome| {
        (complaint(seed, &outcome), outcome.ledger_requests, outcome.exchanges.len())
    });
    let complaints: Vec<&String> = ran.iter().filter_map(|(complaint, _, _)| complaint.as_ref()).collect();
    let requests: usize = ran.iter().map(|(_, requests, _)| requests).sum();
    let exchanges: usize = ran.iter().map(|(_, _, exchanges)| exchanges).sum();
    println!("{} worlds, {requests} requests, {exchanges} exchanges in {:?}", seeds.len(), begun.elapsed());
    if let Some(first) = complaints.first() {
        for complaint in &complaints {
            println!("{}", complaint.lines().next().unwrap_or_default());
        }
        panic!("{} of {} seeds; the first:\n{first}", complaints.len(), seeds.len());
    }
}

#[test]
fn a_seed_is_one_world_to_the_last_byte_of_its_trace() {
    let seeds: Vec<u64> = (0..40).collect();
    let traces = || run_all(&seeds, Shape::Usual, |_, outcome| (outcome.fingerprint(), outcome.trace));
    let (first, second) = (traces(), traces());
    for (seed, (one, other)) in first.iter().zip(&second).enumerate() {
        if one.0 != other.0 {
            let differ = one.1.lines().zip(other.1.lines()).find(|(one, other)| one != other);
            panic!("seed {seed} differs: {differ:?}");
        }
    }
    let distinct: std::collections::BTreeSet<u64> =
        first.iter().map(|(fingerprint, _)| *fingerprint).collect();
    assert_eq!(distinct.len(), seeds.len(), "each seed is a world of its own");
}

#[test]
fn a_wall_clock_that_is_ten_days_off_changes_nothing() {
    let seeds: Vec<u64> = (0..20).collect();
    let at = |secs| run_all_at(Wall(secs), &seeds, Shape::Usual, |_, outcome| outcome.trace);
    let (now, ten_days) = (1_700_000_000, 10 * 24 * 3600);
    let traces = at(now);
    assert!(traces == at(now - ten_days) && traces == at(now + ten_days));
}

#[test]
fn when_everything_fails_upstreams_get_little_more_than_clients_ask() {
    let seeds: Vec<u64> = (0..40).collect();
    let ran = run_all(&seeds, Shape::Storm, |seed, outcome| {
        assert_eq!(complaint(seed, &outcome), None);
        let sent = outcome.exchanges.iter().filter(|exchange| exchange.request.is_some()).count();
        (sent, outcome.ledger_requests)
    });
    let (sent, asked) = ran.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let amplification = sent as f64 / asked as f64;
    println!("{asked} requests, {sent} sent: {amplification:.3}");
    assert!(amplification <= 1.2, "{amplification}");
}

#[test]
fn replay() {
    let Some(seed) = asked("QCC_SIM_SEED") else { return };
    let ran = run_all(&[seed], Shape::Usual, |seed, outcome| (complaint(seed, &outcome), outcome.trace));
    for (complaint, trace) in ran {
        println!("{trace}");
        assert_eq!(complaint, None);
    }
}
