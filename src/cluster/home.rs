//! Choosing for a request of a session: at home, or where the session moved to while home was not
//! eligible and its prompt is cached now.

use std::sync::Arc;

use super::choose::{Found, Search};
use super::kind::{Kind, Ring, Serving};
use super::moved::{MovedSessions, Place, Stay};
use super::roster::Tier;
use super::session::{Distance, Outlook, Points, Session, SessionKey};
use super::{Attempt, Endpoint};

/// After so many looks at endpoints that are listed as up and are not eligible, each is looked at once.
const LOOKS_MAX: u32 = 1_000;

/// What an accepted answer says of where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// Nothing: no session, one that is at home as ever, or a trial, to which a session is only lent.
    Usual,
    /// The session is away from home.
    Away(SessionKey),
    /// It was away, and is at home again.
    Returned(SessionKey),
}

impl Attempt {
    /// The answer was accepted, so it is here that the session's prompt is cached. Called by requests
    /// whose prompt the endpoint keeps; not at the choice, since an endpoint that fails keeps nothing.
    pub fn note_session_served(&self) {
        let cluster = self.cluster();
        match self.visit {
            Visit::Usual => {}
            Visit::Away(key) => {
                let place = Place::of(self.endpoint().settings.id);
                cluster.moved.note(key, place, cluster.clock.now());
            }
            Visit::Returned(key) => cluster.moved.forget(key),
        }
    }
}

/// The endpoints nearest to the session, each with its distance.
#[derive(Default)]
struct Nearest<'e> {
    /// Of all that serve such requests, whatever their state.
    home: Option<Near<'e>>,
    /// Of those that are eligible.
    eligible: Option<Near<'e>>,
    /// Of those that are eligible, but in a slow start that has not come to this session.
    reluctant: Option<Near<'e>>,
    /// Where it moved to.
    moved_to: Option<&'e Arc<Endpoint>>,
}

type Near<'e> = (f64, &'e Arc<Endpoint>);

impl Search<'_> {
    /// The session's endpoint in a tier: where it moved to within `session_ttl`, else the nearest one
    /// that is eligible. None when none is. Of many endpoints those are looked at which `serving` proposes, all
    /// where it is none.
    pub(super) fn pick_for<'e>(
        &self,
        session: Session,
        moved: &MovedSessions,
        tier: Tier<'e>,
        serving: Option<&Serving<'e>>,
    ) -> Option<Found<'e>> {
        let is_held = session.ttl.0 > 0;
        let stay = if is_held { moved.stay_of(session.key, self.now) } else { None };
        let outlook = session.key.outlook(tier.endpoints.len());
        let on_rings = match (&outlook, serving) {
            (Outlook::Ring(points), Some(serving)) => {
                self.nearest_on_rings(session.key, points, stay, serving)
            }
            (Outlook::Ring(_), None) | (Outlook::Draws(_), _) => None,
        };
        let nearest = on_rings.unwrap_or_else(|| self.nearest(session.key, &outlook, stay, tier.endpoints));
        let held = nearest.moved_to.filter(|endpoint| {
            stay.is_some_and(|stay| stay.idle <= session.ttl) && self.takes_session(endpoint, session.key)
        });
        let by_distance = nearest.eligible.or(nearest.reluctant).map(|(_, endpoint)| endpoint);
        let chosen = held.or(by_distance)?;
        let is_home = nearest.home.is_some_and(|(_, home)| Arc::ptr_eq(home, chosen));
        let visit = match (is_held, is_home) {
            (false, _) => Visit::Usual,
            (true, false) => Visit::Away(session.key),
            // An entry for an endpoint that does not serve such requests is of the session's others.
            (true, true) if nearest.moved_to.is_some() => Visit::Returned(session.key),
            (true, true) => Visit::Usual,
        };
        Some(Found::Eligible(chosen, visit))
    }

    /// By a look at each.
    fn nearest<'e>(
        &self,
        key: SessionKey,
        outlook: &Outlook,
        stay: Option<Stay>,
        endpoints: &'e [Arc<Endpoint>],
    ) -> Nearest<'e> {
        let mut nearest = Nearest::default();
        for endpoint in endpoints {
            let id = endpoint.settings.id;
            if stay.is_some_and(|stay| stay.place == Place::of(id)) && self.is_served_by(endpoint) {
                nearest.moved_to = Some(endpoint);
            }
            let distance = outlook.distance_to(id, endpoint.settings.weight);
            let may_be_nearer_than =
                |kept: &Option<Near<'_>>| kept.is_none_or(|(best, _)| distance.lower_bound() < best);
            let may_be_home = may_be_nearer_than(&nearest.home) && self.is_served_by(endpoint);
            let may_serve = may_be_nearer_than(&nearest.eligible) && self.is_eligible(endpoint);
            // The logarithm is taken only where it may decide.
            if !(may_serve || may_be_home) {
                continue;
            }
            let near = (distance.exact(), endpoint);
            keep_nearer(&mut nearest.home, near);
            if may_serve {
                let takes = self.is_open_to(endpoint, key);
                keep_nearer(if takes { &mut nearest.eligible } else { &mut nearest.reluctant }, near);
            }
        }
        nearest
    }

    /// The same by a look at those that come next after the session's points on the rings: first of all, for its
    /// home, then of those that are listed as up. None where too many of these are not eligible after all.
    fn nearest_on_rings<'e>(
        &self,
        key: SessionKey,
        points: &Points,
        stay: Option<Stay>,
        serving: &Serving<'e>,
    ) -> Option<Nearest<'e>> {
        let mut nearest = Nearest::default();
        look_round(serving.all(), points, |near| {
            keep_nearer(&mut nearest.home, near);
            nearest.home
        })?;
        nearest.eligible = nearest.home.filter(|(_, home)| self.takes_session(home, key));
        if nearest.eligible.is_none() {
            look_round(serving.up(), points, |near| {
                if self.is_eligible(near.1) {
                    let takes = self.is_open_to(near.1, key);
                    keep_nearer(if takes { &mut nearest.eligible } else { &mut nearest.reluctant }, near);
                }
                nearest.eligible
            })?;
        }
        nearest.moved_to =
            stay.and_then(|stay| serving.kinds().find_map(|kind| kind.with_ids(stay.place.ids()).next()));
        Some(nearest)
    }

    fn is_served_by(&self, endpoint: &Endpoint) -> bool {
        endpoint.serves(self.wanted.protocol, self.wanted.model)
    }

    fn takes_session(&self, endpoint: &Arc<Endpoint>, key: SessionKey) -> bool {
        self.is_eligible(endpoint) && self.is_open_to(endpoint, key)
    }

    /// After a recovery an endpoint takes its sessions back one by one, each at its own fixed moment.
    fn is_open_to(&self, endpoint: &Endpoint, key: SessionKey) -> bool {
        let share = self.share(endpoint);
        share >= 1.0 || key.slow_start_fraction() < share
    }
}

fn keep_nearer<'e>(kept: &mut Option<Near<'e>>, near: Near<'e>) {
    if kept.is_none_or(|(distance, _)| near.0 < distance) {
        *kept = Some(near);
    }
}

/// Goes on from each point as long as one may be nearer than the nearest that `look` has kept. None where
/// that takes too many looks.
fn look_round<'e, 'r>(
    rings: impl Iterator<Item = (&'e Kind, &'r Ring)>,
    points: &Points,
    mut look: impl FnMut(Near<'e>) -> Option<Near<'e>>,
) -> Option<()> {
    let (mut looks, mut kept) = (0..LOOKS_MAX, None::<Near<'e>>);
    for (kind, ring) in rings {
        for &point in &points.0 {
            for seat in ring.from(point) {
                let way = seat.id.wrapping_sub(point);
                let at_least = Distance::on_ring(way, kind.weight_max).lower_bound();
                if kept.is_some_and(|(best, _)| best <= at_least) {
                    break;
                }
                looks.next()?;
                let endpoint = kind.at(seat);
                kept = look((Distance::on_ring(way, endpoint.settings.weight).exact(), endpoint));
            }
        }
    }
    Some(())
}

#[cfg(test)]
#[path = "home_tests.rs"]
mod tests;
