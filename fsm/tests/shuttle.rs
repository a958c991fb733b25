//! Larger schedules than loom can walk through: many reporters beside the prober, an operator who
//! reloads, and exchanges that are cancelled. `cargo test -p qcc-fsm --features shuttle --test shuttle --release`
//!
//! Shuttle takes every atomic operation for sequentially consistent; orderings are loom's concern.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use qcc_fsm::*;
use shuttle::scheduler::{DfsScheduler, PctScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

const NOW: Tick = Tick::from_secs(1_000);
/// When every deadline of before has come, and no lease is over.
const LATER: Tick = Tick::from_secs(1_030);
const LEASE: Ticks = Ticks::from_secs(60);
const PASS: Verdict = Verdict::Pass(Evidence::Traffic);
const SERVER_ERROR: Verdict = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));
const REFUSED: Verdict = Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat));

#[test]
fn whatever_the_order_one_of_three_failing_reporters_takes_it_out_of_service() {
    let seen = outcomes_of(DfsScheduler::new(None, false), || {
        let policy = policy().with_failure_threshold(2);
        let cell = Arc::new(healthy(&policy));
        let tickets = [(); 3].map(|()| cell.admit(NOW).unwrap());
        let reporters = tickets.map(|mut ticket| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.report(&mut ticket, SERVER_ERROR, NOW, &policy))
        });
        let outcomes = reporters.map(|reporter| name_of(&reporter.join().unwrap()));
        assert_eq!(cell.load().state, State::Unhealthy);
        assert_eq!(cell.load().failures, 2);
        outcomes
    });
    let stays_moved_stale = BTreeSet::from([
        ["moved", "stale", "stays"],
        ["moved", "stays", "stale"],
        ["stale", "moved", "stays"],
        ["stale", "stays", "moved"],
        ["stays", "moved", "stale"],
        ["stays", "stale", "moved"],
    ]);
    assert_eq!(seen, stays_moved_stale);
}

#[test]
fn many_reporters_probers_cancellations_and_a_reload_leave_one_history() {
    let seen = outcomes_of(PctScheduler::new_from_seed(20, 5, 3_000), || {
        let policy = policy();
        let cell = Arc::new(healthy(&policy));
        let history = Arc::new(History::default());
        let reporters = (0..16).map(|i| {
            let (cell, history) = (Arc::clone(&cell), Arc::clone(&history));
            thread::spawn(move || use_once(&cell, &history, &policy, i))
        });
        let probers = (0..2).map(|_| {
            let (cell, history) = (Arc::clone(&cell), Arc::clone(&history));
            thread::spawn(move || probe(&cell, &history, &policy))
        });
        let operator = {
            let (cell, history) = (Arc::clone(&cell), Arc::clone(&history));
            thread::spawn(move || {
                history.add(cell.command(AdminCommand::Disable, NOW, &policy));
                history.add(cell.command(AdminCommand::Enable, NOW, &policy));
            })
        };
        let all: Vec<_> = reporters.chain(probers).chain([operator]).collect();
        all.into_iter().for_each(|person| person.join().unwrap());
        history.check(&cell.load())
    });
    let of = |figure: fn(&Summary) -> usize| seen.iter().map(figure).collect::<BTreeSet<_>>();
    let ends: BTreeSet<_> = seen.iter().map(|summary| summary.ends).collect();
    assert_eq!(ends, BTreeSet::from(["Healthy", "Recovering", "Unhealthy", "Unknown"]));
    assert_eq!(of(|summary| summary.times_out_of_service), BTreeSet::from([0, 1, 2, 3]));
    assert_eq!(of(|summary| summary.times_back), BTreeSet::from([0, 1, 2]));
    assert!(seen.len() >= 20, "schedules that differ in little show little: {seen:#?}");
}

/// A request: its verdict depends on who sends it. One in four is cancelled.
fn use_once(cell: &HealthCell, history: &History, policy: &Policy, i: usize) {
    let Some(mut ticket) = cell.admit(NOW) else { return };
    let stamp = ticket.stamp();
    let verdict = match i % 8 {
        0 => REFUSED,
        1 | 2 => SERVER_ERROR,
        3 | 7 => Verdict::Neutral,
        _ => PASS,
    };
    let outcome = cell.report(&mut ticket, verdict, NOW, policy);
    if matches!(outcome, Outcome::Moved(change) if !is_first_pass(&change)) {
        assert!(!cell.is_current(stamp, NOW), "a choice of before is caught before the wire");
    }
    history.add(outcome);
    // It broke off after it had begun.
    if i == 4 {
        history.add(cell.report(&mut ticket, SERVER_ERROR, NOW, policy));
    }
}

/// A request of an endpoint that fails every second one: the share of failures takes it out of service.
fn sample_once(cell: &HealthCell, window: &FailureWindow, history: &History, policy: &Policy, i: usize) {
    let Some(mut ticket) = cell.admit(NOW) else { return };
    let (verdict, sample) = if i.is_multiple_of(2) {
        (SERVER_ERROR, Sample::Failed(Failure::new(Cause::Server, CheckMethod::Chat)))
    } else {
        (PASS, Sample::Passed)
    };
    let outcome = cell.report(&mut ticket, verdict, NOW, policy);
    history.add(outcome);
    if outcome == Outcome::Stays
        && let Some(failure) = window.record(ticket.stamp(), sample, NOW, FailureLimit::new(4, 500_000))
    {
        history.add(cell.trip(ticket.stamp(), failure, NOW, policy));
    }
}

#[test]
fn a_share_of_failures_beside_a_prober_and_an_operator_leaves_one_history() {
    let seen = outcomes_of(PctScheduler::new_from_seed(21, 5, 3_000), || {
        // No row is ever long enough.
        let policy = policy().with_failure_threshold(15);
        let cell = Arc::new(healthy(&policy));
        let (window, history) =
            (Arc::new(FailureWindow::new(Ticks::from_secs(30))), Arc::new(History::default()));
        let reporters = (0..12).map(|i| {
            let (cell, window, history) = (Arc::clone(&cell), Arc::clone(&window), Arc::clone(&history));
            thread::spawn(move || sample_once(&cell, &window, &history, &policy, i))
        });
        let prober = {
            let (cell, history) = (Arc::clone(&cell), Arc::clone(&history));
            thread::spawn(move || probe(&cell, &history, &policy))
        };
        let operator = {
            let (cell, history) = (Arc::clone(&cell), Arc::clone(&history));
            thread::spawn(move || history.add(cell.command(AdminCommand::Reset, NOW, &policy)))
        };
        let all: Vec<_> = reporters.chain([prober, operator]).collect();
        all.into_iter().for_each(|person| person.join().unwrap());
        history.check(&cell.load())
    });
    let ends: BTreeSet<_> = seen.iter().map(|summary| summary.ends).collect();
    assert_eq!(ends, BTreeSet::from(["Healthy", "Recovering", "Unhealthy", "Unknown"]));
    let times: BTreeSet<_> = seen.iter().map(|summary| summary.times_out_of_service).collect();
    assert!(times.is_superset(&BTreeSet::from([0, 1, 2])), "{times:?}");
}

/// The one change that begins no new period.
fn is_first_pass(change: &Change) -> bool {
    (change.from.state, change.to.state) == (State::Unknown, State::Healthy)
}

/// The prober's turn: it sweeps, claims what is due, checks it. The second trial of it is cancelled.
fn probe(cell: &HealthCell, history: &History, policy: &Policy) {
    for verdict in [Verdict::Pass(Evidence::Check(CheckMethod::Chat)), Verdict::Neutral] {
        history.add(cell.sweep(LATER, policy));
        let Some(claim) = cell.claim(Claimant::Prober, LEASE, LATER, policy) else { continue };
        assert!(claim.change.to.trial);
        history.0.lock().unwrap().push(claim.change);
        let mut ticket = claim.ticket;
        history.add(cell.report(&mut ticket, verdict, LATER, policy));
    }
}

/// Every change, in the order in which those who made it wrote it down.
#[derive(Default)]
struct History(Mutex<Vec<Change>>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Summary {
    ends: &'static str,
    times_out_of_service: usize,
    times_back: usize,
    trials: usize,
}

impl History {
    fn add(&self, outcome: Outcome) {
        if let Outcome::Moved(change) = outcome {
            self.0.lock().unwrap().push(change);
        }
    }

    /// Every change was seen by one caller, and each began where the one before it had ended: S1, S3, S7.
    fn check(&self, end: &Snapshot) -> Summary {
        let mut changes = self.0.lock().unwrap().clone();
        changes.sort_by_key(|change| (change.to.epoch.get(), change.from.epoch.get()));
        let mut last = (State::Healthy, Admin::Active);
        for change in &changes {
            assert!(change.from.epoch.get() < change.to.epoch.get() || is_first_pass(change));
            assert_eq!((change.from.state, change.from.admin), last, "a change that two saw, or nobody");
            assert!(change.from.state != State::Unhealthy || change.to.state != State::Healthy);
            last = (change.to.state, change.to.admin);
        }
        assert_eq!((end.state, end.admin), last);
        assert_eq!(end.admin, Admin::Active);
        let count = |from: State, to: State| {
            changes.iter().filter(|change| change.from.state == from && change.to.state == to).count()
        };
        Summary {
            ends: match end.state {
                State::Unknown => "Unknown",
                State::Healthy => "Healthy",
                State::Unhealthy => "Unhealthy",
                State::Recovering => "Recovering",
            },
            times_out_of_service: count(State::Healthy, State::Unhealthy)
                + count(State::Unknown, State::Unhealthy),
            times_back: count(State::Recovering, State::Healthy),
            trials: changes.iter().filter(|change| change.to.trial && !change.from.trial).count(),
        }
    }
}

fn outcomes_of<T: Ord + Send + 'static>(
    scheduler: impl Scheduler + 'static,
    run: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let sink = Arc::clone(&seen);
    let runs = Runner::new(scheduler, Config::default()).run(move || {
        let outcome = run();
        sink.lock().unwrap().insert(outcome);
    });
    println!("{runs} schedules");
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

fn policy() -> Policy {
    let second = Ticks::from_secs(1);
    Policy::new(Billing::PerToken).with_backoff(second, second).with_auth_backoff(second, second)
}

fn healthy(policy: &Policy) -> HealthCell {
    let cell = HealthCell::new();
    let mut ticket = cell.admit(NOW).unwrap();
    assert!(matches!(cell.report(&mut ticket, PASS, NOW, policy), Outcome::Moved(_)));
    cell
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Stays => "stays",
        Outcome::Stale => "stale",
        Outcome::Moved(_) => "moved",
    }
}
