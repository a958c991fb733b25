//! Where a session's requests belong. An endpoint that has read a session's prompt keeps it for some
//! minutes, and reading it anew costs many times more.
//!
//! Weighted rendezvous hashing: each endpoint draws `u` from (0, 1) for a session, and its score is
//! `-weight / ln(u)`; the highest score is the session's home. Nothing is remembered, so homes survive
//! restarts, and a change of the endpoints moves only the sessions of those that came or went (Thaler and
//! Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; the score by weight is Schindelhauer
//! and Schomaker's, "Weighted Distributed Hash Tables", 2005).
//!
//! Where that would be a draw for each of many endpoints, a session looks from some points at a ring on which the
//! endpoints stand by their ids, and `1 - u` is the way from the nearest point before an endpoint to it. The nearest
//! endpoint is then among those next to the points, however many there are (Appleton and O'Reilly, "Multi-probe
//! consistent hashing", 2015). It is a score as the other one, of a session and one endpoint alone, so that what is
//! said above holds for it. No share is much above its weight; one that stands close behind another has less.

use std::array;

use qcc_fsm::Ticks;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::EndpointId;

/// What a session is known by: a hash of what its client calls it, never the name itself. It must be
/// spread evenly over its 64 bits, and the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u64);

/// The session that a request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// What it is known by.
    pub key: SessionKey,
    /// How long it stays where it moved to after its last request there; zero: no longer than it must.
    pub ttl: Ticks,
}

/// Tells the draw for a slow start from the draws for a home.
const SLOW_START_SEED: u64 = 1;
/// Tells the points on the ring from both.
const RING_SEED: u64 = 2;
/// A tier of so many endpoints has a draw for each of them; one of more, the ring.
pub(super) const EACH_DRAWS_MAX: usize = 64;
/// With so many points the largest share exceeds the mean by 5 %.
const POINTS: usize = 21;
/// A `f64` holds halves of so many steps from 0 to 1, so that the last one is not rounded to 1.
const DRAW_BITS: u32 = 52;

impl SessionKey {
    /// A fixed number from 0 to 1: after a recovery of its home the session returns when the
    /// endpoint's share exceeds it.
    pub(super) fn slow_start_fraction(self) -> f32 {
        unit(xxh3_64_with_seed(&self.0.to_be_bytes(), SLOW_START_SEED)) as f32
    }

    /// How its home is found among so many endpoints.
    pub(super) fn outlook(self, endpoints: usize) -> Outlook {
        if endpoints <= EACH_DRAWS_MAX { Outlook::Draws(self) } else { Outlook::Ring(Points::of(self)) }
    }
}

/// How a session sees the endpoints of a tier.
pub(super) enum Outlook {
    /// Each endpoint draws.
    Draws(SessionKey),
    /// From points of a ring.
    Ring(Points),
}

impl Outlook {
    /// How far it is to an endpoint of this weight.
    pub fn distance_to(&self, id: EndpointId, weight: u32) -> Distance {
        let draw = match self {
            Self::Draws(key) => unit(xxh3_64_with_seed(&id.to_u32().to_be_bytes(), key.0)),
            Self::Ring(points) => {
                let ways = points.0.iter().map(|point| id.to_u32().wrapping_sub(*point));
                return Distance::on_ring(ways.min().unwrap_or_default(), weight);
            }
        };
        Distance { draw, weight: f64::from(weight) }
    }
}

/// The points from which a session looks at the ring.
pub(super) struct Points(pub [u32; POINTS]);

impl Points {
    /// One hash makes them all: the first one, and the step to the next.
    fn of(key: SessionKey) -> Self {
        let hash = xxh3_64_with_seed(&key.0.to_be_bytes(), RING_SEED);
        let (first, step) = (hash as u32, (hash >> u32::BITS) as u32 | 1);
        Self(array::from_fn(|number| first.wrapping_add(step.wrapping_mul(number as u32))))
    }
}

/// Even over (0, 1), both ends left out.
fn unit(hash: u64) -> f64 {
    ((hash >> (u64::BITS - DRAW_BITS)) as f64 + 0.5) / (1u64 << DRAW_BITS) as f64
}

/// The reciprocal of the score, with `1 - draw` for `u`: the nearest endpoint is the session's home.
#[derive(Clone, Copy)]
pub(super) struct Distance {
    draw: f64,
    weight: f64,
}

impl Distance {
    /// From a point of the ring, so many steps of its 2^32 on.
    pub(super) fn on_ring(way: u32, weight: u32) -> Self {
        Self { draw: (f64::from(way) + 0.5) / (1u64 << u32::BITS) as f64, weight: f64::from(weight) }
    }

    pub(super) fn exact(self) -> f64 {
        -(-self.draw).ln_1p() / self.weight
    }

    /// Never more than [`Distance::exact`], and close to it for those that are near. It takes no
    /// logarithm, so that among thousands only a handful is needed.
    pub(super) fn lower_bound(self) -> f64 {
        self.draw / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_is_one() {
        for step in 0..10_000 {
            let draw = (f64::from(step) + 0.5) / 10_000.0;
            for weight in [1.0, 100.0, 1000.0] {
                let distance = Distance { draw, weight };
                assert!(distance.lower_bound() <= distance.exact(), "{draw} {weight}");
            }
        }
    }

    #[test]
    fn draws_leave_both_ends_out() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
        assert!((Distance { draw: unit(u64::MAX), weight: 1.0 }).exact().is_finite());
    }
}
