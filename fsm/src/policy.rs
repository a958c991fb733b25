//! Thresholds and waiting times, valid by construction.

use crate::word::layout;
use crate::{Cause, Epoch, Ticks};

/// How an endpoint is paid for, which decides who may try it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billing {
    /// By the token: checks cost next to nothing.
    PerToken,
    /// By the request: it is never checked, one user's request is its trial.
    PerRequest,
}

/// The numbers that the machine goes by. Every setter clamps to the range that it names, so that a
/// policy is always valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) billing: Billing,
    pub(crate) failure_threshold: u8,
    pub(crate) success_threshold: u8,
    general: Backoff,
    auth: Backoff,
    quota_wait: Ticks,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backoff {
    base: Ticks,
    max: Ticks,
}

impl Policy {
    /// How long a released trial keeps the next one waiting: 1 s.
    pub const TRIAL_PAUSE: Ticks = Ticks::from_secs(1);
    /// How long a healthy endpoint needs to lose one backoff level: 60 s.
    pub const DECAY: Ticks = Ticks::from_secs(60);
    /// How long a ticket can count at all: 1 h.
    pub const TICKET_LIFE: Ticks = Ticks::from_secs(3600);

    /// The defaults: threshold 3, one passed trial, 5 s doubling to 5 min; 60 s to 30 min for a refused
    /// key; 10 min for a quota without an announced end.
    pub const fn new(billing: Billing) -> Self {
        Self {
            billing,
            failure_threshold: 3,
            success_threshold: 1,
            general: Backoff { base: Ticks::from_secs(5), max: Ticks::from_secs(300) },
            auth: Backoff { base: Ticks::from_secs(60), max: Ticks::from_secs(30 * 60) },
            quota_wait: Ticks::from_secs(600),
            seed: 0,
        }
    }

    /// Weighted failures that take it out of service, 1–15.
    pub fn with_failure_threshold(self, failures: u8) -> Self {
        let failure_threshold = failures.clamp(1, layout::FAILURES.max() as u8);
        Self { failure_threshold, ..self }
    }

    /// Passed trials that bring it back, 1–7.
    pub fn with_success_threshold(self, passes: u8) -> Self {
        Self { success_threshold: passes.clamp(1, layout::PASSES.max() as u8), ..self }
    }

    /// The first and the longest wait after a failure; at least one tick, the longest not below the first.
    pub fn with_backoff(self, base: Ticks, max: Ticks) -> Self {
        Self { general: Backoff::new(base, max), ..self }
    }

    /// The same for a refused key.
    pub fn with_auth_backoff(self, base: Ticks, max: Ticks) -> Self {
        Self { auth: Backoff::new(base, max), ..self }
    }

    /// The wait for a quota without an announced end; at least one tick.
    pub fn with_quota_wait(self, wait: Ticks) -> Self {
        Self { quota_wait: wait.max(Ticks::ONE), ..self }
    }

    /// The seed of the jitter: endpoints with different seeds don't come back in step.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How it is billed.
    pub const fn billing(&self) -> Billing {
        self.billing
    }

    /// Weighted failures that take it out of service.
    pub const fn failure_threshold(&self) -> u8 {
        self.failure_threshold
    }

    /// Passed trials that bring it back.
    pub const fn success_threshold(&self) -> u8 {
        self.success_threshold
    }

    /// The wait before the next trial, for an endpoint that leaves service at `level` in `epoch`.
    ///
    /// Equal jitter: half of the wait is fixed, half is drawn from the seed and the epoch, so that the
    /// same history gives the same waits. A quota waits for its announced end, to the tick.
    pub fn wait(&self, cause: Cause, resets_in: Option<Ticks>, level: u8, epoch: Epoch) -> Ticks {
        let backoff = match cause {
            Cause::Quota => return resets_in.unwrap_or(self.quota_wait).max(Ticks::ONE),
            Cause::Auth => self.auth,
            Cause::Server | Cause::Timeout | Cause::Network | Cause::InvalidResponse | Cause::Stream => {
                self.general
            }
        };
        let full = backoff.at(level);
        let half = full.0 / 2;
        let drawn = splitmix64(self.seed ^ (u64::from(epoch.get()) << 8) ^ u64::from(level));
        Ticks((full.0 - half + (drawn % (u64::from(half) + 1)) as u32).max(1))
    }
}

impl Backoff {
    fn new(base: Ticks, max: Ticks) -> Self {
        let base = base.max(Ticks::ONE);
        Self { base, max: max.max(base) }
    }

    fn at(self, level: u8) -> Ticks {
        let doubled = u64::from(self.base.0) << level.min(layout::LEVEL.max() as u8);
        Ticks(u32::try_from(doubled).unwrap_or(u32::MAX)).min(self.max)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// OOPSLA 2014): one well-mixed number from one seed, without state.
const fn splitmix64(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
