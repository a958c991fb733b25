//! The cell beside a naive reference: plain fields, absolute 64-bit times, epochs that never wrap.
//!
//! Tickets are kept, dropped, leaked, reported late or twice; time moves by ticks or by days, over several
//! wraps of the word's deadline; an operator interferes. After each step the cell must show what the
//! reference shows, and each of the invariants S1–S10 is asserted by its name.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use qcc_fsm::*;

const EPOCHS: u64 = 1 << 20;
const HOUR: u64 = 36_000;
const DAY: u64 = 24 * HOUR;

fn config(cases: u32) -> Config {
    Config {
        cases,
        // Beside this file, committed.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    }
}

/// The endpoint, un-packed. The invariants that speak of history have their history here.
#[derive(Clone, Debug)]
struct Naive {
    policy: Policy,
    now: u64,
    state: State,
    admin: Admin,
    cause: Option<Cause>,
    method: Option<CheckMethod>,
    failures: u64,
    passes: u64,
    /// When the lease of the trial in flight ends.
    lease: Option<u64>,
    level: u64,
    /// When the next trial is due, or the next decay.
    due: u64,
    epoch: u64,
    cooldown: u64,
    interval: u64,
    /// The tickets that the driver still holds, in order.
    tickets: Vec<NaiveTicket>,
}

#[derive(Clone, Debug)]
struct NaiveTicket {
    epoch: u64,
    issued: u64,
    trial: bool,
    said: Vec<Said>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Pass,
    Fail,
    Neutral,
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Claim(Claimant, u32),
    /// The ticket is kept, and may be reported again.
    Report(usize, Verdict),
    /// The share of failures is found too large by the holder of a ticket, whatever that has said.
    Trip(usize, Failure),
    /// The guard around a ticket is dropped: neutral unless something was said, and the ticket is gone.
    Drop(usize),
    /// The ticket is lost without a word.
    Leak(usize),
    /// Time passes; a prober sweeps once a day at least.
    Wait(u64),
    Sweep,
    Recheck,
    Command(AdminCommand),
    CoolDown(u32),
    LastResortTurn,
}

impl Naive {
    fn holds_current(&self, ticket: &NaiveTicket) -> bool {
        ticket.epoch == self.epoch && self.now - ticket.issued < HOUR && self.admin == Admin::Active
    }

    fn is_available(&self) -> bool {
        self.admin == Admin::Active && matches!(self.state, State::Unknown | State::Healthy)
    }

    fn may_claim(&self, by: Claimant) -> bool {
        let down = matches!(self.state, State::Unhealthy | State::Recovering);
        let free = self.lease.is_none_or(|end| self.now >= end);
        let due = self.lease.unwrap_or(self.due) <= self.now;
        let mends_itself = !matches!(self.cause, Some(Cause::Auth | Cause::Quota));
        let may = match by {
            Claimant::Prober => due && self.policy.billing() == Billing::PerToken,
            Claimant::Request => due && self.policy.billing() == Billing::PerRequest,
            Claimant::LastResort => mends_itself,
        };
        self.admin == Admin::Active && down && free && may
    }

    fn report(&mut self, at: usize, verdict: Verdict) {
        let ticket = self.tickets[at].clone();
        let word = match verdict {
            Verdict::Pass(_) => Said::Pass,
            Verdict::Fail(_) => Said::Fail,
            Verdict::Neutral => Said::Neutral,
        };
        let allowed = ticket.said.is_empty() || (ticket.said == [Said::Pass] && word == Said::Fail);
        if !allowed {
            return;
        }
        self.tickets[at].said.push(word);
        if !self.holds_current(&ticket) {
            return;
        }
        let epoch = self.epoch;
        match verdict {
            Verdict::Pass(evidence) => self.pass(evidence),
            Verdict::Fail(failure) => self.fail(failure),
            Verdict::Neutral => {
                if self.lease.is_some() {
                    self.release();
                }
            }
        }
        if self.epoch != epoch {
            self.tickets[at].epoch = self.epoch;
        }
    }

    fn pass(&mut self, evidence: Evidence) {
        match self.state {
            State::Unknown => self.state = State::Healthy,
            State::Healthy => {
                let same = match evidence {
                    Evidence::Traffic => true,
                    Evidence::Check(method) => self.method == Some(method),
                };
                if same {
                    self.failures = 0;
                    self.method = None;
                }
            }
            State::Recovering if self.lease.is_some() => {
                let strong_enough = match evidence {
                    Evidence::Traffic => true,
                    Evidence::Check(method) => strength(Some(method)) >= strength(self.method),
                };
                self.passes += u64::from(strong_enough);
                if self.passes >= u64::from(self.policy.success_threshold()) {
                    self.state = State::Healthy;
                    (self.cause, self.method) = (None, None);
                    (self.failures, self.passes, self.lease) = (0, 0, None);
                    self.due = self.now + 600;
                    self.epoch += 1;
                } else {
                    self.release();
                }
            }
            State::Recovering | State::Unhealthy => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        let threshold = u64::from(self.policy.failure_threshold());
        let decisive = matches!(failure.cause, Cause::Auth | Cause::Quota);
        let weight = if decisive { threshold } else { u64::from(failure.weight.max(1)) };
        self.failures += weight;
        if strength(Some(failure.method)) > strength(self.method) {
            self.method = Some(failure.method);
        }
        if self.state == State::Healthy && self.failures < threshold {
            return;
        }
        let was_decisive = matches!(self.cause, Some(Cause::Auth | Cause::Quota));
        if !(was_decisive && failure.method == CheckMethod::Network && !decisive) {
            self.cause = Some(failure.cause);
        }
        let cause = self.cause.expect("just set");
        let wait = self.policy.wait(cause, failure.resets_in, self.shown().level, self.shown().epoch);
        self.due = self.now + u64::from(wait.0).min(DAY);
        self.state = State::Unhealthy;
        self.level += 1;
        self.passes = 0;
        self.lease = None;
        self.epoch += 1;
    }

    /// Leaves service with the failure's own cause and method, whatever was counted in a row.
    fn trip(&mut self, at: usize, failure: Failure) {
        if self.state != State::Healthy || !self.holds_current(&self.tickets[at]) {
            return;
        }
        let wait = self.policy.wait(failure.cause, failure.resets_in, self.shown().level, self.shown().epoch);
        self.due = self.now + u64::from(wait.0).min(DAY);
        self.state = State::Unhealthy;
        (self.cause, self.method) = (Some(failure.cause), Some(failure.method));
        self.level += 1;
        self.epoch += 1;
    }

    fn release(&mut self) {
        self.lease = None;
        self.due = self.now + 10;
        self.epoch += 1;
    }

    fn sweep(&mut self) {
        if self.admin != Admin::Active {
            return;
        }
        match self.state {
            State::Healthy if self.level > 0 && self.now >= self.due => {
                // The level that the word shows is what decays: it saturates.
                self.level = self.level.min(15) - 1;
                self.due = self.now + 600;
            }
            State::Recovering if self.lease.is_some_and(|end| self.now >= end) => self.release(),
            State::Unknown | State::Healthy | State::Unhealthy | State::Recovering => {}
        }
    }

    fn command(&mut self, command: AdminCommand) {
        let put_aside = match command {
            AdminCommand::Drain => Some(Admin::Draining),
            AdminCommand::Disable => Some(Admin::Disabled),
            AdminCommand::Enable | AdminCommand::Reset => None,
        };
        if let Some(admin) = put_aside {
            if self.admin != admin {
                self.admin = admin;
                self.lease = None;
                if admin == Admin::Disabled {
                    (self.failures, self.passes) = (0, 0);
                    if self.state == State::Healthy {
                        self.method = None;
                    }
                }
                self.epoch += 1;
            }
            return;
        }
        if command == AdminCommand::Reset {
            self.cooldown = 0;
            if self.state == State::Unknown {
                return;
            }
        } else if self.is_available() {
            return;
        } else {
            self.admin = Admin::Active;
        }
        self.state = State::Unknown;
        (self.cause, self.method) = (None, None);
        (self.failures, self.passes, self.level, self.lease) = (0, 0, 0, None);
        self.epoch += 1;
    }

    /// What the cell should show, its deadline apart.
    fn shown(&self) -> Snapshot {
        let epoch = layout::EPOCH.put(self.epoch % EPOCHS);
        Snapshot {
            state: self.state,
            admin: self.admin,
            cause: self.cause,
            method: self.method,
            failures: self.failures.min(15) as u8,
            passes: self.passes.min(7) as u8,
            trial: self.lease.is_some(),
            level: self.level.min(15) as u8,
            ..Word::from_bits(epoch).expect("an epoch").decode()
        }
    }

    /// The moment that the deadline stands for, where it stands for one.
    fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Unknown => None,
            State::Healthy => (self.level > 0).then_some(self.due),
            State::Unhealthy | State::Recovering => Some(self.lease.unwrap_or(self.due)),
        }
        .filter(|_| self.admin == Admin::Active)
    }
}

fn strength(method: Option<CheckMethod>) -> u8 {
    match method {
        None => 0,
        Some(CheckMethod::Network) => 1,
        Some(CheckMethod::ModelList) => 2,
        Some(CheckMethod::Chat) => 3,
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let billing = prop_oneof![2 => Just(Billing::PerToken), 1 => Just(Billing::PerRequest)];
    (billing, 1..=15_u8, 1..=7_u8, prop::bool::weighted(0.5), any::<u64>()).prop_map(
        |(billing, failures, passes, usual, seed)| {
            let policy = Policy::new(billing).with_seed(seed);
            if usual {
                policy
            } else {
                policy.with_failure_threshold(failures).with_success_threshold(passes)
            }
        },
    )
}

fn any_method() -> impl Strategy<Value = CheckMethod> + Clone {
    prop::sample::select(&CheckMethod::ALL[..])
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let resets = prop::option::weighted(0.3, prop_oneof![0..2000_u32, any::<u32>()]);
    (prop::sample::select(&Cause::ALL[..]), any_method(), 0..=15_u8, resets).prop_map(
        |(cause, method, weight, resets)| {
            Failure::new(cause, method).weighing(weight % 4 * (weight / 4)).until(resets.map(Ticks))
        },
    )
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let evidence = prop_oneof![Just(Evidence::Traffic), any_method().prop_map(Evidence::Check)];
    prop_oneof![
        4 => evidence.prop_map(Verdict::Pass),
        4 => any_failure().prop_map(Verdict::Fail),
        1 => Just(Verdict::Neutral),
    ]
}

/// What is likely next depends on the state: a sidelined endpoint is waited for, claimed and tried more often
/// than chance would have it, or no sequence would ever end a recovery of several trials.
fn any_step(naive: &Naive) -> impl Strategy<Value = Step> + use<> {
    let wait = prop_oneof![
        3 => 0..12_u64,
        4 => 10..700_u64,
        2 => 600..HOUR,
        2 => HOUR - 2..3 * HOUR,
        1 => DAY..12 * DAY,
    ];
    let command = prop_oneof![
        1 => Just(AdminCommand::Drain),
        1 => Just(AdminCommand::Disable),
        4 => Just(AdminCommand::Enable),
        1 => Just(AdminCommand::Reset),
    ];
    let lease = prop_oneof![4 => 50..300_u32, 1 => 0..3_u32, 1 => any::<u32>()];
    let sidelined = naive.admin == Admin::Active && !naive.is_available();
    let (waits, in_flight) = (sidelined && naive.lease.is_none(), naive.lease.is_some());
    let due_in = naive.due.saturating_sub(naive.now);
    let likely = |condition: bool, weight: u32| if condition { weight } else { 1 };
    let passed = prop_oneof![Just(Evidence::Traffic), Just(Evidence::Check(CheckMethod::Chat))];
    prop_oneof![
        4 => Just(Step::Admit),
        likely(waits, 12) => (prop::sample::select(&Claimant::ALL[..]), lease)
            .prop_map(|(by, lease)| Step::Claim(by, lease)),
        likely(waits, 8) => Just(Step::Wait(due_in)),
        likely(in_flight, 16) => passed.prop_map(|evidence| Step::Report(1000, Verdict::Pass(evidence))),
        likely(!waits, 14) => (0..1000_usize, any_verdict()).prop_map(|(at, verdict)| Step::Report(at, verdict)),
        likely(naive.state == State::Healthy, 4) => (0..1000_usize, any_failure())
            .prop_map(|(at, failure)| Step::Trip(at, failure)),
        1 => (0..1000_usize).prop_map(Step::Drop),
        1 => (0..1000_usize).prop_map(Step::Leak),
        3 => wait.prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => Just(Step::Recheck),
        likely(naive.admin != Admin::Active, 8) => command.prop_map(Step::Command),
        1 => any::<u16>().prop_map(|span| Step::CoolDown(u32::from(span))),
        1 => Just(Step::LastResortTurn),
    ]
}

impl ReferenceStateMachine for Naive {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        (any_policy(), 0..1_u64 << 24).prop_map(|(policy, now)| Self::new(policy, now)).boxed()
    }

    fn transitions(naive: &Self) -> BoxedStrategy<Step> {
        any_step(naive).boxed()
    }

    fn apply(mut naive: Self, step: &Step) -> Self {
        let at = |at: usize| (!naive.tickets.is_empty()).then(|| pick(at, naive.tickets.len()));
        match step {
            Step::Admit if naive.is_available() => naive.issue(false),
            Step::Admit => {}
            Step::Claim(by, lease) if naive.may_claim(*by) => {
                if naive.state == State::Unhealthy {
                    naive.passes = 0;
                }
                naive.state = State::Recovering;
                naive.lease = Some(naive.now + u64::from(*lease).clamp(1, DAY));
                naive.epoch += 1;
                naive.issue(true);
            }
            Step::Claim(..) => {}
            Step::Report(which, verdict) => {
                if let Some(at) = at(*which) {
                    naive.report(at, *verdict);
                }
            }
            Step::Trip(which, failure) => {
                if let Some(at) = at(*which) {
                    naive.trip(at, *failure);
                }
            }
            Step::Drop(which) => {
                if let Some(at) = at(*which) {
                    naive.report(at, Verdict::Neutral);
                    naive.tickets.remove(at);
                }
            }
            Step::Leak(which) => {
                if let Some(at) = at(*which) {
                    naive.tickets.remove(at);
                }
            }
            Step::Wait(span) => {
                for span in days(*span) {
                    naive.now += span;
                    if span == DAY {
                        naive.sweep();
                    }
                }
            }
            Step::Sweep => naive.sweep(),
            Step::Recheck => {
                let down = matches!(naive.state, State::Unhealthy | State::Recovering);
                if naive.admin == Admin::Active && down && naive.lease.is_none() {
                    naive.due = naive.now;
                }
            }
            Step::Command(command) => naive.command(*command),
            Step::CoolDown(span) => naive.cooldown = naive.cooldown.max(naive.now + u64::from(*span)),
            Step::LastResortTurn => {
                if naive.now >= naive.interval {
                    naive.interval = naive.now + 10;
                }
            }
        }
        naive
    }
}

impl Naive {
    fn new(policy: Policy, now: u64) -> Self {
        Self {
            policy,
            now,
            state: State::Unknown,
            admin: Admin::Active,
            cause: None,
            method: None,
            failures: 0,
            passes: 0,
            lease: None,
            level: 0,
            due: 0,
            epoch: 0,
            cooldown: 0,
            interval: 0,
            tickets: Vec::new(),
        }
    }

    fn issue(&mut self, trial: bool) {
        self.tickets.push(NaiveTicket { epoch: self.epoch, issued: self.now, trial, said: Vec::new() });
    }
}

/// One of the two newest tickets mostly, the very newest for 1000: old ones are stale for good.
fn pick(at: usize, len: usize) -> usize {
    let newest = len.min(if at % 5 == 1 { len } else { 2 });
    len - 1 - at % newest
}

/// A span cut into days.
fn days(span: u64) -> impl Iterator<Item = u64> {
    let whole = usize::try_from(span / DAY).expect("small");
    std::iter::repeat_n(DAY, whole).chain([span % DAY])
}

/// The cell, what belongs to it, and the memory of what the invariants speak of.
struct Subject {
    policy: Policy,
    now: Tick,
    cell: HealthCell,
    cooldown: Cooldown,
    interval: Interval,
    tickets: Vec<Held>,
    /// Trials that were claimed after the last Unhealthy and passed since.
    passed_trials: u32,
}

struct Held {
    ticket: Ticket,
    /// Chosen while available, before the endpoint last left service or was put aside.
    chosen_before: bool,
    verdicts: usize,
}

impl Subject {
    /// Runs one operation on the cell, and asserts what holds of any.
    fn step(&mut self, run: impl FnOnce(&mut Self) -> Outcome) {
        let before = self.cell.load();
        let outcome = run(self);
        let after = self.cell.load();
        self.s3_only_passed_trials_or_an_operator_lead_back(&before, &after);
        self.s4_a_choice_from_before_is_caught(&before, &after);
        self.s7_a_change_of_state_is_told_once(&before, &after, outcome);
    }

    fn report(&mut self, at: usize, verdict: Verdict) -> Outcome {
        let before = self.cell.load();
        let held = &mut self.tickets[at];
        let stamp = held.ticket.stamp();
        let current = self.cell.is_current(stamp, self.now);
        let first = held.verdicts == 0;
        let was_spent = held.ticket.is_spent();
        let outcome = self.cell.report(&mut held.ticket, verdict, self.now, &self.policy);
        let after = self.cell.load();
        if !current {
            assert_eq!(
                (outcome, before),
                (Outcome::Stale, after),
                "S2: a ticket of another epoch changes nothing"
            );
        }
        if verdict == Verdict::Neutral {
            let kept = |word: &Snapshot| (word.failures, word.passes, word.level, word.state);
            assert_eq!(
                kept(&before),
                kept(&after),
                "S6: a neutral verdict changes neither state nor counters"
            );
        }
        let is_fail = matches!(verdict, Verdict::Fail(_));
        if was_spent || (!first && !is_fail) {
            assert_eq!(
                (outcome, before),
                (Outcome::Stale, after),
                "S10: a ticket yields at most one verdict"
            );
        }
        held.verdicts += 1;
        if before.state == State::Recovering {
            let passed = after.passes > before.passes || after.state == State::Healthy;
            assert!(
                !passed || (held.ticket.is_trial() && first),
                "S3: nothing but a trial's first word passes it"
            );
            self.passed_trials += u32::from(passed);
        }
        outcome
    }

    fn trip(&mut self, at: usize, failure: Failure) -> Outcome {
        let before = self.cell.load();
        let stamp = self.tickets[at].ticket.stamp();
        let current = self.cell.is_current(stamp, self.now);
        let outcome = self.cell.trip(stamp, failure, self.now, &self.policy);
        let after = self.cell.load();
        if current && before.state == State::Healthy {
            assert_eq!((after.state, after.failures), (State::Unhealthy, before.failures));
        } else {
            assert_eq!(
                (outcome, before),
                (Outcome::Stays, after),
                "S2: a trip of another epoch changes nothing"
            );
        }
        outcome
    }

    fn claim(&mut self, by: Claimant, lease: Ticks) -> Outcome {
        let before = self.cell.load();
        let Some(claim) = self.cell.claim(by, lease, self.now, &self.policy) else { return Outcome::Stays };
        let due = before.deadline.is_due(self.now);
        let decisive = before.cause.is_some_and(Cause::is_decisive);
        let allowed = match (by, self.policy.billing()) {
            (Claimant::LastResort, Billing::PerToken | Billing::PerRequest) => !decisive,
            (Claimant::Prober, Billing::PerToken) | (Claimant::Request, Billing::PerRequest) => due,
            (Claimant::Prober, Billing::PerRequest) | (Claimant::Request, Billing::PerToken) => false,
        };
        assert!(
            allowed,
            "S5: no trial before its deadline but the last resort's, none of those for a key or quota"
        );
        assert!(!before.trial || due, "S1: a trial in flight is not claimed again within its lease");
        self.tickets.push(Held { ticket: claim.ticket, chosen_before: false, verdicts: 0 });
        if before.state != claim.change.to.state { Outcome::Moved(claim.change) } else { Outcome::Stays }
    }

    fn s1_one_live_trial_at_most(&self) {
        let word = self.cell.load();
        assert!(!word.trial || word.state == State::Recovering, "S1: a trial in flight only in Recovering");
        let live = self.tickets.iter().filter(|held| {
            let waiting = held.ticket.is_trial() && held.verdicts == 0;
            waiting && self.cell.is_current(held.ticket.stamp(), self.now)
        });
        let live = live.count();
        assert!(live <= usize::from(word.trial), "S1: {live} live trial tickets");
    }

    fn s3_only_passed_trials_or_an_operator_lead_back(&mut self, before: &Snapshot, after: &Snapshot) {
        if after.state == State::Unhealthy && before.state != State::Unhealthy {
            self.passed_trials = 0;
        }
        if after.state == State::Healthy {
            assert_ne!(before.state, State::Unhealthy, "S3: no edge Unhealthy → Healthy");
            if before.state == State::Recovering {
                let needed = u32::from(self.policy.success_threshold());
                assert!(self.passed_trials >= needed, "S3: {} of {needed} trials passed", self.passed_trials);
            }
        }
        if after.state == State::Unknown && before.state != State::Unknown {
            // Only an operator's command leads there, which the reference shows; the count starts anew.
            self.passed_trials = 0;
        }
    }

    fn s4_a_choice_from_before_is_caught(&mut self, before: &Snapshot, after: &Snapshot) {
        let gone = |word: &Snapshot| !word.is_available();
        if gone(after) && !gone(before) {
            for held in &mut self.tickets {
                held.chosen_before = held.verdicts == 0;
            }
        }
        if gone(after) {
            assert!(
                self.cell.admit(self.now).is_none(),
                "S4: a choice after the commit returns the endpoint"
            );
        }
        for held in self.tickets.iter().filter(|held| held.chosen_before) {
            let current = self.cell.is_current(held.ticket.stamp(), self.now);
            assert!(!current, "S4: a choice from before goes to the wire");
        }
    }

    fn s7_a_change_of_state_is_told_once(&self, before: &Snapshot, after: &Snapshot, outcome: Outcome) {
        let changed = before.state != after.state || before.admin != after.admin;
        match outcome {
            Outcome::Moved(change) => assert_eq!((change.from, change.to), (*before, *after), "S7"),
            Outcome::Stays | Outcome::Stale => assert!(!changed, "S7: a change that nobody was told of"),
        }
        assert_eq!(matches!(outcome, Outcome::Moved(_)), changed, "S7: told of a change that was none");
    }

    fn s8_the_cooldown_never_shrinks(&self, before: Tick, operator: bool) {
        assert!(operator || self.cooldown.until() >= before, "S8: the cooldown shrank");
    }

    fn s9_the_word_packs_and_unpacks(&self) {
        let word = self.cell.load();
        assert_eq!(word.encode().decode(), word, "S9: decode ∘ encode = id");
        assert_eq!(Word::from_bits(word.encode().bits()), Some(word.encode()), "S9");
    }
}

impl StateMachineTest for Subject {
    type SystemUnderTest = Self;
    type Reference = Naive;

    fn init_test(naive: &Naive) -> Self {
        Self {
            policy: naive.policy,
            now: Tick(naive.now),
            cell: HealthCell::new(),
            cooldown: Cooldown::new(),
            interval: Interval::new(),
            tickets: Vec::new(),
            passed_trials: 0,
        }
    }

    fn apply(mut subject: Self, naive: &Naive, step: Step) -> Self {
        let cooldown = subject.cooldown.until();
        let mut reset = false;
        let len = subject.tickets.len();
        let at = |at: usize| (len > 0).then(|| pick(at, len));
        match step {
            Step::Admit => {
                let ticket = subject.cell.admit(subject.now);
                let held = ticket.map(|ticket| Held { ticket, chosen_before: false, verdicts: 0 });
                subject.tickets.extend(held);
            }
            Step::Claim(by, lease) => subject.step(|subject| subject.claim(by, Ticks(lease))),
            Step::Report(which, verdict) => {
                if let Some(at) = at(which) {
                    subject.step(|subject| subject.report(at, verdict));
                }
            }
            Step::Trip(which, failure) => {
                if let Some(at) = at(which) {
                    subject.step(|subject| subject.trip(at, failure));
                }
            }
            Step::Drop(which) => {
                if let Some(at) = at(which) {
                    subject.step(|subject| subject.report(at, Verdict::Neutral));
                    subject.tickets.remove(at);
                }
            }
            Step::Leak(which) => {
                if let Some(at) = at(which) {
                    subject.tickets.remove(at);
                }
            }
            Step::Wait(span) => {
                for span in days(span) {
                    subject.now = Tick(subject.now.0 + span);
                    if span == DAY {
                        subject.step(|subject| subject.cell.sweep(subject.now, &subject.policy));
                    }
                }
            }
            Step::Sweep => subject.step(|subject| subject.cell.sweep(subject.now, &subject.policy)),
            Step::Recheck => subject.step(|subject| subject.cell.recheck(subject.now, &subject.policy)),
            Step::Command(command) => {
                subject.step(|subject| subject.cell.command(command, subject.now, &subject.policy));
                reset = command == AdminCommand::Reset;
                if reset {
                    subject.cooldown.clear();
                }
            }
            Step::CoolDown(span) => {
                let until = subject.now + Ticks(span);
                assert_eq!(subject.cooldown.raise(until), until > cooldown);
            }
            Step::LastResortTurn => {
                let free = subject.now >= subject.interval.next();
                assert_eq!(subject.interval.pass(subject.now, Ticks::from_secs(1)), free);
            }
        }
        subject.s8_the_cooldown_never_shrinks(cooldown, reset);
        assert_eq!(
            subject.tickets.len(),
            naive.tickets.len(),
            "a ticket was given that the reference refuses"
        );
        subject
    }

    fn check_invariants(subject: &Self, naive: &Naive) {
        subject.s1_one_live_trial_at_most();
        subject.s9_the_word_packs_and_unpacks();
        let word = subject.cell.load();
        assert_eq!(Snapshot { deadline: Deadline::default(), ..word }, naive.shown());
        if let Some(moment) = naive.deadline() {
            let ahead = moment.saturating_sub(naive.now);
            assert_eq!(u64::from(word.deadline.remaining(subject.now).0), ahead, "the deadline");
        }
        assert_eq!(subject.cooldown.until().0, naive.cooldown);
        assert_eq!(subject.cooldown.is_active(subject.now), naive.now < naive.cooldown);
        assert_eq!(subject.interval.next().0, naive.interval);
        for (held, expected) in subject.tickets.iter().zip(&naive.tickets) {
            let stamp = held.ticket.stamp();
            assert_eq!(held.ticket.is_trial(), expected.trial);
            assert_eq!(u64::from(stamp.epoch().get()), expected.epoch % EPOCHS);
            assert_eq!(subject.cell.is_current(stamp, subject.now), naive.holds_current(expected), "S2");
        }
    }
}

prop_state_machine! {
    #![proptest_config(config(2_000))]

    #[test]
    fn the_cell_is_the_naive_reference(sequential 1..80 => Subject);
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn a_deadline_is_an_absolute_time(start in any::<u64>(), span in any::<u32>(), later in 0..1_u64 << 22) {
        let start = start >> 2;
        let deadline = Deadline::after(Tick(start), Ticks(span));
        let moment = start + u64::from(span).min(DAY);
        // As long as somebody looks once in 92 h after it.
        let now = start + later.min(DAY + 92 * HOUR - (DAY - (moment - start)));
        prop_assert_eq!(u64::from(deadline.remaining(Tick(now)).0), moment.saturating_sub(now));
        prop_assert_eq!(u64::from(deadline.overdue(Tick(now)).0), now.saturating_sub(moment));
    }

    #[test]
    fn the_machine_is_total_and_closed(bits in any::<u64>(), policy in any_policy(), by in 0..3_usize, verdict in any_verdict(), now in any::<u64>(), same in any::<bool>()) {
        let word = Word::from_bits(bits & !layout::ADMIN.mask()).unwrap_or_default();
        let now = Tick(now >> 1);
        let epoch = if same { word.decode().epoch } else { Epoch::default() };
        let failure = match verdict {
            Verdict::Fail(failure) => failure,
            Verdict::Pass(_) | Verdict::Neutral => Failure::new(Cause::Stream, CheckMethod::Network),
        };
        let events = [
            Event::Verdict { stamp: Stamp::new(epoch, now), verdict },
            Event::Trip { stamp: Stamp::new(epoch, now), failure },
            Event::Claim { by: Claimant::ALL[by], lease: Ticks(bits as u32) },
            Event::Sweep,
            Event::Recheck,
        ];
        for event in events.into_iter().chain(AdminCommand::ALL.map(Event::Admin)) {
            let after = next(word, &event, now, &policy);
            prop_assert_eq!(after.decode().encode(), after);
            prop_assert_eq!(next(word, &event, now, &policy), after);
        }
    }
}
