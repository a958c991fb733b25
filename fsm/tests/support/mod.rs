//! Words, events and policies, enumerated for the tests that look at all of them.
#![allow(dead_code, reason = "each test target uses its own part")]

use qcc_fsm::*;

/// A moment past several wraps of the word's deadline field.
pub const NOW: Tick = Tick(5 * (1 << 22) + 12_345);
pub const LEASE: Ticks = Ticks::from_secs(15);
pub const EPOCH_MAX: u32 = (1 << 20) - 1;

pub fn epoch(number: u32) -> Epoch {
    let word = Word::from_bits(layout::EPOCH.put(u64::from(number))).expect("every epoch is a word");
    word.decode().epoch
}

pub fn tick_before(now: Tick, span: Ticks) -> Tick {
    Tick(now.0 - u64::from(span.0))
}

/// Thresholds 1, 3, 15 and 1, 2, 7, both billings.
pub fn policies() -> Vec<Policy> {
    let mut all = Vec::new();
    for billing in [Billing::PerToken, Billing::PerRequest] {
        for failures in [1, 3, 15] {
            for passes in [1, 2, 7] {
                let policy = Policy::new(billing).with_seed(7);
                all.push(policy.with_failure_threshold(failures).with_success_threshold(passes));
            }
        }
    }
    all
}

/// What holds of every word that the machine can reach: S1, S9 and which field has a meaning where.
pub fn looks_reachable(word: &Snapshot, policy: &Policy) -> bool {
    let counters_fit = word.failures <= 15 && word.passes <= 7 && word.level <= 15;
    let active = word.admin == Admin::Active;
    let fields_fit = match word.state {
        State::Unknown => {
            let nothing = Snapshot { admin: word.admin, epoch: word.epoch, ..Word::default().decode() };
            *word == nothing
        }
        State::Healthy => {
            let method_beside_failures = word.method.is_some() == (word.failures > 0);
            let below = word.failures < policy.failure_threshold();
            let idle = word.passes == 0 && !word.trial;
            word.cause.is_none() && method_beside_failures && below && idle
        }
        // A trip may come when a pass has just cleared the failures.
        State::Unhealthy => {
            let idle = word.passes == 0 && !word.trial;
            word.cause.is_some() && word.method.is_some() && idle && word.level > 0
        }
        State::Recovering => {
            let below = word.passes < policy.success_threshold();
            let trial_fits = active || !word.trial;
            word.cause.is_some() && word.method.is_some() && below && word.level > 0 && trial_fits
        }
    };
    counters_fit && fields_fit
}

/// Every word that looks reachable, over representative counters, levels and deadlines.
pub fn words(policy: &Policy, epochs: &[u32]) -> Vec<Snapshot> {
    let (f, p) = (policy.failure_threshold(), policy.success_threshold());
    let failures = distinct([0, 1, f - 1, f, 15]);
    let passes = distinct([0, 1, p - 1, p, 7]);
    let causes: Vec<_> = [None].into_iter().chain(Cause::ALL.map(Some)).collect();
    let methods: Vec<_> = [None].into_iter().chain(CheckMethod::ALL.map(Some)).collect();
    let mut all = Vec::new();
    let states = [State::Unknown, State::Healthy, State::Unhealthy, State::Recovering];
    for (state, admin) in pairs(&states, &[Admin::Active, Admin::Draining, Admin::Disabled]) {
        for (&cause, &method) in causes.iter().flat_map(|c| methods.iter().map(move |m| (c, m))) {
            for (failures, passes) in pairs(&failures, &passes) {
                for (trial, level) in pairs(&[false, true], &[0, 1, 14, 15]) {
                    for (deadline, &number) in pairs_ref(&deadlines(), epochs) {
                        let epoch = epoch(number);
                        let word = Snapshot {
                            state,
                            admin,
                            cause,
                            method,
                            failures,
                            passes,
                            trial,
                            level,
                            deadline,
                            epoch,
                        };
                        if looks_reachable(&word, policy) && is_worth_a_look(&word) {
                            all.push(word);
                        }
                    }
                }
            }
        }
    }
    all
}

/// Leaves out combinations that no rule tells apart: the deadline of none but a word that has none, and
/// the levels and deadlines of endpoints that are not in use.
fn is_worth_a_look(word: &Snapshot) -> bool {
    let [_, due, _, none] = deadlines();
    let has_deadline = word.state != State::Unknown && word.level > 0;
    let deadline_fits = has_deadline == (word.deadline != none);
    deadline_fits
        && (word.admin == Admin::Active || !has_deadline || (word.level == 15 && word.deadline == due))
}

/// Ahead; due this very tick; overdue by more than an hour. And none, for words that never had one.
fn deadlines() -> [Deadline; 4] {
    [
        Deadline::after(NOW, Ticks::from_secs(7)),
        Deadline::after(NOW, Ticks(0)),
        Deadline::after(tick_before(NOW, Ticks::from_secs(3700)), Ticks(0)),
        Deadline::default(),
    ]
}

/// Every event that differs in kind, with tickets of `current`, of the epochs beside it, and too old.
pub fn events(current: Epoch) -> Vec<Event> {
    let number = current.get();
    let mut all: Vec<Event> =
        verdicts().map(|verdict| Event::Verdict { stamp: fresh(number), verdict }).collect();
    let last_tick = tick_before(NOW, Ticks(Policy::TICKET_LIFE.0 - 1));
    let others = [
        fresh(number.wrapping_sub(1) & EPOCH_MAX),
        fresh((number + 1) & EPOCH_MAX),
        Stamp::new(current, tick_before(NOW, Policy::TICKET_LIFE)),
        Stamp::new(current, last_tick),
    ];
    for stamp in others {
        all.extend(few_verdicts().into_iter().map(|verdict| Event::Verdict { stamp, verdict }));
    }
    for stamp in others.into_iter().chain([fresh(number)]) {
        all.extend(failures_of_a_window().into_iter().map(|failure| Event::Trip { stamp, failure }));
    }
    for by in Claimant::ALL {
        all.extend([Ticks(0), LEASE, Ticks(u32::MAX)].map(|lease| Event::Claim { by, lease }));
    }
    all.extend([Event::Sweep, Event::Recheck]);
    all.extend(AdminCommand::ALL.map(Event::Admin));
    all
}

fn fresh(number: u32) -> Stamp {
    Stamp::new(epoch(number), tick_before(NOW, Ticks::ONE))
}

pub fn evidence() -> [Evidence; 4] {
    let [network, model_list, chat] = CheckMethod::ALL.map(Evidence::Check);
    [Evidence::Traffic, network, model_list, chat]
}

/// All passes, a neutral one, and failures of every cause, method and kind of weight.
fn verdicts() -> impl Iterator<Item = Verdict> {
    let failures = Cause::ALL.into_iter().flat_map(|cause| {
        CheckMethod::ALL.into_iter().flat_map(move |method| {
            let failure = Failure::new(cause, method);
            let weights = [0, 1, 2, 15].map(|weight| failure.weighing(weight));
            let announced = (cause == Cause::Quota)
                .then(|| [0, 36_000, u32::MAX].map(|ticks| failure.until(Some(Ticks(ticks)))));
            weights.into_iter().chain(announced.into_iter().flatten()).map(Verdict::Fail)
        })
    });
    evidence().into_iter().map(Verdict::Pass).chain([Verdict::Neutral]).chain(failures)
}

/// Each cause and method; a window keeps no weight and no announced end.
fn failures_of_a_window() -> Vec<Failure> {
    let of = |cause| CheckMethod::ALL.map(|method| Failure::new(cause, method));
    Cause::ALL.into_iter().flat_map(of).collect()
}

fn few_verdicts() -> [Verdict; 5] {
    [
        Verdict::Pass(Evidence::Traffic),
        Verdict::Pass(Evidence::Check(CheckMethod::Chat)),
        Verdict::Neutral,
        Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat)),
        Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat)),
    ]
}

fn distinct<const N: usize>(mut values: [u8; N]) -> Vec<u8> {
    values.sort_unstable();
    let mut values = values.to_vec();
    values.dedup();
    values
}

fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    a.iter().flat_map(|&a| b.iter().map(move |&b| (a, b))).collect()
}

fn pairs_ref<'a, A: Copy, B>(a: &[A], b: &'a [B]) -> Vec<(A, &'a B)> {
    a.iter().flat_map(|&a| b.iter().map(move |b| (a, b))).collect()
}
