//! The cell under the interleavings of two to four threads, of up to three preemptions each.
//!
//! Each test collects the outcomes of all executions and asserts that set: a model that explored less than
//! it seems to would show in what it did not see. Run both ways:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p qcc-fsm --release --test loom
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p qcc-fsm --release --test loom --features look-by-rmw
//! ```
//!
//! loom keeps one last access for each atomic. In the plain form a reporter's own load hides the race
//! between its exchange and a chooser's earlier load, so that fewer outcomes appear ([`FORM_SEES_ALL`]); with
//! the first look as a read-modify-write all of them do, but no first look is ever an old one.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc as StdArc, Mutex};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use qcc_fsm::*;

const NOW: Tick = Tick(100_000);
const LEASE: Ticks = Ticks::from_secs(15);
const PASS: Verdict = Verdict::Pass(Evidence::Traffic);
const FAIL: Verdict = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));
const REFUSED: Verdict = Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat));

/// Whether loom sees a plain load race the exchange of a thread that looked before.
const FORM_SEES_ALL: bool = cfg!(feature = "look-by-rmw");

fn policy() -> Policy {
    Policy::new(Billing::PerToken)
}

/// The bound where `LOOM_MAX_PREEMPTIONS` says none. The sets below are of this bound: in the plain form a
/// higher one sees more, and four threads without one don't end.
const PREEMPTIONS: usize = 3;

/// The outcomes of all executions of `model`.
fn outcomes<T: Ord + Debug + Send + 'static>(model: impl Fn() -> T + Send + Sync + 'static) -> BTreeSet<T> {
    let seen = StdArc::new(Mutex::new((0_u64, BTreeSet::new())));
    let collected = seen.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(move || {
        let outcome = model();
        let mut seen = collected.lock().unwrap();
        seen.0 += 1;
        seen.1.insert(outcome);
    });
    let mut seen = seen.lock().unwrap();
    println!("{} executions, {:?}", seen.0, seen.1);
    std::mem::take(&mut seen.1)
}

/// What a report came to, in words that sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Stays,
    Stale,
    Moved,
}

fn said(outcome: Outcome) -> Said {
    match outcome {
        Outcome::Stays => Said::Stays,
        Outcome::Stale => Said::Stale,
        Outcome::Moved(_) => Said::Moved,
    }
}

/// In service, with the verdicts behind it that made it so.
fn healthy() -> HealthCell {
    let cell = HealthCell::new();
    let mut ticket = cell.admit(NOW).unwrap();
    assert_eq!(said(cell.report(&mut ticket, PASS, NOW, &policy())), Said::Moved);
    cell
}

/// Out of service and due at the moment that is returned, with a ticket from before.
fn unhealthy_and_due() -> (HealthCell, Ticket, Tick) {
    let cell = healthy();
    let old = cell.admit(NOW).unwrap();
    let mut ticket = cell.admit(NOW).unwrap();
    assert_eq!(said(cell.report(&mut ticket, REFUSED, NOW, &policy())), Said::Moved);
    (cell, old, NOW + Ticks::from_secs(61))
}

/// A trial in flight whose lease is over at the moment that is returned.
fn trial_overdue() -> (HealthCell, Ticket, Tick) {
    let (cell, _, due) = unhealthy_and_due();
    let claim = cell.claim(Claimant::Prober, LEASE, due, &policy()).unwrap();
    (cell, claim.ticket, due + LEASE)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    /// The endpoint was not returned.
    Passed,
    /// It was, and the check before the wire caught it.
    Caught,
    /// It was, and the request went to the wire.
    Sent,
}

const CHOICES: [Choice; 3] = [Choice::Passed, Choice::Caught, Choice::Sent];

/// One chooser: chooses, then checks again before the wire. `note` is what the reporter writes
/// before its verdict, the text of the error say.
fn choose(cell: &HealthCell, note: &AtomicU64) -> Choice {
    let Some(ticket) = cell.admit(NOW) else {
        assert_eq!(note.load(Ordering::Relaxed), 1, "who sees Unhealthy sees what was written before it");
        return Choice::Passed;
    };
    if cell.is_current(ticket.stamp(), NOW) {
        return Choice::Sent;
    }
    assert_eq!(note.load(Ordering::Relaxed), 1, "who sees a newer epoch sees what was written before it");
    Choice::Caught
}

/// The race that started the project.
#[test]
fn a_401_races_a_chooser() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let note = Arc::new(AtomicU64::new(0));
        let mut refused = cell.admit(NOW).unwrap();
        let reporter = thread::spawn({
            let (cell, note) = (cell.clone(), note.clone());
            move || {
                note.store(1, Ordering::Relaxed);
                assert_eq!(said(cell.report(&mut refused, REFUSED, NOW, &policy())), Said::Moved);
                assert!(cell.admit(NOW).is_none(), "a choice after the commit never returns the endpoint");
            }
        });
        let choice = choose(&cell, &note);
        reporter.join().unwrap();
        assert!(cell.admit(NOW).is_none());
        choice
    });
    assert_eq!(seen, if FORM_SEES_ALL { BTreeSet::from(CHOICES) } else { BTreeSet::from([Choice::Sent]) });
}

#[test]
fn a_401_races_two_choosers() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let note = Arc::new(AtomicU64::new(0));
        let mut refused = cell.admit(NOW).unwrap();
        let chooser = thread::spawn({
            let (cell, note) = (cell.clone(), note.clone());
            move || choose(&cell, &note)
        });
        let reporter = thread::spawn({
            let (cell, note) = (cell.clone(), note.clone());
            move || {
                note.store(1, Ordering::Relaxed);
                assert_eq!(said(cell.report(&mut refused, REFUSED, NOW, &policy())), Said::Moved);
            }
        });
        let mine = choose(&cell, &note);
        let theirs = chooser.join().unwrap();
        reporter.join().unwrap();
        assert!(cell.admit(NOW).is_none());
        (mine, theirs)
    });
    // In the plain form the chooser on the model's own thread comes before the exchange always.
    let mine = if FORM_SEES_ALL { &CHOICES[..] } else { &[Choice::Sent] };
    assert_eq!(seen, mine.iter().flat_map(|mine| CHOICES.map(|theirs| (*mine, theirs))).collect());
}

/// A verdict of an older epoch changes nothing, whichever way it points, at whatever moment of a claim.
/// Returns what the reporter saw just before.
fn stale_verdict_races_a_claim(verdict: Verdict) -> BTreeSet<String> {
    outcomes(move || {
        let (cell, mut old, due) = unhealthy_and_due();
        let cell = Arc::new(cell);
        let claimer = thread::spawn({
            let cell = cell.clone();
            move || cell.claim(Claimant::Prober, LEASE, due, &policy()).is_some()
        });
        let before = cell.load().state;
        assert_eq!(said(cell.report(&mut old, verdict, due, &policy())), Said::Stale);
        assert!(claimer.join().unwrap(), "nobody else claims");
        let after = cell.load();
        assert!(after.state == State::Recovering && after.trial && after.passes == 0);
        assert_eq!((after.failures, after.level), (3, 1));
        format!("{before:?}")
    })
}

fn before_and_after_the_claim() -> BTreeSet<String> {
    // A stale verdict writes nothing, so that in the plain form nothing of the reporter's races the claim.
    let seen: &[&str] = if FORM_SEES_ALL { &["Unhealthy", "Recovering"] } else { &["Unhealthy"] };
    seen.iter().map(ToString::to_string).collect()
}

#[test]
fn a_stale_pass_races_a_claim() {
    assert_eq!(stale_verdict_races_a_claim(PASS), before_and_after_the_claim());
}

#[test]
fn a_stale_fail_races_a_claim() {
    assert_eq!(stale_verdict_races_a_claim(REFUSED), before_and_after_the_claim());
}

#[test]
fn of_two_claimers_one_wins() {
    let seen = outcomes(|| {
        let (cell, _, due) = unhealthy_and_due();
        let cell = Arc::new(cell);
        let claimer = thread::spawn({
            let cell = cell.clone();
            move || cell.claim(Claimant::Prober, LEASE, due, &policy()).is_some()
        });
        let mine = cell.claim(Claimant::Prober, LEASE, due, &policy()).is_some();
        let theirs = claimer.join().unwrap();
        assert!(mine != theirs, "one trial, one ticket");
        assert!(cell.load().trial);
        mine
    });
    assert_eq!(seen, BTreeSet::from([false, true]));
}

/// Three tickets, threshold three: each failure counts, and only the one that reaches the threshold
/// sees the change.
#[test]
fn of_as_many_failing_reporters_as_the_threshold_one_moves() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let [mut ticket, others @ ..] = [(); 3].map(|()| cell.admit(NOW).unwrap());
        let reporters: Vec<_> = others
            .into_iter()
            .map(|mut ticket| {
                let cell = cell.clone();
                thread::spawn(move || said(cell.report(&mut ticket, FAIL, NOW, &policy())))
            })
            .collect();
        let mine = said(cell.report(&mut ticket, FAIL, NOW, &policy()));
        let theirs = reporters.into_iter().map(|reporter| reporter.join().unwrap());
        let all: Vec<_> = theirs.chain([mine]).collect();
        let after = cell.load();
        assert_eq!((after.state, after.failures), (State::Unhealthy, 3));
        all
    });
    let one = |at: usize| (0..3).map(|i| if i == at { Said::Moved } else { Said::Stays }).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([one(0), one(1), one(2)]));
}

/// Four threads, one failure more than it takes: the last one finds another epoch.
#[test]
fn of_four_refused_reporters_one_moves() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let [mut ticket, others @ ..] = [(); 4].map(|()| cell.admit(NOW).unwrap());
        let reporters: Vec<_> = others
            .into_iter()
            .map(|mut ticket| {
                let cell = cell.clone();
                thread::spawn(move || said(cell.report(&mut ticket, REFUSED, NOW, &policy())))
            })
            .collect();
        let mine = said(cell.report(&mut ticket, REFUSED, NOW, &policy()));
        let theirs = reporters.into_iter().map(|reporter| reporter.join().unwrap());
        let all: Vec<_> = theirs.chain([mine]).collect();
        assert_eq!(cell.load().level, 1);
        all
    });
    let one = |at: usize| (0..4).map(|i| if i == at { Said::Moved } else { Said::Stale }).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([one(0), one(1), one(2), one(3)]));
}

/// Whichever comes first, the endpoint ends disabled, and the ticket is no longer good for the wire.
fn disable_races(verdict: Verdict) -> BTreeSet<(Said, String)> {
    outcomes(move || {
        let cell = Arc::new(healthy());
        let mut ticket = cell.admit(NOW).unwrap();
        let operator = thread::spawn({
            let cell = cell.clone();
            move || {
                let outcome = cell.command(AdminCommand::Disable, NOW, &policy());
                assert!(cell.admit(NOW).is_none(), "a choice after the commit never returns the endpoint");
                said(outcome)
            }
        });
        let outcome = said(cell.report(&mut ticket, verdict, NOW, &policy()));
        assert_eq!(operator.join().unwrap(), Said::Moved);
        let after = cell.load();
        assert_eq!((after.admin, after.failures), (Admin::Disabled, 0));
        assert!(!cell.is_current(ticket.stamp(), NOW));
        (outcome, format!("{:?}", after.state))
    })
}

#[test]
fn a_disable_races_a_401() {
    let seen = disable_races(REFUSED);
    let expected = [(Said::Moved, "Unhealthy".into()), (Said::Stale, "Healthy".into())];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_disable_races_a_failure_that_only_counts() {
    let seen = disable_races(FAIL);
    let expected = [(Said::Stays, "Healthy".into()), (Said::Stale, "Healthy".into())];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// The lease is over when the trial's pass comes at last. It brings the endpoint back, or comes too late.
#[test]
fn a_lease_reclaim_races_a_late_pass() {
    let seen = outcomes(|| {
        let (cell, mut late, now) = trial_overdue();
        let cell = Arc::new(cell);
        let sweeper = thread::spawn({
            let cell = cell.clone();
            move || said(cell.sweep(now, &policy()))
        });
        let outcome = said(cell.report(&mut late, PASS, now, &policy()));
        assert_eq!(sweeper.join().unwrap(), Said::Stays, "a trial taken back is nobody's news");
        let after = cell.load();
        assert!(!after.trial);
        (outcome, format!("{:?}", after.state))
    });
    let expected = [(Said::Moved, "Healthy".into()), (Said::Stale, "Recovering".into())];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// The same with a claim that takes the trial over: two claims, one live ticket.
#[test]
fn a_takeover_races_a_late_pass() {
    let seen = outcomes(|| {
        let (cell, mut late, now) = trial_overdue();
        let cell = Arc::new(cell);
        let claimer = thread::spawn({
            let cell = cell.clone();
            move || cell.claim(Claimant::Prober, LEASE, now, &policy())
        });
        let outcome = said(cell.report(&mut late, PASS, now, &policy()));
        let claim = claimer.join().unwrap();
        let after = cell.load();
        if let Some(claim) = &claim {
            assert!(cell.is_current(claim.ticket.stamp(), now));
            assert!(!cell.is_current(late.stamp(), now), "two live tickets of one trial");
        }
        (outcome, claim.is_some(), format!("{:?}", after.state))
    });
    let expected = [(Said::Moved, false, "Healthy".into()), (Said::Stale, true, "Recovering".into())];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// A cooldown only grows, and who sees it sees what was written before it.
#[test]
fn a_cooldown_raise_races_a_read() {
    let seen = outcomes(|| {
        let cooldown = Arc::new(Cooldown::new());
        let note = Arc::new(AtomicU64::new(0));
        let raisers: Vec<_> = [(5, 0), (9, 1)]
            .map(|(until, write)| {
                let (cooldown, note) = (cooldown.clone(), note.clone());
                thread::spawn(move || {
                    if write == 1 {
                        note.store(1, Ordering::Relaxed);
                    }
                    cooldown.raise(Tick(until))
                })
            })
            .into_iter()
            .collect();
        let first = cooldown.until();
        let second = cooldown.until();
        assert!(first <= second, "it shrank");
        assert!(second < Tick(9) || note.load(Ordering::Relaxed) == 1, "who sees it sees what came before");
        let raised: Vec<_> = raisers.into_iter().map(|raiser| raiser.join().unwrap()).collect();
        assert_eq!(cooldown.until(), Tick(9));
        assert!(raised[1], "nothing else was as late");
        (first, second, raised[0])
    });
    // The shorter raise moves it only when it comes first; then the reader may see 5.
    let t = |first, second, moved| (Tick(first), Tick(second), moved);
    let shorter_first = [(0, 0), (0, 5), (0, 9), (5, 5), (5, 9), (9, 9)].map(|(a, b)| t(a, b, true));
    let shorter_last = [(0, 0), (0, 9), (9, 9)].map(|(a, b)| t(a, b, false));
    assert_eq!(seen, shorter_first.into_iter().chain(shorter_last).collect());
}

#[test]
fn an_interval_lets_one_of_three_pass() {
    let seen = outcomes(|| {
        let interval = Arc::new(Interval::new());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let interval = interval.clone();
                thread::spawn(move || interval.pass(NOW, Ticks::from_secs(1)))
            })
            .collect();
        let mine = interval.pass(NOW, Ticks::from_secs(1));
        let theirs = others.into_iter().map(|other| other.join().unwrap());
        let passed: Vec<_> = theirs.chain([mine]).collect();
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        assert!(!interval.pass(NOW, Ticks::from_secs(1)));
        assert!(interval.pass(NOW + Ticks::from_secs(1), Ticks::from_secs(1)));
        passed
    });
    let one = |at: usize| (0..3).map(|i| i == at).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([one(0), one(1), one(2)]));
}

/// The same failure said twice counts once, beside another one that is on its way.
#[test]
fn a_double_report_counts_once() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let mut other = cell.admit(NOW).unwrap();
        let reporter = thread::spawn({
            let cell = cell.clone();
            move || said(cell.report(&mut other, FAIL, NOW, &policy()))
        });
        let mut ticket = cell.admit(NOW).unwrap();
        let first = said(cell.report(&mut ticket, FAIL, NOW, &policy()));
        let between = cell.load().failures;
        assert_eq!(said(cell.report(&mut ticket, FAIL, NOW, &policy())), Said::Stale);
        assert_eq!((first, reporter.join().unwrap()), (Said::Stays, Said::Stays));
        assert_eq!((cell.load().state, cell.load().failures), (State::Healthy, 2));
        between
    });
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

/// A trial passes at its first content and breaks off later; between the two another request is served.
#[test]
fn a_trial_that_breaks_after_its_pass_races_traffic() {
    let seen = outcomes(|| {
        let (cell, mut trial, now) = trial_overdue();
        let cell = Arc::new(cell);
        let chooser = thread::spawn({
            let cell = cell.clone();
            move || {
                let mut ticket = cell.admit(now)?;
                Some(said(cell.report(&mut ticket, PASS, now, &policy())))
            }
        });
        assert_eq!(said(cell.report(&mut trial, PASS, now, &policy())), Said::Moved);
        assert_eq!(said(cell.report(&mut trial, REFUSED, now, &policy())), Said::Moved);
        assert_eq!(said(cell.report(&mut trial, REFUSED, now, &policy())), Said::Stale);
        let served = chooser.join().unwrap();
        assert_eq!(cell.load().state, State::Unhealthy);
        served
    });
    assert_eq!(seen, BTreeSet::from([None, Some(Said::Stays), Some(Said::Stale)]));
}

fn failure() -> Failure {
    Failure::new(Cause::Server, CheckMethod::Chat)
}

/// Two samples of which one failed.
fn half_of_two() -> FailureLimit {
    FailureLimit::new(2, 500_000)
}

/// Two found that the share is too large; the change is one, and one tells of it.
#[test]
fn of_two_trips_one_moves() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let stamps = [(); 2].map(|()| cell.admit(NOW).unwrap().stamp());
        let other = thread::spawn({
            let cell = cell.clone();
            move || said(cell.trip(stamps[0], failure(), NOW, &policy()))
        });
        let mine = said(cell.trip(stamps[1], failure(), NOW, &policy()));
        let theirs = other.join().unwrap();
        let after = cell.load();
        assert_eq!((after.state, after.level, after.failures), (State::Unhealthy, 1, 0));
        (mine, theirs)
    });
    assert_eq!(seen, BTreeSet::from([(Said::Moved, Said::Stays), (Said::Stays, Said::Moved)]));
}

/// A trip computed from samples of before comes while the endpoint is tried and comes back: it changes
/// nothing, at whatever moment.
#[test]
fn a_trip_of_an_older_epoch_races_a_recovery() {
    let seen = outcomes(|| {
        let (cell, old, due) = unhealthy_and_due();
        let cell = Arc::new(cell);
        let prober = thread::spawn({
            let cell = cell.clone();
            move || {
                let mut trial = cell.claim(Claimant::Prober, LEASE, due, &policy()).unwrap().ticket;
                said(cell.report(&mut trial, PASS, due, &policy()))
            }
        });
        let before = cell.load().state;
        assert_eq!(said(cell.trip(old.stamp(), failure(), due, &policy())), Said::Stays);
        assert_eq!(prober.join().unwrap(), Said::Moved, "nobody takes it out of service again");
        assert_eq!(cell.load().state, State::Healthy);
        format!("{before:?}")
    });
    let states: &[&str] =
        if FORM_SEES_ALL { &["Unhealthy", "Recovering", "Healthy"] } else { &["Unhealthy"] };
    assert_eq!(seen, states.iter().map(ToString::to_string).collect());
}

/// A current trip beside a claim: there is nothing to claim before it, and the claim is not due after it.
#[test]
fn a_trip_races_a_claim() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let stamp = cell.admit(NOW).unwrap().stamp();
        let claimer = thread::spawn({
            let cell = cell.clone();
            move || cell.claim(Claimant::LastResort, LEASE, NOW, &policy()).is_some()
        });
        assert_eq!(said(cell.trip(stamp, failure(), NOW, &policy())), Said::Moved);
        let claimed = claimer.join().unwrap();
        let after = cell.load();
        let expected = if claimed { State::Recovering } else { State::Unhealthy };
        assert_eq!((after.state, after.trial), (expected, claimed));
        claimed
    });
    assert_eq!(seen, BTreeSet::from([false, true]));
}

#[test]
fn a_trip_races_a_disable() {
    let seen = outcomes(|| {
        let cell = Arc::new(healthy());
        let stamp = cell.admit(NOW).unwrap().stamp();
        let operator = thread::spawn({
            let cell = cell.clone();
            move || said(cell.command(AdminCommand::Disable, NOW, &policy()))
        });
        let tripped = said(cell.trip(stamp, failure(), NOW, &policy()));
        assert_eq!(operator.join().unwrap(), Said::Moved);
        let after = cell.load();
        assert_eq!(after.admin, Admin::Disabled);
        (tripped, format!("{:?}", after.state))
    });
    let expected = [(Said::Moved, "Unhealthy".into()), (Said::Stays, "Healthy".into())];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// Each sample counts, and whoever enters the last one finds the share.
#[test]
fn no_sample_is_lost() {
    let seen = outcomes(|| {
        let window = Arc::new(FailureWindow::new(Ticks::from_secs(30)));
        let stamp = healthy().admit(NOW).unwrap().stamp();
        let other = thread::spawn({
            let window = window.clone();
            move || window.record(stamp, Sample::Failed(failure()), NOW, half_of_two()).is_some()
        });
        let mine = window.record(stamp, Sample::Passed, NOW, half_of_two()).is_some();
        let theirs = other.join().unwrap();
        assert_eq!(window.counts(stamp.epoch(), NOW), (1, 1));
        assert!(mine || theirs, "the last one sees both");
        (mine, theirs)
    });
    assert_eq!(seen, BTreeSet::from([(false, true), (true, false), (true, true)]));
}

/// A slow reporter's sample is of the period before; a request of the period after has one of its own. Neither
/// counts in the other's, so that a recovered endpoint starts with an empty window. That holds whichever
/// comes first: a window that somebody clears at the change would take the slow one for its own.
#[test]
fn a_late_sample_races_the_first_of_the_next_epoch() {
    let seen = outcomes(|| {
        let (cell, old, due) = unhealthy_and_due();
        let mut trial = cell.claim(Claimant::Prober, LEASE, due, &policy()).unwrap().ticket;
        assert_eq!(said(cell.report(&mut trial, PASS, due, &policy())), Said::Moved);
        let (cell, window) = (Arc::new(cell), Arc::new(FailureWindow::new(Ticks::from_secs(30))));
        let (before, after) = (old.stamp(), cell.admit(due).unwrap().stamp());
        let late = thread::spawn({
            let (cell, window) = (cell.clone(), window.clone());
            move || {
                let limit = FailureLimit::new(1, 1);
                let found = window.record(before, Sample::Failed(failure()), due, limit)?;
                Some(said(cell.trip(before, found, due, &policy())))
            }
        });
        let mine = window.record(after, Sample::Passed, due, half_of_two());
        assert_eq!(mine, None, "a failure of before counts after");
        let late = late.join().unwrap();
        assert_eq!(window.counts(after.epoch(), due), (1, 0));
        assert_eq!(cell.load().state, State::Healthy);
        late
    });
    assert_eq!(seen, BTreeSet::from([None, Some(Said::Stays)]));
}
