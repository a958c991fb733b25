//! The edge at which time is read. Everything further in is given a [`Tick`].

use std::time::Duration;

use jiff::Timestamp;
use qcc_fsm::{Tick, Ticks};
use tokio::time::Instant;

/// A monotonic clock of ticks, with one reading of the wall clock beside its zero for display. A wall
/// clock that is set while the program runs changes nothing: not the health, not the times shown.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    zero_shown: Timestamp,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clocks")]
    pub fn start() -> Self {
        Self::showing(Timestamp::now())
    }

    /// A clock that starts now, and shows this time of day, whatever the wall clock says.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clocks")]
    pub fn showing(zero_shown: Timestamp) -> Self {
        Self { zero: Instant::now(), zero_shown }
    }

    /// The current tick; the first one is 1, since zero stands for "never".
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clocks")]
    pub fn now(&self) -> Tick {
        self.tick_at(Instant::now())
    }

    /// The tick at `instant`, where that was read anyway.
    pub fn tick_at(&self, instant: Instant) -> Tick {
        Tick::from_millis(instant.duration_since(self.zero).as_millis() as u64) + Ticks::ONE
    }

    /// The instant at which `tick` begins, for a timer.
    pub fn instant(&self, tick: Tick) -> Instant {
        self.zero + Duration::from_millis(tick.0.saturating_sub(1).saturating_mul(100))
    }

    /// The time of day at `tick`, for display.
    pub fn shown(&self, tick: Tick) -> Timestamp {
        let offset = Duration::from_millis(tick.0.saturating_sub(1).saturating_mul(100));
        self.zero_shown.checked_add(offset).unwrap_or(Timestamp::MAX)
    }

    /// The time of day now, as this clock counts it.
    pub fn shown_now(&self) -> Timestamp {
        self.shown(self.now())
    }
}

/// How long something took, in a figure fit for display and for comparing endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clocks")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The instant `span` after the start, for a timer.
    pub fn after(&self, span: Duration) -> Instant {
        self.0 + span
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A moment after which something is no longer done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So far from now.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clocks")]
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    /// Whether it is reached.
    pub fn is_reached(self) -> bool {
        self <= Self::after(Duration::ZERO)
    }
}
