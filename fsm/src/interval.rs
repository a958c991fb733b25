//! At most one in a span of time, over all threads.

use crate::sync::{AtomicU64, Ordering, const_unless_modelled};
use crate::{Tick, Ticks};

/// Lets one caller pass in each span.
#[derive(Debug)]
pub struct Interval {
    /// The tick at which the next caller may pass.
    next: AtomicU64,
}

impl Default for Interval {
    fn default() -> Self {
        Self::new()
    }
}

impl Interval {
    const_unless_modelled! {
        /// One that lets the first caller pass.
        pub fn new() -> Self {
            Self { next: AtomicU64::new(0) }
        }
    }

    /// Whether this caller passes. The next one passes after `every`. AcqRel; a caller that loses the
    /// exchange does not pass, since somebody else just did.
    pub fn pass(&self, now: Tick, every: Ticks) -> bool {
        let next = self.next.load(Ordering::Acquire);
        let then = (now + every).0;
        now.0 >= next && self.next.compare_exchange(next, then, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The moment at which a caller may pass again. Acquire.
    pub fn next(&self) -> Tick {
        Tick(self.next.load(Ordering::Acquire))
    }
}
