//! The share of an endpoint's exchanges that failed lately.
//!
//! A row of failures ends with each pass, so an endpoint that fails every second request never fills one.
//! It is the share that shows it. Nothing here decides: what [`FailureWindow::record`] finds is an
//! [`Event::Trip`](crate::Event::Trip), which the word's own loop accepts or not.

use core::array;

use crate::sync::{AtomicU64, Ordering};
use crate::word::layout::Field;
use crate::{Cause, CheckMethod, Epoch, Failure, Stamp, Tick, Ticks};

/// What one exchange came to in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It was served to its end.
    Passed,
    /// It failed, be it after its first content.
    Failed(Failure),
}

/// The share of failures that takes an endpoint out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    min_samples: u32,
    share_millionths: u32,
}

impl FailureLimit {
    /// The most samples that a limit can ask for. A full window holds more, whatever it halves.
    pub const MIN_SAMPLES_MAX: u32 = 10_000;
    /// All of them failed.
    pub const SHARE_MAX_MILLIONTHS: u32 = 1_000_000;

    /// At least `min_samples`, 1 to 10,000, and of them at least `share_millionths` failed, 1 to 1,000,000.
    /// What lies outside is clamped.
    pub fn new(min_samples: u32, share_millionths: u32) -> Self {
        Self {
            min_samples: min_samples.clamp(1, Self::MIN_SAMPLES_MAX),
            share_millionths: share_millionths.clamp(1, Self::SHARE_MAX_MILLIONTHS),
        }
    }

    fn is_reached(self, samples: u32, failed: u32) -> bool {
        let (share, whole) = (u64::from(self.share_millionths), u64::from(Self::SHARE_MAX_MILLIONTHS));
        samples >= self.min_samples && u64::from(failed) * whole >= u64::from(samples) * share
    }
}

/// Buckets that a window is cut into; one cache line of them.
const BUCKETS: u64 = 8;

const EPOCH: Field = Field::first(20);
/// How often the ring had gone round when the bucket was begun.
const LAP: Field = EPOCH.above(15);
const PASSED: Field = LAP.above(12);
const FAILED: Field = PASSED.above(12);
/// Cause and method of the bucket's last failure.
const CAUSE: Field = FAILED.above(3);
const METHOD: Field = CAUSE.above(2);

const _: () = {
    assert!(METHOD.shift + METHOD.width == 64, "a bucket is one word");
    // A halved bucket holds this many; the one that is being filled may be new.
    let held = (BUCKETS - 1) * PASSED.max().div_ceil(2);
    assert!(held >= FailureLimit::MIN_SAMPLES_MAX as u64, "a limit that no window could reach");
};

/// Counts passes and failures over a window of time: a ring of buckets, of which each is one word.
///
/// A bucket names the epoch that its samples belong to, and only those of the asker's own epoch count. An
/// endpoint that comes back therefore starts with an empty window, and nobody has to clear it: a clearing
/// could come before the last sample of the time before. The window is seen from 7/8 to 8/8 of its
/// length, as its oldest bucket goes at once.
#[derive(Debug)]
#[repr(align(128))]
pub struct FailureWindow {
    bucket_span: Ticks,
    buckets: [AtomicU64; BUCKETS as usize],
}

impl FailureWindow {
    /// An empty window. It is counted in eighths of whole ticks, so that `span` is rounded up to a multiple
    /// of 800 ms.
    pub fn new(span: Ticks) -> Self {
        let bucket_span = Ticks(span.0.div_ceil(BUCKETS as u32)).max(Ticks::ONE);
        Self { bucket_span, buckets: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Whether both are cut alike.
    pub fn is_as_long_as(&self, other: &Self) -> bool {
        self.bucket_span == other.bucket_span
    }

    /// Counts one exchange, for the epoch of `stamp`. Gives the last failure where the share of failures has
    /// reached `limit`, for [`HealthCell::trip`](crate::HealthCell::trip) with the same stamp.
    ///
    /// One read-modify-write, and a load a bucket. All Relaxed: each bucket is complete in itself, the sum of
    /// several is of no one moment, and what it leads to is validated by the word's exchange.
    pub fn record(&self, stamp: Stamp, sample: Sample, now: Tick, limit: FailureLimit) -> Option<Failure> {
        let slot = self.slot(now);
        self.add(stamp.epoch(), sample, slot);
        let (passed, failed, last) = self.sum(stamp.epoch(), slot);
        last.filter(|_| limit.is_reached(passed + failed, failed))
    }

    /// The passes and failures of this epoch within the window, for tests and models. Relaxed.
    pub fn counts(&self, epoch: Epoch, now: Tick) -> (u32, u32) {
        let (passed, failed, _) = self.sum(epoch, self.slot(now));
        (passed, failed)
    }

    /// Empties the buckets that are no longer within the window. To be called once an hour at least: a
    /// bucket's lap wraps after 7 h at the shortest, and what nobody touched meanwhile would read as new.
    pub fn forget_old(&self, now: Tick) {
        let slot = self.slot(now);
        for (place, bucket) in self.buckets.iter().enumerate() {
            let seen = bucket.load(Ordering::Relaxed);
            let age = (slot % BUCKETS + BUCKETS - place as u64) % BUCKETS;
            let is_within = slot >= age && Tally(seen).is_of_lap((slot - age) / BUCKETS);
            if seen != 0 && !is_within {
                // Lost to a sample: then it is not old.
                let _ = bucket.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    fn slot(&self, now: Tick) -> u64 {
        now.0 / u64::from(self.bucket_span.0)
    }

    fn add(&self, epoch: Epoch, sample: Sample, slot: u64) {
        let bucket = &self.buckets[(slot % BUCKETS) as usize];
        let mut seen = bucket.load(Ordering::Relaxed);
        while let Some(new) = Tally(seen).with(sample, epoch, slot / BUCKETS) {
            match bucket.compare_exchange(seen, new.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// The newest bucket first, so that the first failure found is of the last ones.
    fn sum(&self, epoch: Epoch, slot: u64) -> (u32, u32, Option<Failure>) {
        let (mut passed, mut failed, mut last) = (0, 0, None);
        for age in 0..BUCKETS.min(slot + 1) {
            let slot = slot - age;
            let tally = Tally(self.buckets[(slot % BUCKETS) as usize].load(Ordering::Relaxed));
            if tally.is_of_lap(slot / BUCKETS) && tally.is_of_epoch(epoch) {
                passed += PASSED.get(tally.0) as u32;
                failed += FAILED.get(tally.0) as u32;
                last = last.or_else(|| tally.last_failure());
            }
        }
        (passed, failed, last)
    }
}

/// The word of one bucket.
#[derive(Clone, Copy)]
struct Tally(u64);

impl Tally {
    fn is_of_lap(self, lap: u64) -> bool {
        LAP.get(self.0) == lap & LAP.max()
    }

    fn is_of_epoch(self, epoch: Epoch) -> bool {
        EPOCH.get(self.0) == u64::from(epoch.get())
    }

    fn is_empty(self) -> bool {
        PASSED.get(self.0) + FAILED.get(self.0) == 0
    }

    fn last_failure(self) -> Option<Failure> {
        let cause = Cause::from_bits(CAUSE.get(self.0))?;
        let method = CheckMethod::from_bits(METHOD.get(self.0))?;
        Some(Failure::new(cause, method))
    }

    /// The bucket with one sample more; none where the sample comes too late for it.
    fn with(self, sample: Sample, epoch: Epoch, lap: u64) -> Option<Self> {
        let begun = Self(EPOCH.put(u64::from(epoch.get())) | LAP.put(lap));
        if self.is_empty() || is_before(LAP, self.0, begun.0) {
            return Some(begun.plus(sample));
        }
        if is_before(LAP, begun.0, self.0) || is_before(EPOCH, begun.0, self.0) {
            return None;
        }
        let same = if is_before(EPOCH, self.0, begun.0) { begun } else { self };
        Some(same.plus(sample))
    }

    fn plus(self, sample: Sample) -> Self {
        let (passed, failed) = (PASSED.get(self.0), FAILED.get(self.0));
        // A full bucket is halved, which keeps the share.
        let is_full = passed == PASSED.max() || failed == FAILED.max();
        let divisor = if is_full { 2 } else { 1 };
        let (passed, failed) = (passed.div_ceil(divisor), failed.div_ceil(divisor));
        let kept = self.0 & (EPOCH.mask() | LAP.mask() | CAUSE.mask() | METHOD.mask());
        Self(match sample {
            Sample::Passed => kept | PASSED.put(passed + 1) | FAILED.put(failed),
            Sample::Failed(failure) => {
                let kept = kept & !(CAUSE.mask() | METHOD.mask());
                let (cause, method) = (failure.cause as u64, failure.method as u64);
                kept | PASSED.put(passed) | FAILED.put(failed + 1) | CAUSE.put(cause) | METHOD.put(method)
            }
        })
    }
}

/// Serial comparison of a field that wraps: whether `a` is up to half its range before `b`.
fn is_before(field: Field, a: u64, b: u64) -> bool {
    let ahead = field.get(b).wrapping_sub(field.get(a)) & field.max();
    ahead != 0 && ahead <= field.max() / 2
}
