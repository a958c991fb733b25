//! Time as the core sees it: counted in ticks of 100 ms from a moment that the caller chose.

use core::ops::Add;

use crate::word::layout;

/// A moment: ticks of 100 ms since the caller's own zero. It must come from a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// A span of time in ticks of 100 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u32);

const MS_PER_TICK: u128 = 100;

impl Tick {
    /// The moment `secs` seconds after zero.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(10))
    }

    /// The moment `ms` milliseconds after zero, rounded down to a tick.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms / 100)
    }

    /// The span from `earlier` to this moment; zero when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Self) -> Ticks {
        Ticks(u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX))
    }
}

impl Add<Ticks> for Tick {
    type Output = Self;

    fn add(self, span: Ticks) -> Self {
        Self(self.0.saturating_add(u64::from(span.0)))
    }
}

impl Ticks {
    /// One tick, 100 ms.
    pub const ONE: Self = Self(1);

    /// A span of `secs` seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs.saturating_mul(10))
    }

    /// A span rounded up to a whole tick, so that nothing becomes due early.
    pub fn from_duration(span: core::time::Duration) -> Self {
        Self(u32::try_from(span.as_millis().div_ceil(MS_PER_TICK)).unwrap_or(u32::MAX))
    }

    /// The span as a duration.
    pub const fn to_duration(self) -> core::time::Duration {
        core::time::Duration::from_millis(self.0 as u64 * 100)
    }
}

/// A moment as the word keeps it: the low bits of a [`Tick`], compared serially.
///
/// A value up to [`Deadline::HORIZON`] ahead of now is in the future, everything else has passed. The
/// field wraps after 116 h, which leaves 92 h in which a deadline that nobody looked at still counts as
/// passed; [`Event::Sweep`](crate::Event::Sweep) renews it long before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline(u32);

impl Deadline {
    /// The furthest that a deadline can lie ahead: 24 h.
    pub const HORIZON: Ticks = Ticks::from_secs(24 * 3600);

    /// A deadline `span` after `now`; a longer span than the horizon is cut to it.
    pub fn after(now: Tick, span: Ticks) -> Self {
        let at = now + span.min(Self::HORIZON);
        Self((at.0 & layout::DEADLINE.max()) as u32)
    }

    /// Whether the moment has come.
    pub fn is_due(self, now: Tick) -> bool {
        self.remaining(now) == Ticks(0)
    }

    /// The time left, zero once the moment has come.
    pub fn remaining(self, now: Tick) -> Ticks {
        let ahead = Ticks(self.0.wrapping_sub(now.0 as u32) & layout::DEADLINE.max() as u32);
        if ahead > Self::HORIZON { Ticks(0) } else { ahead }
    }

    /// How long ago the moment came, zero while it is ahead.
    pub fn overdue(self, now: Tick) -> Ticks {
        let behind = Ticks((now.0 as u32).wrapping_sub(self.0) & layout::DEADLINE.max() as u32);
        if self.is_due(now) { behind } else { Ticks(0) }
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits as u32)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0 as u64
    }
}
