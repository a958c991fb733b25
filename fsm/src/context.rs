//! What the handlers of the machine ask of the word, and what they do to it.

use statig::Outcome;

use crate::event::{AdminCommand, Cause, CheckMethod, Claimant, Event, Evidence, Failure};
use crate::policy::{Billing, Policy};
use crate::word::{Admin, Snapshot, State, Word, layout};
use crate::{Deadline, Stamp, Tick, Ticks, mutant};

/// A copy of the word, and what an event is judged by. Handlers work on the copy only.
pub(crate) struct Context<'a> {
    pub(crate) word: Snapshot,
    pub(crate) now: Tick,
    pub(crate) policy: &'a Policy,
}

/// Which events and claims count at all.
impl Context<'_> {
    pub(crate) fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::Admin(_) => true,
            Event::Verdict { stamp, .. } => self.is_active() && self.accepts(*stamp),
            Event::Trip { stamp, .. } => {
                self.is_active() && (mutant::TRIP_IGNORES_STAMP || stamp.is_of(&self.word, self.now))
            }
            Event::Claim { .. } | Event::Sweep | Event::Recheck => self.is_active(),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.word.admin == Admin::Active
    }

    pub(crate) fn accepts(&self, stamp: Stamp) -> bool {
        mutant::IGNORES_EPOCH || stamp.is_of(&self.word, self.now)
    }

    pub(crate) fn may_claim(&self, by: Claimant) -> bool {
        let due = self.word.deadline.is_due(self.now);
        let free = !self.word.trial || self.lease_is_over();
        let billing = self.policy.billing;
        free && match by {
            Claimant::Prober => due && billing == Billing::PerToken,
            Claimant::Request => due && billing == Billing::PerRequest,
            Claimant::LastResort => !self.word.cause.is_some_and(Cause::is_decisive),
        }
    }

    pub(crate) fn lease_is_over(&self) -> bool {
        !mutant::NO_LEASE && self.word.trial && self.word.deadline.is_due(self.now)
    }
}

/// What handlers do to the word.
impl Context<'_> {
    pub(crate) fn advance(&mut self) {
        self.word.epoch = self.word.epoch.next();
    }

    /// The first pass opens no new period: what else was sent while nothing was known still counts.
    pub(crate) fn change_state(&mut self, to: State) {
        let first_pass = (self.word.state, to) == (State::Unknown, State::Healthy);
        self.word.state = to;
        if !first_pass {
            self.advance();
        }
    }

    pub(crate) fn advance_for_claim(&mut self) {
        if !mutant::CLAIM_KEEPS_EPOCH {
            self.advance();
        }
    }

    pub(crate) fn enter_recovering(&mut self) -> Outcome<State> {
        if mutant::CLAIM_KEEPS_EPOCH {
            self.word.state = State::recovering();
            return Outcome::Handled;
        }
        Outcome::Transition(State::recovering())
    }

    pub(crate) fn due_in(&mut self, span: Ticks) -> Outcome<State> {
        self.word.deadline = Deadline::after(self.now, span);
        Outcome::Handled
    }

    pub(crate) fn vouch(&mut self, evidence: Evidence) -> Outcome<State> {
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

    pub(crate) fn count_failure(&mut self, failure: &Failure) -> Outcome<State> {
        self.add_weight(failure);
        let (failures, threshold) = (self.word.failures, self.policy.failure_threshold);
        let reached = if mutant::THRESHOLD_EXACT { failures == threshold } else { failures >= threshold };
        if reached { self.leave_service(failure) } else { Outcome::Handled }
    }

    /// The failure was counted by its own verdict, and passes may have come since: the counter is left alone.
    pub(crate) fn trip(&mut self, failure: &Failure) -> Outcome<State> {
        self.word.method = Some(failure.method);
        self.leave_service(failure)
    }

    pub(crate) fn fail_at_once(&mut self, failure: &Failure) -> Outcome<State> {
        self.add_weight(failure);
        self.leave_service(failure)
    }

    /// A decisive cause weighs as much as the whole threshold. The method stays at least as strong as it
    /// was: a network failure in a run of failed chats is not cleared by a network check.
    pub(crate) fn add_weight(&mut self, failure: &Failure) {
        let whole = self.policy.failure_threshold;
        let weight = if failure.cause.is_decisive() { whole } else { failure.weight.max(1) };
        self.word.failures = saturated(self.word.failures, weight, layout::FAILURES);
        self.word.method = self.word.method.max(Some(failure.method));
    }

    /// To Unhealthy. A connection that fails says nothing of a key that was refused before: such a
    /// cause stays.
    pub(crate) fn leave_service(&mut self, failure: &Failure) -> Outcome<State> {
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

    pub(crate) fn begin_trial(&mut self, lease: Ticks) {
        self.word.trial = true;
        self.word.deadline = Deadline::after(self.now, lease.max(Ticks::ONE));
    }

    pub(crate) fn release_trial(&mut self) -> Outcome<State> {
        self.word.trial = false;
        self.advance();
        self.due_in(Policy::TRIAL_PAUSE)
    }

    /// A check of a stronger method counts: the chat check stands in for a model list that an endpoint
    /// turns out not to have.
    pub(crate) fn pass_trial(&mut self, evidence: Evidence) -> Outcome<State> {
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

    pub(crate) fn back_in_service(&mut self) -> Outcome<State> {
        let Snapshot { state, level, epoch, .. } = self.word;
        self.word = Snapshot { state, level, epoch, ..Word::default().decode() };
        if level > 0 {
            self.word.deadline = Deadline::after(self.now, Policy::DECAY);
        }
        Outcome::Transition(State::healthy())
    }

    pub(crate) fn decay_level(&mut self) -> Outcome<State> {
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
    pub(crate) fn renew_deadline(&mut self) -> Outcome<State> {
        if self.word.deadline.overdue(self.now) < Policy::TICKET_LIFE {
            return Outcome::Handled;
        }
        self.due_in(Ticks(0))
    }

    pub(crate) fn obey(&mut self, command: AdminCommand) -> Outcome<State> {
        match command {
            AdminCommand::Drain => self.put_aside(Admin::Draining),
            AdminCommand::Disable => self.put_aside(Admin::Disabled),
            AdminCommand::Enable => self.start_afresh(Admin::Active),
            AdminCommand::Reset => self.start_afresh(self.word.admin),
        }
    }

    /// The state stays in sight. A drain keeps the counters too; the trial in flight ends with the epoch.
    pub(crate) fn put_aside(&mut self, admin: Admin) -> Outcome<State> {
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

    pub(crate) fn start_afresh(&mut self, admin: Admin) -> Outcome<State> {
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
