//! What is known of an endpoint: the word that decides, and the figures beside it that only advise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use qcc_fsm::{Change, Cooldown, HealthCell, Interval, Outcome, Stamp, State, Tick, Ticks, Verdict};

use super::SkippedModels;
use crate::clock::Clock;
use crate::upstream::Admission;

/// What a reload keeps of an unchanged endpoint. Everything but the cell, the cooldown and the interval
/// is advisory: relaxed atomics that no decision about health reads.
pub struct Vitals {
    /// The health.
    pub cell: HealthCell,
    /// The moment before which it is left alone after a rate limit.
    pub cooldown: Cooldown,
    /// At most one last-resort trial a second.
    pub last_resort: Interval,
    /// The models that it has said it does not have.
    pub skipped_models: SkippedModels,
    /// What users' requests came to.
    pub requests: Tally,
    /// What checks came to.
    pub checks: Tally,
    traffic: Traffic,
    clock: Clock,
    since: AtomicU64,
    recovered_at: AtomicU64,
    /// Overloads in a row above, the tick at which the last one was counted below: 32 bits each.
    overloads: AtomicU64,
    lacks_model_list: AtomicBool,
    last_error: ArcSwapOption<String>,
    last_model: ArcSwapOption<String>,
}

/// What every request writes, on cache lines apart from what choosing only reads. It is not split by thread: the
/// load decides between two endpoints.
#[derive(Default)]
#[repr(align(128))]
struct Traffic {
    in_flight: AtomicU32,
    /// Latency in µs above, the tick of its last sample below: 32 bits each.
    latency: AtomicU64,
    vouched_at: AtomicU64,
}

/// Counts of exchanges by what they came to, on cache lines of their own since every request writes them.
#[derive(Default)]
#[repr(align(128))]
pub struct Tally {
    sent: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
    neutral: AtomicU64,
    stale: AtomicU64,
}

/// A copy of a [`Tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallySnapshot {
    /// Exchanges begun.
    pub sent: u64,
    /// Exchanges that passed to their end.
    pub passed: u64,
    /// Exchanges that failed.
    pub failed: u64,
    /// Exchanges that said nothing.
    pub neutral: u64,
    /// Exchanges whose verdict came too late to count.
    pub stale: u64,
}

impl Tally {
    /// One more begun.
    pub fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn uncount_sent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// One more ended with this verdict, which had this outcome.
    pub fn count(&self, verdict: &Verdict, outcome: &Outcome) {
        let counter = match (outcome, verdict) {
            (Outcome::Stale, _) => &self.stale,
            (Outcome::Stays | Outcome::Moved(_), Verdict::Pass(_)) => &self.passed,
            (Outcome::Stays | Outcome::Moved(_), Verdict::Fail(_)) => &self.failed,
            (Outcome::Stays | Outcome::Moved(_), Verdict::Neutral) => &self.neutral,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts.
    pub fn snapshot(&self) -> TallySnapshot {
        TallySnapshot {
            sent: self.sent.load(Ordering::Relaxed),
            passed: self.passed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            neutral: self.neutral.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
        }
    }
}

/// An endpoint that nobody has measured for so long counts half as slow as it was.
const LATENCY_HALVES_AFTER: Ticks = Ticks::from_secs(30);
/// The weight of a new sample in the moving average is 1 in this.
const LATENCY_SMOOTHING: u64 = 4;
/// The share of its traffic that an endpoint gets right after a recovery.
const SLOW_START_FLOOR: f32 = 0.1;

impl Vitals {
    /// An endpoint of which nothing is known.
    pub fn new(clock: Clock) -> Self {
        Self {
            cell: HealthCell::new(),
            cooldown: Cooldown::new(),
            last_resort: Interval::new(),
            skipped_models: SkippedModels::default(),
            requests: Tally::default(),
            checks: Tally::default(),
            traffic: Traffic::default(),
            clock,
            since: AtomicU64::new(clock.now().0),
            recovered_at: AtomicU64::new(0),
            overloads: AtomicU64::new(0),
            lacks_model_list: AtomicBool::new(false),
            last_error: ArcSwapOption::empty(),
            last_model: ArcSwapOption::empty(),
        }
    }

    /// Requests that are under way.
    pub fn in_flight(&self) -> u32 {
        self.traffic.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self) {
        self.traffic.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.traffic.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The moving average of the time to the first content, none before the first success.
    pub fn latency(&self) -> Option<Duration> {
        let us = self.traffic.latency.load(Ordering::Relaxed) >> 32;
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// The latency as choosing sees it, in µs: it fades while nobody measures it, so that an endpoint
    /// that was slow once is tried again. None before the first success.
    pub fn faded_latency_us(&self, now: Tick) -> Option<f32> {
        let packed = self.traffic.latency.load(Ordering::Relaxed);
        let idle = (now.0 as u32).wrapping_sub(packed as u32) as f32;
        let us = (packed >> 32) as f32;
        (us > 0.0).then(|| us / (1.0 + idle / LATENCY_HALVES_AFTER.0 as f32))
    }

    /// Takes up a success's time to its first content. Failures never come here: an endpoint that
    /// refuses quickly must not look fast.
    pub fn note_latency(&self, took: Duration, now: Tick) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX));
        let old = self.traffic.latency.load(Ordering::Relaxed) >> 32;
        let new = if old == 0 { us } else { (old * (LATENCY_SMOOTHING - 1) + us) / LATENCY_SMOOTHING };
        self.traffic.latency.store(new.max(1) << 32 | u64::from(now.0 as u32), Ordering::Relaxed);
    }

    /// The tick of the last change of state.
    pub fn since(&self) -> Tick {
        Tick(self.since.load(Ordering::Relaxed))
    }

    pub(super) fn note_change(&self, change: &Change, now: Tick) {
        self.since.store(now.0, Ordering::Relaxed);
        let recovered = change.from.state == State::Recovering && change.to.state == State::Healthy;
        self.recovered_at.store(if recovered { now.0 } else { 0 }, Ordering::Relaxed);
    }

    /// The share of its traffic that an endpoint gets: 1 but for the time after a recovery, over which
    /// it rises from a tenth.
    pub fn share(&self, now: Tick, slow_start: Ticks) -> f32 {
        let recovered_at = self.recovered_at.load(Ordering::Relaxed);
        if recovered_at == 0 || slow_start.0 == 0 {
            return 1.0;
        }
        let gone = now.since(Tick(recovered_at)).0 as f32 / slow_start.0 as f32;
        (SLOW_START_FLOOR + (1.0 - SLOW_START_FLOOR) * gone).min(1.0)
    }

    /// The tick at which traffic or a check last showed that the endpoint works.
    pub fn vouched_at(&self) -> Tick {
        Tick(self.traffic.vouched_at.load(Ordering::Relaxed))
    }

    /// Counts a rate limit or overload without an announced end; gives the number in a row before it. What
    /// was under way when the endpoint began to cool met the same overload, and is not one more.
    /// `cooled_at_least` is the shortest wait that follows.
    ///
    /// Relaxed: the word is complete in itself. Of several callers in one moment one counts, before the
    /// cooldown can tell the others.
    pub fn count_overload(&self, now: Tick, cooled_at_least: Ticks) -> u32 {
        let is_same = |word: u64| {
            let since = Ticks((now.0 as u32).wrapping_sub(word as u32));
            word >> 32 > 0 && (since < cooled_at_least || self.cooldown.is_active(now))
        };
        let one_more = |word: u64| {
            let in_row = (word >> 32).saturating_add(1).min(u64::from(u32::MAX));
            (!is_same(word)).then_some(in_row << 32 | u64::from(now.0 as u32))
        };
        match self.overloads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(before) => (before >> 32) as u32,
            Err(counted) => (counted >> 32) as u32 - 1,
        }
    }

    /// Ends a row of overloads: an operator's reset.
    pub(super) fn forget_overloads(&self) {
        self.overloads.store(0, Ordering::Relaxed);
    }

    /// A model list may be served by one that is overloaded still: only work ends a row of overloads.
    pub(super) fn note_vouched(&self, now: Tick, by_work: bool) {
        // Mostly there is none, and what choosing reads is left alone.
        if by_work && self.overloads.load(Ordering::Relaxed) > 0 {
            self.forget_overloads();
        }
        self.traffic.vouched_at.store(now.0, Ordering::Relaxed);
    }

    /// Whether the endpoint has said that it has no model list.
    pub fn lacks_model_list(&self) -> bool {
        self.lacks_model_list.load(Ordering::Relaxed)
    }

    /// Keeps in mind that the endpoint has no model list.
    pub fn note_no_model_list(&self) {
        self.lacks_model_list.store(true, Ordering::Relaxed);
    }

    /// The text of the last failure.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.load().as_deref().cloned()
    }

    pub(super) fn note_error(&self, text: String) {
        self.last_error.store(Some(Arc::new(text)));
    }

    /// The model of the last request that the endpoint served.
    pub fn last_model(&self) -> Option<String> {
        self.last_model.load().as_deref().cloned()
    }

    /// Keeps the model of a request that the endpoint served.
    pub fn note_model(&self, model: &str) {
        if self.last_model.load().as_ref().is_none_or(|last| **last != *model) {
            self.last_model.store(Some(Arc::new(model.to_owned())));
        }
    }
}

impl Admission for Vitals {
    fn is_current(&self, stamp: Stamp) -> bool {
        self.cell.is_current(stamp, self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overloads_that_are_met_together_are_one_of_the_row() {
        let vitals = Vitals::new(Clock::start());
        let count = |now| vitals.count_overload(now, Ticks(5));
        let first = Tick::from_secs(100);
        assert_eq!((0..8).map(|_| count(first)).collect::<Vec<_>>(), [0; 8]);
        vitals.cooldown.raise(first + Ticks(9));
        assert_eq!(count(first + Ticks(8)), 0, "it cools still");
        assert_eq!(count(first + Ticks(9)), 1);
        assert_eq!(count(first + Ticks(9 + 4)), 1, "the cooldown is being raised");
        vitals.forget_overloads();
        assert_eq!(count(first + Ticks(9 + 4)), 0);
    }
}
