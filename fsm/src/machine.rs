//! The transition function.
//!
//! ```text
//!                  pass                      failures ≥ failure_threshold
//!    ┌───────────┐ ───▶ ┌───────────┐ ─────────────────────────────────▶ ┌───────────┐
//!    │  Unknown  │      │  Healthy  │                                    │ Unhealthy │ ◀─┐
//!    └───────────┘      └───────────┘                                    └───────────┘   │
//!          │ fail              ▲ trials passed ≥ success_threshold             │ claim    │ trial fails
//!          └───────────────────┼───────────────────▶ Unhealthy                 ▼ (one)    │
//!                              └──────────────────────────────────────── ┌────────────┐ ──┘
//!                                                                        │ Recovering │
//!                                                                        └────────────┘
//! ```
//!
//! `available` is Unknown and Healthy, `sidelined` is Unhealthy and Recovering. A handler that does not
//! know an event passes it to its superstate. Handlers have no effects but on the copy of the word in
//! their context: they run again whenever the compare-exchange loop has to.

use statig::Outcome;
use statig::blocking::StateExt;
use statig::prelude::state_machine;

use crate::event::{AdminCommand, Cause, CheckMethod, Claimant, Event, Evidence, Failure, Verdict};
use crate::policy::{Billing, Policy};
use crate::word::{Admin, Snapshot, State, Word, layout};
use crate::{Deadline, Stamp, Tick, Ticks, mutant};

/// The word after `event`: pure and total.
///
/// An event that changes nothing gives back the same word. That holds for every verdict whose ticket is
/// of another epoch or older than [`Policy::TICKET_LIFE`], and for everything but an operator's command
/// on an endpoint that is not [`Admin::Active`].
#[inline]
pub fn next(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    if is_nothing_new(word, event) { word } else { step(word, event, now, policy) }
}

/// Most of all that happens: a pass where there is nothing to forgive. It changes nothing, whatever the
/// age of its ticket, so the bits are enough to say so, and the machine is spared for what may matter.
#[inline]
fn is_nothing_new(word: Word, event: &Event) -> bool {
    let passes = matches!(event, Event::Verdict { verdict: Verdict::Pass(_), .. });
    let looked_at = layout::STATE.mask() | layout::FAILURES.mask();
    passes && word.bits() & looked_at == layout::STATE.put(State::Healthy as u64)
}

fn step(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let mut context = Context { word: word.decode(), now, policy };
    if !context.concerns(event) {
        return word;
    }
    let mut state = context.word.state;
    match state.handle(&mut Machine, event, &mut context) {
        Outcome::Transition(to) => {
            context.change_state(to);
            context.word.encode()
        }
        Outcome::Handled | Outcome::Super => context.word.encode(),
    }
}

struct Context<'a> {
    word: Snapshot,
    now: Tick,
    policy: &'a Policy,
}

impl State {
    const fn unknown() -> Self {
        Self::Unknown
    }
    const fn healthy() -> Self {
        Self::Healthy
    }
    const fn unhealthy() -> Self {
        Self::Unhealthy
    }
    const fn recovering() -> Self {
        Self::Recovering
    }
}

/// Kept private, since the macro makes types of its own beside it.
struct Machine;

#[state_machine(initial = "State::unknown()", state(custom, name = "State"))]
impl Machine {
    #[state(superstate = "available")]
    fn unknown(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Verdict { verdict: Verdict::Pass(_), .. } => context.back_in_service(),
            Event::Verdict { verdict: Verdict::Fail(failure), .. } => context.fail_at_once(failure),
            Event::Verdict { verdict: Verdict::Neutral, .. }
            | Event::Claim { .. }
            | Event::Sweep
            | Event::Recheck
            | Event::Admin(_) => Outcome::Super,
        }
    }

    #[state(superstate = "available")]
    fn healthy(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Verdict { verdict: Verdict::Pass(evidence), .. } => context.vouch(*evidence),
            Event::Verdict { verdict: Verdict::Fail(failure), .. } => context.count_failure(failure),
            Event::Sweep => context.decay_level(),
            Event::Verdict { verdict: Verdict::Neutral, .. }
            | Event::Claim { .. }
            | Event::Recheck
            | Event::Admin(_) => Outcome::Super,
        }
    }

    #[state(superstate = "sidelined")]
    fn unhealthy(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Claim { by, lease } if context.may_claim(*by) => {
                context.begin_trial(*lease);
                context.word.passes = 0;
                context.enter_recovering()
            }
            Event::Claim { .. } | Event::Verdict { .. } | Event::Sweep | Event::Recheck | Event::Admin(_) => {
                Outcome::Super
            }
        }
    }

    #[state(superstate = "sidelined")]
    fn recovering(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Claim { by, lease } if context.may_claim(*by) => {
                context.begin_trial(*lease);
                context.advance_for_claim();
                Outcome::Handled
            }
            Event::Verdict { verdict: Verdict::Pass(evidence), .. } => context.pass_trial(*evidence),
            Event::Verdict { verdict: Verdict::Fail(failure), .. } => context.fail_at_once(failure),
            Event::Verdict { verdict: Verdict::Neutral, .. } if context.word.trial => context.release_trial(),
            Event::Sweep if context.lease_is_over() => context.release_trial(),
            Event::Claim { .. }
            | Event::Verdict { verdict: Verdict::Neutral, .. }
            | Event::Sweep
            | Event::Recheck
            | Event::Admin(_) => Outcome::Super,
        }
    }

    /// Unknown and Healthy.
    #[superstate]
    fn available(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Admin(AdminCommand::Enable) if context.word.admin == Admin::Active => Outcome::Handled,
            Event::Admin(command) => context.obey(*command),
            Event::Verdict { .. } | Event::Claim { .. } | Event::Sweep | Event::Recheck => Outcome::Handled,
        }
    }

    /// Unhealthy and Recovering.
    #[superstate]
    fn sidelined(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Admin(command) => context.obey(*command),
            Event::Sweep => context.renew_deadline(),
            Event::Recheck if !context.word.trial => context.due_in(Ticks(0)),
            Event::Recheck | Event::Verdict { .. } | Event::Claim { .. } => Outcome::Handled,
        }
    }
}

/// Which events and claims count at all.
impl Context<'_> {
    fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::Admin(_) => true,
            Event::Verdict { stamp, .. } => self.is_active() && self.accepts(*stamp),
            Event::Claim { .. } | Event::Sweep | Event::Recheck => self.is_active(),
        }
    }

    fn is_active(&self) -> bool {
        self.word.admin == Admin::Active
    }

    fn accepts(&self, stamp: Stamp) -> bool {
        mutant::IGNORES_EPOCH || stamp.is_of(&self.word, self.now)
    }

    fn may_claim(&self, by: Claimant) -> bool {
        let due = self.word.deadline.is_due(self.now);
        let free = !self.word.trial || self.lease_is_over();
        let billing = self.policy.billing;
        free && match by {
            Claimant::Prober => due && billing == Billing::PerToken,
            Claimant::Request => due && billing == Billing::PerRequest,
            Claimant::LastResort => !self.word.cause.is_some_and(Cause::is_decisive),
        }
    }

    fn lease_is_over(&self) -> bool {
        !mutant::NO_LEASE && self.word.trial && self.word.deadline.is_due(self.now)
    }
}

/// What handlers do to the word.
impl Context<'_> {
    fn advance(&mut self) {
        self.word.epoch = self.word.epoch.next();
    }

    /// The first pass opens no new period: what else was sent while nothing was known still counts.
    fn change_state(&mut self, to: State) {
        let first_pass = (self.word.state, to) == (State::Unknown, State::Healthy);
        self.word.state = to;
        if !first_pass {
            self.advance();
        }
    }

    fn advance_for_claim(&mut self) {
        if !mutant::CLAIM_KEEPS_EPOCH {
            self.advance();
        }
    }

    fn enter_recovering(&mut self) -> Outcome<State> {
        if mutant::CLAIM_KEEPS_EPOCH {
            self.word.state = State::recovering();
            return Outcome::Handled;
        }
        Outcome::Transition(State::recovering())
    }

    fn due_in(&mut self, span: Ticks) -> Outcome<State> {
        self.word.deadline = Deadline::after(self.now, span);
        Outcome::Handled
    }

    fn vouch(&mut self, evidence: Evidence) -> Outcome<State> {
        let clears = match evidence {
            Evidence::Traffic => true,
            Evidence::Check(method) => self.word.method == Some(method),
        };
        if clears && self.word.failures > 0 {
            self.word.failures = 0;
            self.word.method = None;
        }
        Outcome::Handled
    }

    fn count_failure(&mut self, failure: &Failure) -> Outcome<State> {
        self.add_weight(failure);
        let (failures, threshold) = (self.word.failures, self.policy.failure_threshold);
        let reached = if mutant::THRESHOLD_EXACT { failures == threshold } else { failures >= threshold };
        if reached { self.leave_service(failure) } else { Outcome::Handled }
    }

    fn fail_at_once(&mut self, failure: &Failure) -> Outcome<State> {
        self.add_weight(failure);
        self.leave_service(failure)
    }

    /// A decisive cause weighs as much as the whole threshold. The method stays at least as strong as it
    /// was: a network failure in a run of failed chats is not cleared by a network check.
    fn add_weight(&mut self, failure: &Failure) {
        let whole = self.policy.failure_threshold;
        let weight = if failure.cause.is_decisive() { whole } else { failure.weight.max(1) };
        self.word.failures = saturated(self.word.failures, weight, layout::FAILURES);
        self.word.method = self.word.method.max(Some(failure.method));
    }

    /// To Unhealthy. A connection that fails says nothing of a key that was refused before: such a
    /// cause stays.
    fn leave_service(&mut self, failure: &Failure) -> Outcome<State> {
        let refused = self.word.cause.filter(|cause| cause.is_decisive());
        let by_network = failure.method == CheckMethod::Network && !failure.cause.is_decisive();
        let kept = refused.filter(|_| by_network);
        let cause = kept.unwrap_or(failure.cause);
        let wait = self.policy.wait(cause, failure.resets_in, self.word.level, self.word.epoch);
        self.word.cause = Some(cause);
        self.word.level = saturated(self.word.level, 1, layout::LEVEL);
        self.word.passes = 0;
        self.word.trial = false;
        self.word.deadline = Deadline::after(self.now, wait);
        Outcome::Transition(State::unhealthy())
    }

    fn begin_trial(&mut self, lease: Ticks) {
        self.word.trial = true;
        self.word.deadline = Deadline::after(self.now, lease.max(Ticks::ONE));
    }

    fn release_trial(&mut self) -> Outcome<State> {
        self.word.trial = false;
        self.advance();
        self.due_in(Policy::TRIAL_PAUSE)
    }

    /// A check of a stronger method counts: the chat check stands in for a model list that an endpoint
    /// turns out not to have.
    fn pass_trial(&mut self, evidence: Evidence) -> Outcome<State> {
        if !self.word.trial {
            return Outcome::Handled;
        }
        let is_too_weak = match evidence {
            Evidence::Traffic => false,
            Evidence::Check(method) => Some(method) < self.word.method,
        };
        if is_too_weak {
            return self.release_trial();
        }
        self.word.passes = saturated(self.word.passes, 1, layout::PASSES);
        if self.word.passes >= self.policy.success_threshold {
            self.back_in_service()
        } else {
            self.release_trial()
        }
    }

    fn back_in_service(&mut self) -> Outcome<State> {
        let Snapshot { state, level, epoch, .. } = self.word;
        self.word = Snapshot { state, level, epoch, ..Word::default().decode() };
        if level > 0 {
            self.word.deadline = Deadline::after(self.now, Policy::DECAY);
        }
        Outcome::Transition(State::healthy())
    }

    fn decay_level(&mut self) -> Outcome<State> {
        if self.word.level == 0 || !self.word.deadline.is_due(self.now) {
            return Outcome::Handled;
        }
        self.word.level -= 1;
        if self.word.level == 0 {
            self.word.deadline = Deadline::default();
            return Outcome::Handled;
        }
        self.due_in(Policy::DECAY)
    }

    /// Keeps a deadline that nobody acted on, an endpoint billed per request without requests, from
    /// wrapping round into the future.
    fn renew_deadline(&mut self) -> Outcome<State> {
        if self.word.deadline.overdue(self.now) < Policy::TICKET_LIFE {
            return Outcome::Handled;
        }
        self.due_in(Ticks(0))
    }

    fn obey(&mut self, command: AdminCommand) -> Outcome<State> {
        match command {
            AdminCommand::Drain => self.put_aside(Admin::Draining),
            AdminCommand::Disable => self.put_aside(Admin::Disabled),
            AdminCommand::Enable => self.start_afresh(Admin::Active),
            AdminCommand::Reset => self.start_afresh(self.word.admin),
        }
    }

    /// The state stays in sight. A drain keeps the counters too; the trial in flight ends with the epoch.
    fn put_aside(&mut self, admin: Admin) -> Outcome<State> {
        if self.word.admin == admin {
            return Outcome::Handled;
        }
        self.word = Snapshot { admin, trial: false, ..self.word };
        if admin == Admin::Disabled {
            let method = self.word.method.filter(|_| self.word.state != State::Healthy);
            self.word = Snapshot { method, failures: 0, passes: 0, ..self.word };
        }
        self.advance();
        Outcome::Handled
    }

    fn start_afresh(&mut self, admin: Admin) -> Outcome<State> {
        let fresh = Snapshot { admin, epoch: self.word.epoch, ..Word::default().decode() };
        if self.word == fresh {
            return Outcome::Handled;
        }
        self.word = fresh;
        Outcome::Transition(State::unknown())
    }
}

fn saturated(value: u8, more: u8, field: layout::Field) -> u8 {
    value.saturating_add(more).min(field.max() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the shortcut skips is what the machine would have answered.
    #[test]
    fn the_shortcut_says_what_the_machine_says() {
        let (mut taken, mut seed) = (0, 1u64);
        let policy = Policy::new(Billing::PerToken);
        for _ in 0..400_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = (seed ^ (seed >> 29)) & !(layout::STATE.mask() | layout::FAILURES.mask());
            let Some(word) = Word::from_bits(bits | layout::STATE.put(State::Healthy as u64)) else {
                continue;
            };
            let now = Tick(seed >> 20);
            let epoch = word.decode().epoch;
            for stamp in [Stamp::new(epoch, now), Stamp::new(epoch.next(), now), Stamp::new(epoch, Tick(0))] {
                let by_check = CheckMethod::ALL.map(Evidence::Check);
                for evidence in by_check.into_iter().chain([Evidence::Traffic]) {
                    let event = Event::Verdict { stamp, verdict: Verdict::Pass(evidence) };
                    assert!(is_nothing_new(word, &event));
                    assert_eq!(step(word, &event, now, &policy), word);
                    taken += 1;
                }
            }
        }
        assert!(taken > 100_000, "{taken}");
    }

    #[test]
    fn the_shortcut_is_not_taken_when_there_is_something_to_forgive_or_to_count() {
        let healthy = layout::STATE.put(State::Healthy as u64);
        let stamp = Stamp::new(Word::default().decode().epoch, Tick(0));
        let pass = Event::Verdict { stamp, verdict: Verdict::Pass(Evidence::Traffic) };
        let fail = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));
        assert!(is_nothing_new(Word(healthy), &pass));
        assert!(!is_nothing_new(Word(healthy | layout::FAILURES.put(1)), &pass));
        assert!(!is_nothing_new(Word(0), &pass));
        assert!(!is_nothing_new(Word(healthy), &Event::Verdict { stamp, verdict: fail }));
        assert!(!is_nothing_new(Word(healthy), &Event::Sweep));
    }
}
