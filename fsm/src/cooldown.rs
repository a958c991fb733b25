//! The moment before which a rate-limited endpoint is left alone.

use crate::Tick;
use crate::sync::{AtomicU64, Ordering, const_unless_modelled};

/// A deadline that only moves forward, an operator's reset aside. It stands outside the word since a
/// rate limit says nothing of health: no guard reads both.
#[derive(Debug)]
pub struct Cooldown(AtomicU64);

impl Default for Cooldown {
    fn default() -> Self {
        Self::new()
    }
}

impl Cooldown {
    const_unless_modelled! {
        /// No cooldown.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Leaves the endpoint alone until `until` at least. Returns whether that is later than before.
    ///
    /// Release, paired with the Acquire of [`Cooldown::until`]: who sees the cooldown sees what its
    /// reporter wrote before.
    pub fn raise(&self, until: Tick) -> bool {
        self.0.fetch_max(until.0, Ordering::AcqRel) < until.0
    }

    /// The moment it ends; zero when there never was one. Acquire.
    pub fn until(&self) -> Tick {
        Tick(self.0.load(Ordering::Acquire))
    }

    /// Whether the endpoint is to be left alone now.
    pub fn is_active(&self, now: Tick) -> bool {
        now < self.until()
    }

    /// Ends it: an operator's reset, the one way in which it shrinks.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }
}
