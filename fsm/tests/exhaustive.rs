//! The transition function against a plain match table, over every kind of word and event.
//!
//! The table below is written from the contract (`docs/health.md`), row by row and without cleverness. It
//! shares nothing with the machine but the types and [`Policy::wait`], whose bounds are tested apart.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod support;

use std::collections::BTreeSet;

use qcc_fsm::*;
use support::*;

/// The contract's table: what the word is after the event.
fn table(word: Snapshot, event: &Event, now: Tick, policy: &Policy) -> Snapshot {
    let same = word;
    if let Event::Admin(command) = event {
        return operator(word, *command);
    }
    if word.admin != Admin::Active {
        return same;
    }
    let due = word.deadline.is_due(now);
    match event {
        Event::Verdict { stamp, .. } if stamp.epoch() != word.epoch => same,
        Event::Verdict { stamp, .. } if *stamp == aged(word.epoch) => same,

        Event::Verdict { verdict: Verdict::Pass(evidence), .. } => match word.state {
            // A first pass opens no new period.
            State::Unknown => Snapshot { state: State::Healthy, ..word },
            State::Healthy => match evidence {
                Evidence::Traffic => Snapshot { failures: 0, method: None, ..word },
                Evidence::Check(by) if Some(*by) == word.method => {
                    Snapshot { failures: 0, method: None, ..word }
                }
                Evidence::Check(_) => same,
            },
            State::Unhealthy => same,
            State::Recovering if !word.trial => same,
            State::Recovering => {
                let counts = match (evidence, word.method) {
                    (Evidence::Traffic | Evidence::Check(CheckMethod::Chat), _) => true,
                    (Evidence::Check(CheckMethod::ModelList), Some(CheckMethod::Chat)) => false,
                    (Evidence::Check(CheckMethod::ModelList), _) => true,
                    (Evidence::Check(CheckMethod::Network), Some(CheckMethod::Network)) => true,
                    (Evidence::Check(CheckMethod::Network), _) => false,
                };
                let passes = if counts { word.passes + 1 } else { word.passes };
                if passes < policy.success_threshold() {
                    Snapshot { passes, ..released(word, now) }
                } else {
                    healthy_again(word, now)
                }
            }
        },

        Event::Verdict { verdict: Verdict::Fail(failure), .. } => match word.state {
            State::Unknown => out_of_service(word, failure, now, policy),
            State::Healthy => {
                let sum = word.failures + weight(failure, policy);
                if sum >= policy.failure_threshold() {
                    out_of_service(word, failure, now, policy)
                } else {
                    Snapshot { failures: sum, method: stronger(word.method, failure.method), ..word }
                }
            }
            State::Unhealthy => same,
            State::Recovering => out_of_service(word, failure, now, policy),
        },

        Event::Verdict { verdict: Verdict::Neutral, .. } => match word.state {
            State::Recovering if word.trial => released(word, now),
            State::Unknown | State::Healthy | State::Unhealthy | State::Recovering => same,
        },

        Event::Trip { stamp, failure } => match word.state {
            _ if stamp.epoch() != word.epoch || *stamp == aged(word.epoch) => same,
            State::Healthy => Snapshot {
                state: State::Unhealthy,
                cause: Some(failure.cause),
                method: Some(failure.method),
                level: 15.min(word.level + 1),
                deadline: Deadline::after(now, policy.wait(failure.cause, None, word.level, word.epoch)),
                epoch: after(word.epoch),
                ..word
            },
            State::Unknown | State::Unhealthy | State::Recovering => same,
        },

        Event::Claim { by, lease } => {
            let last_resort = word.cause != Some(Cause::Auth) && word.cause != Some(Cause::Quota);
            let allowed = match (by, policy.billing()) {
                (Claimant::Prober, Billing::PerToken) | (Claimant::Request, Billing::PerRequest) => due,
                (Claimant::Prober, Billing::PerRequest) | (Claimant::Request, Billing::PerToken) => false,
                (Claimant::LastResort, Billing::PerToken | Billing::PerRequest) => last_resort,
            };
            let lease = Ticks(lease.0.clamp(1, 864_000));
            let tried = Snapshot {
                state: State::Recovering,
                trial: true,
                deadline: Deadline::after(now, lease),
                epoch: after(word.epoch),
                ..word
            };
            match word.state {
                State::Unknown | State::Healthy => same,
                State::Unhealthy if allowed => Snapshot { passes: 0, ..tried },
                State::Recovering if allowed && (!word.trial || due) => tried,
                State::Unhealthy | State::Recovering => same,
            }
        }

        Event::Sweep => {
            let old = word.deadline.overdue(now) >= Ticks::from_secs(3600);
            match word.state {
                State::Unknown => same,
                State::Healthy if word.level > 0 && due => decayed(word, now),
                State::Healthy => same,
                State::Recovering if word.trial && due => released(word, now),
                State::Unhealthy | State::Recovering if old => due_now(word, now),
                State::Unhealthy | State::Recovering => same,
            }
        }

        Event::Recheck => match word.state {
            State::Unknown | State::Healthy => same,
            State::Recovering if word.trial => same,
            State::Unhealthy | State::Recovering => due_now(word, now),
        },

        Event::Admin(_) => unreachable!("handled above"),
    }
}

fn operator(word: Snapshot, command: AdminCommand) -> Snapshot {
    let unknown = Snapshot { admin: word.admin, epoch: after(word.epoch), ..Word::default().decode() };
    match (command, word.admin, word.state) {
        (AdminCommand::Drain, Admin::Draining, _) | (AdminCommand::Disable, Admin::Disabled, _) => word,
        (AdminCommand::Drain, _, _) => put_aside(word, Admin::Draining),
        (AdminCommand::Disable, _, _) => put_aside(word, Admin::Disabled),
        (AdminCommand::Enable, Admin::Active, State::Unknown | State::Healthy) => word,
        (AdminCommand::Enable, _, _) => Snapshot { admin: Admin::Active, ..unknown },
        (AdminCommand::Reset, _, State::Unknown) => word,
        (AdminCommand::Reset, _, _) => unknown,
    }
}

fn put_aside(word: Snapshot, admin: Admin) -> Snapshot {
    let aside = Snapshot { admin, trial: false, epoch: after(word.epoch), ..word };
    match (admin, word.state) {
        // A method beside no failures would mean nothing.
        (Admin::Disabled, State::Healthy) => Snapshot { method: None, failures: 0, passes: 0, ..aside },
        (Admin::Disabled, _) => Snapshot { failures: 0, passes: 0, ..aside },
        (Admin::Active | Admin::Draining, _) => aside,
    }
}

fn out_of_service(word: Snapshot, failure: &Failure, now: Tick, policy: &Policy) -> Snapshot {
    let broken_wire = failure.method == CheckMethod::Network;
    let cause = match (word.cause, failure.cause) {
        (_, Cause::Auth | Cause::Quota) => failure.cause,
        (Some(known @ (Cause::Auth | Cause::Quota)), _) if broken_wire => known,
        (_, found) => found,
    };
    Snapshot {
        state: State::Unhealthy,
        cause: Some(cause),
        method: stronger(word.method, failure.method),
        failures: 15.min(word.failures + weight(failure, policy)),
        passes: 0,
        trial: false,
        level: 15.min(word.level + 1),
        deadline: Deadline::after(now, policy.wait(cause, failure.resets_in, word.level, word.epoch)),
        epoch: after(word.epoch),
        ..word
    }
}

fn weight(failure: &Failure, policy: &Policy) -> u8 {
    match failure.cause {
        Cause::Auth | Cause::Quota => policy.failure_threshold(),
        Cause::Server | Cause::Timeout | Cause::Network | Cause::InvalidResponse | Cause::Stream => {
            1.max(failure.weight)
        }
    }
}

fn stronger(known: Option<CheckMethod>, found: CheckMethod) -> Option<CheckMethod> {
    use CheckMethod::{Chat, ModelList, Network};
    match (known, found) {
        (Some(Chat), _) | (_, Chat) => Some(Chat),
        (Some(ModelList), _) | (_, ModelList) => Some(ModelList),
        (None | Some(Network), Network) => Some(Network),
    }
}

fn released(word: Snapshot, now: Tick) -> Snapshot {
    let deadline = Deadline::after(now, Ticks::from_secs(1));
    Snapshot { trial: false, deadline, epoch: after(word.epoch), ..word }
}

fn healthy_again(word: Snapshot, now: Tick) -> Snapshot {
    Snapshot {
        state: State::Healthy,
        level: word.level,
        deadline: Deadline::after(now, Ticks::from_secs(60)),
        epoch: after(word.epoch),
        ..Word::default().decode()
    }
}

fn decayed(word: Snapshot, now: Tick) -> Snapshot {
    let deadline =
        if word.level == 1 { Deadline::default() } else { Deadline::after(now, Ticks::from_secs(60)) };
    Snapshot { level: word.level - 1, deadline, ..word }
}

fn due_now(word: Snapshot, now: Tick) -> Snapshot {
    Snapshot { deadline: Deadline::after(now, Ticks(0)), ..word }
}

fn after(current: Epoch) -> Epoch {
    epoch((current.get() + 1) % (1 << 20))
}

fn aged(current: Epoch) -> Stamp {
    Stamp::new(current, tick_before(NOW, Policy::TICKET_LIFE))
}

/// Compares over all policies, and returns how many pairs of word and event it looked at.
fn compare(billing: Billing, epochs: &[u32]) -> usize {
    let mut compared = 0;
    for policy in policies().iter().filter(|policy| policy.billing() == billing) {
        let events: Vec<_> = epochs.iter().map(|&number| (number, events(epoch(number)))).collect();
        for word in words(policy, epochs) {
            let packed = word.encode();
            assert_eq!(packed.decode(), word, "decode ∘ encode = id");
            let Some((_, events)) = events.iter().find(|(number, _)| *number == word.epoch.get()) else {
                unreachable!("words are of these epochs")
            };
            for event in events {
                let expected = table(word, event, NOW, policy);
                let got = next(packed, event, NOW, policy);
                // Compared packed: an expectation whose counters overflow would not survive it.
                if got != expected.encode() || !looks_reachable(&got.decode(), policy) {
                    panic!(
                        "{word:?}\n  {event:?}\n  {policy:?}\n  expected {expected:?}\n  got      {got:?}"
                    );
                }
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn the_machine_is_the_table_for_endpoints_billed_by_the_token() {
    let compared = compare(Billing::PerToken, &[77]);
    println!("{compared} pairs");
    assert!(compared > 500_000);
}

#[test]
fn the_machine_is_the_table_for_endpoints_billed_by_the_request() {
    let compared = compare(Billing::PerRequest, &[EPOCH_MAX]);
    println!("{compared} pairs");
    assert!(compared > 500_000);
}

/// Words that real events lead to, from the zero word on, must be among those that the tests above call
/// reachable, and survive packing: S9.
#[test]
fn every_word_that_events_lead_to_decodes_and_looks_reachable() {
    let policy = Policy::new(Billing::PerToken).with_success_threshold(2);
    let causes = [Cause::Auth, Cause::Quota, Cause::Server];
    let mut seen = BTreeSet::new();
    let mut frontier = vec![(Word::default(), 0_u8)];
    // Each step comes a minute after the one before, so that every deadline in between has its turn.
    while let Some((word, depth)) = frontier.pop() {
        let snapshot = word.decode();
        assert_eq!(snapshot.encode(), word);
        assert_eq!(Word::from_bits(word.bits()), Some(word));
        assert!(looks_reachable(&snapshot, &policy), "{word:?}");
        if depth == 7 || !seen.insert((word.bits(), depth)) {
            continue;
        }
        let now = NOW + Ticks::from_secs(60 * u32::from(depth));
        let stamp = Stamp::new(snapshot.epoch, now);
        let fails = causes.map(|cause| Verdict::Fail(Failure::new(cause, CheckMethod::Network)));
        let verdicts = fails.into_iter().chain([Verdict::Neutral, Verdict::Pass(Evidence::Traffic)]);
        let events = verdicts
            .map(|verdict| Event::Verdict { stamp, verdict })
            .chain(Claimant::ALL.map(|by| Event::Claim { by, lease: LEASE }))
            .chain([Event::Sweep, Event::Recheck])
            .chain([Event::Trip { stamp, failure: Failure::new(Cause::Server, CheckMethod::Chat) }])
            .chain(AdminCommand::ALL.map(Event::Admin));
        frontier.extend(events.map(|event| (next(word, &event, now, &policy), depth + 1)));
    }
    println!("{} words", seen.len());
    let states: BTreeSet<_> = seen.iter().map(|(bits, _)| layout::STATE.get(*bits)).collect();
    assert_eq!(states.len(), 4);
}

#[test]
fn any_64_bits_decode_to_a_word_that_packs_again() {
    for high in 0..=0xffff_u64 {
        for bits in [high << 48 | high, high << 32 | high << 16, high.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
            let bits = bits | layout::ADMIN.put(high);
            let read = Word::from_bits(bits).unwrap_or_default();
            assert_eq!(read.decode().encode(), read);
            let strange = layout::ADMIN.get(bits) == 3 || layout::CAUSE.get(bits) > 7;
            assert_eq!(Word::from_bits(bits).is_none(), strange);
        }
    }
}

#[test]
fn bits_that_no_state_has_are_no_word() {
    let cell_bits = layout::ADMIN.put(3) | layout::CAUSE.put(9);
    assert_eq!(Word::from_bits(cell_bits), None);
}

#[test]
fn a_deadline_is_ahead_until_its_tick_wherever_the_field_wraps() {
    let wrap = 1_u64 << 22;
    let spans = [0, 1, 2, 9, 600, 36_000, 863_999, 864_000];
    for start in
        [0, 1, wrap - 864_001, wrap - 864_000, wrap - 1, wrap, wrap + 1, 77 * wrap - 5, u64::from(u32::MAX)]
    {
        for span in spans {
            let deadline = Deadline::after(Tick(start), Ticks(span));
            assert_eq!(deadline.remaining(Tick(start)), Ticks(span));
            assert_eq!(deadline.is_due(Tick(start)), span == 0);
            let end = start + u64::from(span);
            assert!(end == start || !deadline.is_due(Tick(end - 1)));
            // Once come, it stays so for 92 h at least.
            for late in [0, 1, 36_000, 92 * 36_000] {
                assert!(deadline.is_due(Tick(end + late)), "{start} + {span}, {late} late");
                assert_eq!(deadline.overdue(Tick(end + late)), Ticks(late as u32));
            }
        }
    }
}

#[test]
fn a_deadline_lies_a_day_ahead_at_most() {
    for span in [864_000, 864_001, 1 << 22, u32::MAX] {
        let deadline = Deadline::after(NOW, Ticks(span));
        assert_eq!(deadline.remaining(NOW), Ticks(864_000));
        assert!(deadline.is_due(NOW + Ticks::from_secs(24 * 3600)));
    }
}

#[test]
fn a_sweep_renews_an_old_deadline_long_before_it_would_read_as_ahead() {
    let policy = Policy::new(Billing::PerRequest);
    let cell = HealthCell::new();
    let mut ticket = cell.admit(NOW).expect("unknown is available");
    let failed = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));
    assert!(matches!(cell.report(&mut ticket, failed, NOW, &policy), Outcome::Moved(_)));
    // A year without a request, swept every 30 minutes: due all the time.
    for half_hour in 1..=2 * 24 * 365_u32 {
        let now = NOW + Ticks::from_secs(1800 * half_hour);
        assert!(cell.load().deadline.is_due(now));
        assert_eq!(cell.sweep(now, &policy), Outcome::Stays);
        assert!(cell.load().deadline.overdue(now) < Ticks::from_secs(3600));
    }
}

#[test]
fn a_wait_lies_between_half_and_all_of_a_backoff_that_doubles_up_to_its_end() {
    let general = [50, 100, 200, 400, 800, 1600, 3000, 3000];
    let auth = [600, 1200, 2400, 4800, 9600, 18_000, 18_000, 18_000];
    let mut drawn = BTreeSet::new();
    for (seed, number) in (0..50).flat_map(|seed| (0..40).map(move |number| (seed, number))) {
        let policy = Policy::new(Billing::PerToken).with_seed(seed);
        for level in 0..=15_u8 {
            for cause in Cause::ALL.into_iter().filter(|cause| *cause != Cause::Quota) {
                let full = if cause == Cause::Auth { auth } else { general }[usize::from(level.min(7))];
                let wait = policy.wait(cause, Some(Ticks(3)), level, epoch(number));
                assert!(wait.0 >= full / 2 && wait.0 <= full, "{cause} at {level}: {wait:?} of {full}");
                assert_eq!(
                    wait,
                    policy.wait(cause, None, level, epoch(number)),
                    "the same history, the same wait"
                );
                if cause == Cause::Server && level == 0 {
                    drawn.insert(wait);
                }
            }
        }
    }
    assert_eq!(drawn.len(), 26, "every tick from half to all of 5 s is drawn");
}

#[test]
fn a_quota_waits_for_its_announced_end_to_the_tick_or_ten_minutes() {
    let policy = Policy::new(Billing::PerToken).with_seed(3);
    for level in 0..=15 {
        assert_eq!(policy.wait(Cause::Quota, None, level, epoch(9)), Ticks::from_secs(600));
        for announced in [1, 2, 77, 36_000, 864_000] {
            assert_eq!(policy.wait(Cause::Quota, Some(Ticks(announced)), level, epoch(9)), Ticks(announced));
        }
        assert_eq!(policy.wait(Cause::Quota, Some(Ticks(0)), level, epoch(9)), Ticks::ONE);
    }
}

#[test]
fn a_policy_is_valid_whatever_it_is_given() {
    for number in 0..=u8::MAX {
        let policy =
            Policy::new(Billing::PerToken).with_failure_threshold(number).with_success_threshold(number);
        assert!((1..=15).contains(&policy.failure_threshold()));
        assert!((1..=7).contains(&policy.success_threshold()));
    }
    let extremes = [0, 1, 50, u32::MAX].map(Ticks);
    for (base, max) in extremes.iter().flat_map(|base| extremes.iter().map(move |max| (*base, *max))) {
        let policy = Policy::new(Billing::PerToken).with_backoff(base, max).with_auth_backoff(base, max);
        for (cause, level) in
            Cause::ALL.into_iter().flat_map(|cause| (0..=15).map(move |level| (cause, level)))
        {
            let wait = policy.wait(cause, None, level, epoch(1));
            assert!(wait >= Ticks::ONE);
            assert!(cause == Cause::Quota || wait <= base.max(max).max(Ticks::ONE));
        }
    }
}

/// How many epochs can go by before a ticket is too old to count. The fastest endpoint there can be: waits of
/// one tick, every exchange answered at once, the last resort once a second. An operator is left out:
/// nobody types 200 commands a second for an hour.
#[test]
fn an_hour_sees_an_eighth_of_all_epochs_at_most() {
    let policy = Policy::new(Billing::PerToken)
        .with_failure_threshold(1)
        .with_backoff(Ticks::ONE, Ticks::ONE)
        .with_auth_backoff(Ticks::ONE, Ticks::ONE);
    // From every word, by any events within one tick. The last resort is counted apart: its claim and
    // what follows from it are worth as much as a due claim.
    let mut within_a_tick = 0;
    for word in words(&policy, &[EPOCH_MAX - 2]) {
        within_a_tick = within_a_tick.max(most_epochs(word.encode(), &policy));
    }
    assert_eq!(within_a_tick, 3, "claimed, back in service, out again");
    let in_an_hour = within_a_tick * 36_000 + within_a_tick * 3600;
    assert!(in_an_hour * 8 < 1 << 20, "{in_an_hour} of {}", 1 << 20);
}

/// The most epochs that events other than an operator's and the last resort's can bring about at `NOW`.
fn most_epochs(word: Word, policy: &Policy) -> u32 {
    let current = word.decode().epoch;
    let verdicts = [
        Verdict::Pass(Evidence::Traffic),
        Verdict::Neutral,
        Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat)),
        Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat)),
    ];
    let verdicts = verdicts.map(|verdict| Event::Verdict { stamp: Stamp::new(current, NOW), verdict });
    let trip = Event::Trip {
        stamp: Stamp::new(current, NOW),
        failure: Failure::new(Cause::Server, CheckMethod::Chat),
    };
    let claims = [Claimant::Prober, Claimant::Request].map(|by| Event::Claim { by, lease: Ticks::ONE });
    let events = verdicts.into_iter().chain(claims).chain([Event::Sweep, trip]);
    let after = events.map(|event| next(word, &event, NOW, policy)).filter(|after| *after != word);
    after
        .map(|after| u32::from(after.decode().epoch != current) + most_epochs(after, policy))
        .max()
        .unwrap_or(0)
}

#[test]
fn a_ticket_of_an_hour_ago_is_stale_whatever_its_epoch() {
    let policy = Policy::new(Billing::PerToken);
    let failed = Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat));
    let cell = HealthCell::new();
    let mut ticket = cell.admit(NOW).expect("available");
    let hour = NOW + Ticks::from_secs(3600);
    assert!(cell.is_current(ticket.stamp(), Tick(hour.0 - 1)));
    assert!(!cell.is_current(ticket.stamp(), hour));
    assert_eq!(cell.report(&mut ticket, failed, hour, &policy), Outcome::Stale);
    assert_eq!(cell.load(), Snapshot { ..Word::default().decode() });
    let mut ticket = cell.admit(NOW).expect("available");
    assert!(matches!(cell.report(&mut ticket, failed, Tick(hour.0 - 1), &policy), Outcome::Moved(_)));
}

#[test]
fn a_ticket_yields_one_verdict_but_for_a_failure_after_a_pass() {
    let policy = Policy::new(Billing::PerToken).with_failure_threshold(15);
    let pass = Verdict::Pass(Evidence::Traffic);
    let fail = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));
    let all = [pass, fail, Verdict::Neutral];
    for (first, second) in all.into_iter().flat_map(|first| all.map(|second| (first, second))) {
        let cell = HealthCell::new();
        let mut opened = cell.admit(NOW).expect("available");
        let _ = cell.report(&mut opened, pass, NOW, &policy);
        let mut ticket = cell.admit(NOW).expect("available");
        assert_eq!(cell.report(&mut ticket, first, NOW, &policy), Outcome::Stays);
        let between = cell.load();
        let outcome = cell.report(&mut ticket, second, NOW, &policy);
        if (first, second) == (pass, fail) {
            assert_eq!((outcome, cell.load().failures), (Outcome::Stays, 1));
        } else {
            assert_eq!((outcome, cell.load()), (Outcome::Stale, between), "{first:?} then {second:?}");
        }
        for third in all {
            let before = cell.load();
            let is_first_failure = first == pass && second != fail && third == fail;
            let outcome = cell.report(&mut ticket, third, NOW, &policy);
            assert_eq!(outcome == Outcome::Stale, !is_first_failure, "{first:?}, {second:?}, {third:?}");
            assert_eq!(cell.load() == before, !is_first_failure);
            if is_first_failure {
                break;
            }
        }
    }
}

#[test]
fn a_stream_that_breaks_after_it_brought_the_endpoint_back_counts() {
    let policy = Policy::new(Billing::PerToken).with_failure_threshold(1);
    let cell = HealthCell::new();
    let mut ticket = cell.admit(NOW).expect("available");
    let broken = Verdict::Fail(Failure::new(Cause::Stream, CheckMethod::Chat));
    let _ = cell.report(&mut ticket, broken, NOW, &policy);
    let later = NOW + Ticks::from_secs(5);
    let mut trial = cell.claim(Claimant::Prober, LEASE, later, &policy).expect("due").ticket;
    assert!(matches!(
        cell.report(&mut trial, Verdict::Pass(Evidence::Traffic), later, &policy),
        Outcome::Moved(_)
    ));
    assert_eq!(cell.load().state, State::Healthy);
    assert!(matches!(cell.report(&mut trial, broken, later, &policy), Outcome::Moved(_)));
    assert_eq!(cell.load().state, State::Unhealthy);
    assert!(trial.is_spent());
}

#[test]
fn the_first_pass_leaves_what_else_was_sent_current() {
    let policy = Policy::new(Billing::PerToken);
    let cell = HealthCell::new();
    let mut quick = cell.admit(NOW).expect("available");
    let mut slow = cell.admit(NOW).expect("available");
    assert!(matches!(
        cell.report(&mut quick, Verdict::Pass(Evidence::Traffic), NOW, &policy),
        Outcome::Moved(_)
    ));
    assert!(cell.is_current(slow.stamp(), NOW));
    let refused = Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat));
    assert!(matches!(cell.report(&mut slow, refused, NOW, &policy), Outcome::Moved(_)));
}
