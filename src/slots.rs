//! Things kept for the next one who needs one, without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::atomic::AtomicCell;

/// 256 things are kept, at most.
const ROWS: usize = 4;
const ROW_SLOTS: usize = u64::BITS as usize;

/// A bounded set. The lowest slots are filled first and emptied first, so that the things that are in use now and then
/// are always the same few, and the others grow old together.
pub struct Slots<T> {
    rows: [Row<T>; ROWS],
}

/// The bits say who may touch a slot: whoever sets its bit in `claimed` may fill it, whoever clears its bit in `filled`
/// may empty it. So the cells are never contended.
struct Row<T> {
    claimed: AtomicU64,
    filled: AtomicU64,
    /// Made when one is first needed: most endpoints of many have few connections.
    cells: OnceLock<Box<[Cell<T>; ROW_SLOTS]>>,
}

type Cell<T> = AtomicCell<Option<Box<T>>>;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { rows: std::array::from_fn(|_| Row::default()) }
    }
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self { claimed: AtomicU64::new(0), filled: AtomicU64::new(0), cells: OnceLock::new() }
    }
}

impl<T> Slots<T> {
    /// Keeps a thing; gives it back where all slots are taken.
    pub fn put(&self, thing: Box<T>) -> Option<Box<T>> {
        self.rows.iter().try_fold(thing, |thing, row| row.put(thing).ok_or(())).ok()
    }

    /// Takes the thing in the lowest slot.
    pub fn take(&self) -> Option<Box<T>> {
        self.rows.iter().find_map(|row| row.take(u64::MAX))
    }

    /// Looks at each thing, and lets go of those that are not to be kept. One that is being looked at is not there for
    /// others meanwhile.
    pub fn retain(&self, mut keep: impl FnMut(&mut T) -> bool) {
        for row in &self.rows {
            // What is put there meanwhile is fresh. Relaxed: it only says where to look.
            let mut filled = row.filled.load(Ordering::Relaxed);
            while filled != 0 {
                let lowest = filled & filled.wrapping_neg();
                filled ^= lowest;
                if let Some(mut thing) = row.take(lowest)
                    && keep(&mut thing)
                {
                    drop(self.put(thing));
                }
            }
        }
    }

    /// How many there are. Relaxed: a figure.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.filled.load(Ordering::Relaxed).count_ones() as usize).sum()
    }
}

impl<T> Row<T> {
    fn put(&self, thing: Box<T>) -> Option<Box<T>> {
        loop {
            let place = self.claimed.load(Ordering::Relaxed).trailing_ones();
            let Some(bit) = 1u64.checked_shl(place) else { return Some(thing) };
            // Acquire, paired with the Release in `take`: the cell is seen empty.
            if self.claimed.fetch_or(bit, Ordering::Acquire) & bit == 0 {
                let cells =
                    self.cells.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicCell::new(None))));
                cells[place as usize].store(Some(thing));
                // Release, paired with the Acquire in `take`: who sees the bit sees the thing.
                self.filled.fetch_or(bit, Ordering::Release);
                return None;
            }
        }
    }

    /// Takes the thing in the lowest slot of these.
    fn take(&self, of: u64) -> Option<Box<T>> {
        loop {
            let filled = self.filled.load(Ordering::Relaxed) & of;
            let place = filled.trailing_zeros();
            let bit = 1u64.checked_shl(place)?;
            if self.filled.fetch_and(!bit, Ordering::Acquire) & bit != 0 {
                let thing = self.cells.get().and_then(|cells| cells[place as usize].take());
                self.claimed.fetch_and(!bit, Ordering::Release);
                return thing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn the_lowest_is_filled_and_emptied_first() {
        let slots = Slots::default();
        assert!(slots.take().is_none());
        for number in 0..(ROWS * ROW_SLOTS) {
            assert!(slots.put(Box::new(number)).is_none());
        }
        assert_eq!(slots.put(Box::new(7_000)), Some(Box::new(7_000)), "all are taken");
        assert_eq!(slots.take(), Some(Box::new(0)));
        assert_eq!(slots.take(), Some(Box::new(1)));
        assert!(slots.put(Box::new(1_000)).is_none());
        assert_eq!(slots.len(), (ROWS * ROW_SLOTS) - 1);
        assert_eq!(slots.take(), Some(Box::new(1_000)));
        assert_eq!(slots.take(), Some(Box::new(2)));
    }

    #[test]
    fn what_is_not_to_be_kept_goes_and_the_rest_stays() {
        let slots = Slots::default();
        (0..200).for_each(|number| drop(slots.put(Box::new(number))));
        slots.retain(|number| *number % 3 == 0);
        let mut left: Vec<u32> = std::iter::from_fn(|| slots.take()).map(|number| *number).collect();
        left.sort_unstable();
        assert_eq!(left, (0..200).filter(|number| number % 3 == 0).collect::<Vec<u32>>());
    }

    #[test]
    fn of_many_who_put_and_take_none_gets_what_another_has_and_nothing_is_lost() {
        const THREADS: usize = 4;
        const THINGS: usize = 100;
        let slots = Arc::new(Slots::default());
        (0..THINGS).for_each(|number| drop(slots.put(Box::new((number, 0)))));
        let threads = [(); THREADS].map(|()| {
            let slots = slots.clone();
            thread::spawn(move || {
                let mut taken = 0;
                for _ in 0..20_000 {
                    if let Some(mut thing) = slots.take() {
                        thing.1 += 1;
                        taken += 1;
                        assert!(slots.put(thing).is_none());
                    }
                }
                taken
            })
        });
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        let mut left: Vec<(usize, usize)> = std::iter::from_fn(|| slots.take()).map(|thing| *thing).collect();
        assert_eq!(
            left.iter().map(|(_, count)| count).sum::<usize>(),
            taken,
            "each was held by one at a time"
        );
        left.sort_unstable();
        assert!(left.iter().map(|(number, _)| *number).eq(0..THINGS));
    }
}
