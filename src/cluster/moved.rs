//! Where sessions are that are not at home: a bounded table of those alone.
//!
//! It only advises. What it forgets, because a set of it is full, or because two requests write at once,
//! goes by score, which mostly leads to the same place; two sessions that share an entry share a detour.
//! Hence relaxed atomics and no lock: an entry is one word, and is never seen half written.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use qcc_fsm::{Tick, Ticks};

use super::session::SessionKey;
use crate::config::EndpointId;

/// Entries of a set. A session's entry is in the one set that its key says.
const WAYS: usize = 4;
/// 16,384 entries, 128 KiB: more sessions than a cluster has that are active and away from home.
const SETS: usize = 4096;

/// An entry, from the lowest bit: the tick of the last request, the endpoint, a tag of the session. Zero
/// is an empty one.
const TICK_BITS: u32 = 22;
const PLACE_BITS: u32 = 20;
const TAG_BITS: u32 = u64::BITS - TICK_BITS - PLACE_BITS;
const TICK_MAX: u64 = (1 << TICK_BITS) - 1;
/// A writer may have read the clock a little later than the reader; more than this apart, an entry is
/// old, not new. The longest `session_ttl` is 24 h, and ticks wrap after 116 h.
const CLOCK_SLACK: Ticks = Ticks::from_secs(60);
const _: () = assert!(TAG_BITS + SETS.ilog2() <= u64::BITS, "tag and set are different parts of a key");

/// The endpoint that a session moved to: the upper bits of its id. Two endpoints of a cluster hardly
/// ever share them, and then either will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    pub(super) fn of(id: EndpointId) -> Self {
        Self(id.to_u32() >> (u32::BITS - PLACE_BITS))
    }

    /// The ids that it stands for.
    pub(super) fn ids(self) -> RangeInclusive<u32> {
        let first = self.0 << (u32::BITS - PLACE_BITS);
        first..=first | (u32::MAX >> PLACE_BITS)
    }
}

/// A session that is away from home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub place: Place,
    /// The time since its last request there.
    pub idle: Ticks,
}

/// The table.
pub(super) struct MovedSessions {
    sets: Box<[Set]>,
}

/// Half a cache line, so that a lookup touches one.
#[derive(Default)]
#[repr(align(32))]
struct Set([AtomicU64; WAYS]);

impl Default for MovedSessions {
    fn default() -> Self {
        Self::with_sets(SETS)
    }
}

impl MovedSessions {
    fn with_sets(sets: usize) -> Self {
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// Where the session was last, if that is known.
    pub(super) fn stay_of(&self, key: SessionKey, now: Tick) -> Option<Stay> {
        let words = self.set_of(key).0.iter().map(|entry| entry.load(Ordering::Relaxed));
        let stays = words.filter(|&word| is_of(word, key)).map(|word| Stay {
            place: Place((word >> TICK_BITS) as u32 & ((1 << PLACE_BITS) - 1)),
            idle: idle(word, now),
        });
        // Two writers at once may have left two: the later one counts.
        stays.min_by_key(|stay| stay.idle)
    }

    /// The session was served there now.
    pub(super) fn note(&self, key: SessionKey, place: Place, now: Tick) {
        let set = &self.set_of(key).0;
        let age = |entry: &AtomicU64| match entry.load(Ordering::Relaxed) {
            word if is_of(word, key) => u64::MAX,
            0 => u64::MAX - 1,
            word => u64::from(idle(word, now).0),
        };
        // Its own entry, else an empty one, else the one that was idle for longest.
        let oldest = (0..WAYS).max_by_key(|&way| age(&set[way])).unwrap_or_default();
        let word = tag(key) | u64::from(place.0) << TICK_BITS | (now.0 & TICK_MAX);
        set[oldest].store(word, Ordering::Relaxed);
    }

    /// The session is at home again.
    pub(super) fn forget(&self, key: SessionKey) {
        for entry in &self.set_of(key).0 {
            if is_of(entry.load(Ordering::Relaxed), key) {
                entry.store(0, Ordering::Relaxed);
            }
        }
    }

    fn set_of(&self, key: SessionKey) -> &Set {
        &self.sets[key.0 as usize % self.sets.len()]
    }
}

/// The upper bits of the key; the set is chosen by the lower ones.
fn tag(key: SessionKey) -> u64 {
    key.0 >> (u64::BITS - TAG_BITS) << (TICK_BITS + PLACE_BITS)
}

fn is_of(word: u64, key: SessionKey) -> bool {
    word != 0 && word >> (TICK_BITS + PLACE_BITS) == key.0 >> (u64::BITS - TAG_BITS)
}

fn idle(word: u64, now: Tick) -> Ticks {
    let slack = u64::from(CLOCK_SLACK.0);
    let since = now.0.wrapping_add(slack).wrapping_sub(word) & TICK_MAX;
    Ticks(since.saturating_sub(slack) as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const NOON: Tick = Tick::from_secs(12 * 3600);

    /// A key of this tag in this set.
    fn key(tag: u64, set: u64) -> SessionKey {
        SessionKey(tag << (u64::BITS - TAG_BITS) | set)
    }

    #[test]
    fn a_session_is_found_where_it_was_noted_last_and_not_after_it_went_home() {
        let table = MovedSessions::default();
        assert_eq!(table.stay_of(key(7, 7), NOON), None);
        table.note(key(7, 7), Place(1), NOON);
        table.note(key(7, 7), Place(2), NOON + Ticks(50));
        assert_eq!(
            table.stay_of(key(7, 7), NOON + Ticks(80)),
            Some(Stay { place: Place(2), idle: Ticks(30) })
        );
        assert_eq!(table.stay_of(key(7, 8), NOON), None);
        table.forget(key(7, 7));
        assert_eq!(table.stay_of(key(7, 7), NOON), None);
    }

    #[test]
    fn a_full_set_drops_the_session_that_was_idle_for_longest() {
        let table = MovedSessions::with_sets(1);
        for tag in 1..=4 {
            table.note(key(tag, 0), Place(9), NOON + Ticks(tag as u32));
        }
        table.note(key(1, 0), Place(9), NOON + Ticks(10));
        table.note(key(5, 0), Place(9), NOON + Ticks(11));
        let there: Vec<u64> =
            (1..=5).filter(|&tag| table.stay_of(key(tag, 0), NOON + Ticks(11)).is_some()).collect();
        assert_eq!(there, [1, 3, 4, 5]);
    }

    #[test]
    fn a_clock_read_a_little_earlier_sees_no_old_entry() {
        let table = MovedSessions::default();
        table.note(key(7, 7), Place(1), NOON + Ticks(3));
        assert_eq!(table.stay_of(key(7, 7), NOON).map(|stay| stay.idle), Some(Ticks(0)));
    }

    #[test]
    fn an_entry_is_old_for_as_long_as_any_session_ttl_reaches() {
        let table = MovedSessions::default();
        table.note(key(7, 7), Place(1), NOON);
        let day = Ticks::from_secs(24 * 3600);
        for days in 1..=4u32 {
            let idle = table.stay_of(key(7, 7), NOON + Ticks(day.0 * days)).map(|stay| stay.idle);
            assert_eq!(idle, Some(Ticks(day.0 * days)));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Note(u64, u32),
        Forget(u64),
        Pass(u32),
    }

    fn step(sessions: u64) -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..sessions, 0..1u32 << PLACE_BITS).prop_map(|(session, place)| Step::Note(session, place)),
            (0..sessions).prop_map(Step::Forget),
            (0..600u32).prop_map(Step::Pass),
        ]
    }

    /// Runs the steps on a table of two sets and on a map, and hands both over after each.
    fn beside_a_map(steps: Vec<Step>, sessions: u64, check: impl Fn(Option<Stay>, Option<Stay>)) {
        let (table, mut map) = (MovedSessions::with_sets(2), HashMap::new());
        let (mut now, key) = (NOON, |session: u64| key(session + 1, session % 2));
        for step in steps {
            match step {
                Step::Note(session, place) => {
                    table.note(key(session), Place(place), now);
                    map.insert(session, (Place(place), now));
                }
                Step::Forget(session) => {
                    table.forget(key(session));
                    map.remove(&session);
                }
                Step::Pass(ticks) => now = now + Ticks(ticks),
            }
            for session in 0..sessions {
                let expected = map.get(&session).map(|&(place, at)| Stay { place, idle: now.since(at) });
                check(table.stay_of(key(session), now), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn as_long_as_it_has_room_it_is_a_map(steps in proptest::collection::vec(step(8), 0..60)) {
            beside_a_map(steps, 8, |found, expected| assert_eq!(found, expected));
        }

        #[test]
        fn beyond_its_room_it_forgets_and_never_invents(steps in proptest::collection::vec(step(40), 0..120)) {
            beside_a_map(steps, 40, |found, expected| assert!(found.is_none() || found == expected));
        }
    }
}
