//! The transition function.
//!
//! ```text
//!                  pass                   failures ≥ failure_threshold, or trip
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

use crate::context::Context;
use crate::event::{AdminCommand, Event, Verdict};
use crate::policy::Policy;
use crate::word::{Admin, State, Word, layout};
use crate::{Tick, Ticks};

/// The word after `event`: pure and total.
///
/// An event that changes nothing gives back the same word. That holds for every verdict and trip whose ticket is
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

/// Out of line, so that the shortcut before it stays small enough to be part of its callers.
#[inline(never)]
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

impl State {
    pub(crate) const fn unknown() -> Self {
        Self::Unknown
    }
    pub(crate) const fn healthy() -> Self {
        Self::Healthy
    }
    pub(crate) const fn unhealthy() -> Self {
        Self::Unhealthy
    }
    pub(crate) const fn recovering() -> Self {
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
            | Event::Trip { .. }
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
            Event::Trip { failure, .. } => context.trip(failure),
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
            Event::Claim { .. }
            | Event::Verdict { .. }
            | Event::Trip { .. }
            | Event::Sweep
            | Event::Recheck
            | Event::Admin(_) => Outcome::Super,
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
            | Event::Trip { .. }
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
            Event::Verdict { .. }
            | Event::Trip { .. }
            | Event::Claim { .. }
            | Event::Sweep
            | Event::Recheck => Outcome::Handled,
        }
    }

    /// Unhealthy and Recovering.
    #[superstate]
    fn sidelined(context: &mut Context<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Admin(command) => context.obey(*command),
            Event::Sweep => context.renew_deadline(),
            Event::Recheck if !context.word.trial => context.due_in(Ticks(0)),
            Event::Recheck | Event::Verdict { .. } | Event::Trip { .. } | Event::Claim { .. } => {
                Outcome::Handled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stamp;
    use crate::event::{Cause, CheckMethod, Evidence, Failure};
    use crate::policy::Billing;

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
