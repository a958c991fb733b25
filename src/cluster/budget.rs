//! How many requests may be repeated after a failure that cost an endpoint work.
//!
//! When everything fails, each repetition adds to the load that may be the reason. Over the requests of the
//! last 10 s, one repetition for five of them is allowed, and three where there are few.

use std::sync::atomic::{AtomicU64, Ordering};

use qcc_fsm::{Tick, Ticks};

/// One bucket a second, this second's among them.
const BUCKETS: u64 = 10;
const BUCKET_SPAN: Ticks = Ticks::from_secs(1);
/// One repetition for so many requests.
const REQUESTS_PER_RETRY: u64 = 5;
/// So many may be repeated however few there are.
const RETRIES_MIN: u64 = 3;

const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const SECOND_MAX: u64 = u64::MAX >> (2 * COUNT_BITS);
/// By so many seconds another thread's clock may be ahead; a bucket that is further ahead was left there
/// before the numbers wrapped.
const AHEAD_MAX: u64 = 60;

/// The repetitions that a cluster may make. It is written by every request, so that it shares no cache line
/// with what requests only read.
#[derive(Default)]
#[repr(align(128))]
pub struct RetryBudget {
    /// Each of one second: its number above (24 bits, which wrap after 194 days), requests begun in it and
    /// repetitions taken in it below.
    buckets: [AtomicU64; BUCKETS as usize],
    refused: AtomicU64,
}

/// One repetition that was taken. Dropped, it stays so: a request whose client leaves may have been sent.
#[must_use = "what is not sent is given back"]
pub struct RetryPermit<'a> {
    budget: &'a RetryBudget,
    second: u64,
}

impl RetryBudget {
    /// One more request has begun. One read-modify-write.
    pub fn count_request(&self, now: Tick) {
        let second = second_of(now);
        self.update(second, |bucket| Bucket { requests: (bucket.requests + 1).min(COUNT_MAX), ..bucket });
    }

    /// Takes one repetition, unless they are used up.
    ///
    /// It is entered first and the sum looked at after. Both are SeqCst, so that of several callers the
    /// one that entered last sees them all: together they never take more than there is. Of those that
    /// come within the same moment for the last one, none may get it.
    pub fn take(&self, now: Tick) -> Option<RetryPermit<'_>> {
        let second = second_of(now);
        let is_entered =
            self.update(second, |bucket| Bucket { retries: (bucket.retries + 1).min(COUNT_MAX), ..bucket });
        let permit = RetryPermit { budget: self, second };
        let (requests, retries) = self.sums(second);
        if is_entered && retries <= RETRIES_MIN.max(requests / REQUESTS_PER_RETRY) {
            return Some(permit);
        }
        if is_entered {
            permit.give_back();
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How often nothing was left.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Changes the bucket of this second, unless it already is a later one's.
    fn update(&self, second: u64, change: impl Fn(Bucket) -> Bucket) -> bool {
        let word = &self.buckets[(second % BUCKETS) as usize];
        let mut seen = word.load(Ordering::SeqCst);
        loop {
            let bucket = Bucket::unpack(seen);
            let current = if bucket.second == second { bucket } else { Bucket::of(second) };
            if bucket.is_after(second) {
                return false;
            }
            match word.compare_exchange(seen, change(current).pack(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Requests and repetitions of this second, of the nine before it, and of what others have already
    /// begun after it.
    fn sums(&self, second: u64) -> (u64, u64) {
        let buckets = self.buckets.iter().map(|word| Bucket::unpack(word.load(Ordering::SeqCst)));
        let counts = |bucket: &Bucket| seconds(bucket.second, second) < BUCKETS || bucket.is_after(second);
        buckets.filter(counts).fold((0, 0), |(requests, retries), bucket| {
            (requests + bucket.requests, retries + bucket.retries)
        })
    }
}

impl RetryPermit<'_> {
    /// Nothing was sent after all.
    pub fn give_back(self) {
        let less = |bucket: Bucket| Bucket { retries: bucket.retries.saturating_sub(1), ..bucket };
        self.budget.update(self.second, less);
    }
}

#[derive(Clone, Copy)]
struct Bucket {
    second: u64,
    requests: u64,
    retries: u64,
}

impl Bucket {
    fn of(second: u64) -> Self {
        Self { second, requests: 0, retries: 0 }
    }

    fn is_after(self, second: u64) -> bool {
        (1..=AHEAD_MAX).contains(&seconds(second, self.second))
    }

    fn unpack(word: u64) -> Self {
        Self {
            second: word >> (2 * COUNT_BITS),
            requests: word >> COUNT_BITS & COUNT_MAX,
            retries: word & COUNT_MAX,
        }
    }

    fn pack(self) -> u64 {
        self.second << (2 * COUNT_BITS) | self.requests << COUNT_BITS | self.retries
    }
}

/// Seconds since the clock's zero, as far as a bucket holds them.
fn second_of(now: Tick) -> u64 {
    (now.0 / u64::from(BUCKET_SPAN.0)) & SECOND_MAX
}

/// From one second to a later one, be it over the wrap.
fn seconds(from: u64, to: u64) -> u64 {
    to.wrapping_sub(from) & SECOND_MAX
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use proptest::prelude::*;

    use super::*;

    fn begin(budget: &RetryBudget, requests: u32, second: u64) {
        (0..requests).for_each(|_| budget.count_request(Tick::from_secs(second)));
    }

    /// Takes until nothing is left.
    fn take_all(budget: &RetryBudget, second: u64) -> usize {
        std::iter::from_fn(|| budget.take(Tick::from_secs(second))).count()
    }

    #[test]
    fn three_may_be_repeated_however_few_there_are() {
        let budget = RetryBudget::default();
        begin(&budget, 1, 100);
        assert_eq!(take_all(&budget, 100), 3);
        assert_eq!((take_all(&budget, 109), budget.refused()), (0, 2));
        assert_eq!(take_all(&budget, 110), 3, "the first second is out of the window");
    }

    #[test]
    fn one_for_five_requests_of_the_last_ten_seconds_may_be_repeated() {
        let budget = RetryBudget::default();
        (100..110).for_each(|second| begin(&budget, 10, second));
        assert_eq!(take_all(&budget, 109), 20);
        begin(&budget, 4, 109);
        assert_eq!(take_all(&budget, 109), 0);
        begin(&budget, 1, 109);
        assert_eq!(take_all(&budget, 109), 1);
        assert_eq!(take_all(&budget, 118), 0, "what was taken in second 109 counts still");
        assert_eq!(take_all(&budget, 119), 3);
    }

    #[test]
    fn one_that_was_not_sent_is_given_back() {
        let budget = RetryBudget::default();
        let now = Tick::from_secs(7);
        for _ in 0..10 {
            let permits: Vec<_> = (0..3).map_while(|_| budget.take(now)).collect();
            assert_eq!(permits.len(), 3);
            assert!(budget.take(now).is_none());
            permits.into_iter().for_each(RetryPermit::give_back);
        }
        let late = budget.take(now);
        begin(&budget, 1, 17);
        assert_eq!(take_all(&budget, 17), 3);
        late.into_iter().for_each(RetryPermit::give_back);
        assert_eq!(take_all(&budget, 17), 0, "its second is over, so that nothing comes back for it");
    }

    #[test]
    fn it_goes_on_where_the_number_of_the_second_wraps() {
        let budget = RetryBudget::default();
        let last = SECOND_MAX;
        for second in last - 30..last + 30 {
            begin(&budget, 10, second);
        }
        assert_eq!(take_all(&budget, last + 29), 20);
        assert_eq!(take_all(&budget, last + 45), 3, "with no requests in between either");
    }

    #[test]
    fn takers_at_once_never_take_more_than_there_is() {
        const TAKERS: usize = 8;
        for round in 0..200 {
            let budget = Arc::new(RetryBudget::default());
            begin(&budget, 50, 99);
            let start = Arc::new(Barrier::new(TAKERS));
            let takers: Vec<_> = (0..TAKERS)
                .map(|taker| {
                    let (budget, start) = (Arc::clone(&budget), Arc::clone(&start));
                    std::thread::spawn(move || {
                        start.wait();
                        // Some of them are in the next second already.
                        let now = Tick::from_secs(99 + taker as u64 % 2);
                        (0..5).filter_map(|_| budget.take(now)).count()
                    })
                })
                .collect();
            let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            assert!(taken <= 10, "{taken} in round {round}");
        }
    }

    proptest! {
        #[test]
        fn the_budget_is_the_naive_list(steps in prop::collection::vec((0..4_u64, 0..12_u32, any::<bool>()), 1..100)) {
            let budget = RetryBudget::default();
            let (mut second, mut refused) = (0_u64, 0);
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (wait, begun, gives_back) in steps {
                second += wait;
                begin(&budget, begun, second);
                requests.extend((0..begun).map(|_| second));
                let lately = |list: &[u64]| list.iter().filter(|at| **at + 10 > second).count();
                let is_left = lately(&retries) < (lately(&requests) / 5).max(3);
                let permit = budget.take(Tick::from_secs(second));
                prop_assert_eq!(permit.is_some(), is_left, "in second {}", second);
                refused += u64::from(!is_left);
                prop_assert_eq!(budget.refused(), refused);
                match permit {
                    Some(permit) if gives_back => permit.give_back(),
                    Some(_) => retries.push(second),
                    None => {}
                }
            }
        }
    }
}
