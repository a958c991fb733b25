//! The endpoints of a tier that serve the same, and which of them are up: what choosing draws from, so that of
//! thousands it looks at a few.
//!
//! A list only proposes. The truth stays in the word, by which everything that is chosen is chosen. Whoever moves a
//! state brings the lists up to date after the word has it, one at a time ([`Cluster::relist`](super::Cluster)), and
//! reads the word anew for it, so that the last one to do so has seen all that moved before. In between a list is
//! old: one that is listed and is down costs a look in vain; one that is up and is not listed is passed over as if
//! the choice had come a moment earlier, but by no request that finds nothing else, since that one goes through
//! all endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use qcc_fsm::Snapshot;

use super::Endpoint;
use crate::config::{EndpointId, ModelGlob, Protocol};

/// The endpoints of one tier that serve the same models by the same protocol, are billed alike, and of which none
/// weighs twice as much as another.
pub(super) struct Kind {
    /// In the order of their ids.
    members: Vec<Arc<Endpoint>>,
    all: Ring,
    up: ArcSwap<Ring>,
    down: ArcSwap<Vec<Seat>>,
    /// The largest weight of a member.
    pub weight_max: u32,
}

/// Some members of a kind in the order of their ids, which are spread evenly over the 32 bits.
pub(super) struct Ring {
    seats: Vec<Seat>,
    /// Where each of equal sectors of the ring begins among the seats, and where the last one ends: a sector for a
    /// seat or two, so that the place of a point is found in a step or two.
    sectors: Vec<u32>,
}

/// A member's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub id: u32,
    index: u32,
}

impl Kind {
    /// The kinds among these endpoints, each listed as its word has it.
    pub fn among(endpoints: &[Arc<Endpoint>]) -> Vec<Self> {
        let mut kinds: BTreeMap<_, Vec<Arc<Endpoint>>> = BTreeMap::new();
        for endpoint in endpoints {
            let settings = &endpoint.settings;
            let models: Vec<_> = settings.models.iter().map(ModelGlob::as_str).collect();
            let weight_octave = settings.weight.max(1).ilog2();
            let kind = (settings.protocol.as_str(), models, endpoint.is_per_request(), weight_octave);
            kinds.entry(kind).or_default().push(endpoint.clone());
        }
        kinds.into_values().map(Self::of).collect()
    }

    fn of(mut members: Vec<Arc<Endpoint>>) -> Self {
        members.sort_by_key(|endpoint| endpoint.settings.id);
        let seats = members.iter().zip(0..);
        let seats = seats.map(|(endpoint, index)| Seat { id: endpoint.settings.id.to_u32(), index });
        let all = Ring::of(seats.collect());
        let weight_max = members.iter().map(|endpoint| endpoint.settings.weight).max().unwrap_or(1);
        let kind = Self { members, all, up: ArcSwap::default(), down: ArcSwap::default(), weight_max };
        kind.relist_all();
        kind
    }

    /// Whether its endpoints serve requests of this protocol for this model.
    pub fn serves(&self, protocol: Protocol, model: Option<&str>) -> bool {
        self.members.first().is_some_and(|endpoint| endpoint.serves(protocol, model))
    }

    /// Whether its endpoints are billed by the request.
    pub fn is_per_request(&self) -> bool {
        self.members.first().is_some_and(|endpoint| endpoint.is_per_request())
    }

    /// Its endpoints that are listed as out of service without an operator's will.
    pub fn down(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let down = self.down.load_full();
        (0..down.len()).map(move |rank| self.at(down[rank]))
    }

    /// Its endpoints whose ids are in this range.
    pub fn with_ids(&self, ids: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = &Arc<Endpoint>> {
        let first = self.all.seats.partition_point(|seat| seat.id < *ids.start());
        let seats = self.all.seats[first..].iter().take_while(move |seat| seat.id <= *ids.end());
        seats.map(|seat| self.at(*seat))
    }

    /// The endpoint of this seat.
    pub fn at(&self, seat: Seat) -> &Arc<Endpoint> {
        &self.members[seat.index as usize]
    }

    /// The same endpoint among its members, be it configured in another way meanwhile.
    pub fn find(&self, id: EndpointId, is_same: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        self.with_ids(id.to_u32()..=id.to_u32()).find(|endpoint| is_same(endpoint))
    }

    /// Lists an endpoint as its word has it now, if it is a member; returns whether it is. For one caller at a time.
    pub fn relist(&self, endpoint: &Endpoint) -> bool {
        let id = endpoint.settings.id.to_u32();
        let first = self.all.seats.partition_point(|seat| seat.id < id);
        let is_it = |seat: &&Seat| Arc::ptr_eq(&self.at(**seat).vitals, &endpoint.vitals);
        let Some(&seat) = self.all.seats[first..].iter().take_while(|seat| seat.id == id).find(is_it) else {
            return false;
        };
        let word = endpoint.health();
        if let Some(up) = listed(&self.up.load().seats, seat, word.is_available()) {
            self.up.store(Arc::new(Ring::of(up)));
        }
        if let Some(down) = listed(&self.down.load(), seat, word.is_sidelined()) {
            self.down.store(Arc::new(down));
        }
        true
    }

    /// Lists all anew. For one caller at a time.
    pub fn relist_all(&self) {
        let those = |is: fn(&Snapshot) -> bool| {
            let seats = self.all.seats.iter().copied();
            seats.filter(|seat| is(&self.at(*seat).health())).collect::<Vec<_>>()
        };
        self.up.store(Arc::new(Ring::of(those(Snapshot::is_available))));
        self.down.store(Arc::new(those(Snapshot::is_sidelined)));
    }

    /// Takes all off the lists, as a change that nobody has listed yet does with one.
    #[cfg(test)]
    pub fn unlist_all(&self) {
        self.up.store(Arc::default());
        self.down.store(Arc::default());
    }
}

/// The list with the seat or without it; none where it is so already.
fn listed(list: &[Seat], seat: Seat, belongs: bool) -> Option<Vec<Seat>> {
    match (list.binary_search(&seat), belongs) {
        (Ok(_), true) | (Err(_), false) => None,
        (Ok(rank), false) => Some([&list[..rank], &list[rank + 1..]].concat()),
        (Err(rank), true) => Some([&list[..rank], &[seat], &list[rank..]].concat()),
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Ring {
    /// A ring of these seats, which stand in order.
    fn of(seats: Vec<Seat>) -> Self {
        let bits = sector_bits(seats.len());
        let mut sectors = Vec::with_capacity((1 << bits) + 1);
        for (rank, seat) in (0..).zip(&seats) {
            // Its own sector and the empty ones before it begin with it.
            sectors.resize(sectors.len().max((seat.id >> (u32::BITS - bits)) as usize + 1), rank);
        }
        sectors.resize((1 << bits) + 1, seats.len() as u32);
        Self { seats, sectors }
    }

    /// All seats, from the first one at this point or after it on, once round.
    pub fn from(&self, point: u32) -> impl Iterator<Item = Seat> {
        let sector = (point >> (u32::BITS - sector_bits(self.seats.len()))) as usize;
        let (begin, end) = (self.sectors[sector] as usize, self.sectors[sector + 1] as usize);
        let first = begin + self.seats[begin..end].partition_point(|seat| seat.id < point);
        let (before, after) = self.seats.split_at(first);
        after.iter().chain(before).copied()
    }
}

/// So many upper bits of an id tell the sectors of a ring apart.
fn sector_bits(seats: usize) -> u32 {
    (seats + 2).ilog2()
}

/// The kinds of a tier that serve a request, each with the list of its endpoints that are up.
pub(super) struct Serving<'a> {
    kinds: Vec<(&'a Kind, Guard<Arc<Ring>>)>,
}

impl<'a> Serving<'a> {
    /// Those of these kinds that serve it.
    pub fn among(kinds: &'a [Kind], protocol: Protocol, model: Option<&str>) -> Self {
        let serving = kinds.iter().filter(|kind| kind.serves(protocol, model));
        Self { kinds: serving.map(|kind| (kind, kind.up.load())).collect() }
    }

    /// The kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &'a Kind> {
        self.kinds.iter().map(|(kind, _)| *kind)
    }

    /// All their seats.
    pub fn all(&self) -> impl Iterator<Item = (&'a Kind, &Ring)> {
        self.kinds.iter().map(|(kind, _)| (*kind, &kind.all))
    }

    /// The seats of those that are listed as up.
    pub fn up(&self) -> impl Iterator<Item = (&'a Kind, &Ring)> {
        self.kinds.iter().map(|(kind, up)| (*kind, &***up))
    }

    /// The endpoints that are listed as up: two at random, then in turn from the first of those on.
    pub fn drawn(&self) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        let up = self.up().map(|(_, up)| up.seats.len()).sum::<usize>();
        let first = if up > 0 { fastrand::usize(..up) } else { 0 };
        let second = (up > 1).then(|| (first + fastrand::usize(1..up)) % up);
        let in_turn = (1..up).map(move |step| (first + step) % up);
        let ranks = (up > 0).then_some(first).into_iter().chain(second).chain(in_turn);
        ranks.filter_map(|rank| self.of_rank(rank))
    }

    fn of_rank(&self, mut rank: usize) -> Option<&'a Arc<Endpoint>> {
        for (kind, up) in self.up() {
            match up.seats.get(rank) {
                Some(seat) => return Some(kind.at(*seat)),
                None => rank -= up.seats.len(),
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
