//! Which endpoint a request goes to. Nothing outside *eligible* is ever chosen but a claimed trial;
//! there is no list of last resort.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{Cause, Claimant, State, Tick, Ticks};

use super::attempt::announce_claim;
use super::home::Visit;
use super::journal::Source;
use super::roster::Tier;
use super::session::Session;
use super::{Attempt, Cluster, Endpoint};
use crate::config::Protocol;

/// What a request needs of an endpoint.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The protocol of its path.
    pub protocol: Protocol,
    /// The model that it names.
    pub model: Option<String>,
    /// Whether its answer can be the trial of an endpoint: only an exchange that makes the endpoint
    /// work shows that it works.
    pub can_be_trial: bool,
    /// The session that it is of; none where it shares no prompt with other requests.
    pub session: Option<Session>,
    /// How long its answer may take to begin.
    pub patience: Duration,
}

/// What choosing came to.
pub enum Choice {
    /// Send it there.
    Go(Attempt),
    /// Nothing is eligible now. `at` is the earliest moment at which something may be again without
    /// anybody's help, if there is one.
    Wait {
        /// See above.
        at: Option<Tick>,
    },
    /// No endpoint of the cluster serves such requests, or all were tried.
    Nothing,
}

/// A trial's lease exceeds its own time limit by this, so that a trial that times out reports so itself.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How often a user's request may try an endpoint before its deadline.
const LAST_RESORT_EVERY: Ticks = Ticks::from_secs(1);
/// Up to so many endpoints are gone through in turn at once.
const FEW: usize = 16;
/// Among more, so many draws at random come first.
const DRAWS_MAX: usize = 8;

impl Cluster {
    /// Chooses among the endpoints that this request has not tried.
    pub fn choose(self: &Arc<Self>, wanted: &Wanted, tried: &[Arc<Endpoint>], now: Tick) -> Choice {
        let roster = self.roster();
        let search = Search::new(roster.endpoints(), wanted, tried, now);
        loop {
            let found = roster.tiers().find_map(|tier| {
                search.due_trial(tier).map(Found::Trial).or_else(|| match wanted.session {
                    Some(session) => search
                        .pick_for(session, &self.moved, tier.endpoints)
                        .map(|(endpoint, visit)| Found::Eligible(endpoint, visit)),
                    None => {
                        search.pick(tier.endpoints).map(|endpoint| Found::Eligible(endpoint, Visit::Usual))
                    }
                })
            });
            let attempt = match found {
                None => break,
                Some(Found::Trial(endpoint)) => self.claim(endpoint, Claimant::Request, &search),
                Some(Found::Eligible(endpoint, visit)) => {
                    self.admit(endpoint, &search).map(|attempt| attempt.visiting(visit))
                }
            };
            // Lost to somebody else between the look and the step: look again.
            if let Some(attempt) = attempt {
                return Choice::Go(attempt);
            }
        }
        match self.last_resort(roster.endpoints(), &search) {
            Some(attempt) => Choice::Go(attempt),
            None if !roster.endpoints().iter().any(|endpoint| search.fits(endpoint)) => Choice::Nothing,
            None => Choice::Wait { at: search.earliest(roster.endpoints()) },
        }
    }

    /// The earliest moment at which an endpoint that fits may serve again by itself, whatever was tried;
    /// none when only a hand helps: a new key, a paid bill, an operator's command.
    pub fn earliest_return(&self, wanted: &Wanted) -> Option<Tick> {
        let roster = self.roster();
        let search = Search::new(roster.endpoints(), wanted, &[], self.clock.now());
        let mends_itself = |endpoint: &&Arc<Endpoint>| {
            search.fits(endpoint) && !endpoint.health().cause.is_some_and(Cause::is_decisive)
        };
        roster.endpoints().iter().filter(mends_itself).filter_map(|endpoint| search.returns(endpoint)).min()
    }

    fn admit(self: &Arc<Self>, endpoint: &Arc<Endpoint>, search: &Search<'_>) -> Option<Attempt> {
        let ticket = endpoint.vitals.cell.admit(search.now)?;
        Some(Attempt::of_request(self.clone(), endpoint.clone(), ticket, search.wanted.can_be_trial))
    }

    fn claim(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        by: Claimant,
        search: &Search<'_>,
    ) -> Option<Attempt> {
        let lease = Ticks::from_duration(search.wanted.patience + LEASE_MARGIN);
        let claim = endpoint.vitals.cell.claim(by, lease, search.now, &endpoint.policy)?;
        announce_claim(self, endpoint, &claim, Source::Traffic);
        Some(Attempt::of_request(self.clone(), endpoint.clone(), claim.ticket, search.wanted.can_be_trial))
    }

    /// Nothing is eligible: an endpoint whose cause a request may disprove is tried before its deadline.
    fn last_resort(self: &Arc<Self>, endpoints: &[Arc<Endpoint>], search: &Search<'_>) -> Option<Attempt> {
        let mut candidates: Vec<_> =
            endpoints.iter().filter(|endpoint| search.may_resort_to(endpoint)).collect();
        candidates.sort_by_key(|endpoint| {
            (endpoint.settings.priority, endpoint.health().deadline.remaining(search.now))
        });
        candidates.into_iter().find_map(|endpoint| {
            let passes = endpoint.vitals.last_resort.pass(search.now, LAST_RESORT_EVERY);
            if passes { self.claim(endpoint, Claimant::LastResort, search) } else { None }
        })
    }
}

enum Found<'e> {
    Trial(&'e Arc<Endpoint>),
    Eligible(&'e Arc<Endpoint>, Visit),
}

pub(super) struct Search<'a> {
    endpoints: &'a [Arc<Endpoint>],
    pub(super) wanted: &'a Wanted,
    tried: &'a [Arc<Endpoint>],
    pub(super) now: Tick,
    /// Whether an endpoint that may serve does not skip the model; looked at only once one does.
    has_unskipped: OnceCell<bool>,
}

impl<'a> Search<'a> {
    fn new(
        endpoints: &'a [Arc<Endpoint>],
        wanted: &'a Wanted,
        tried: &'a [Arc<Endpoint>],
        now: Tick,
    ) -> Self {
        Self { endpoints, wanted, tried, now, has_unskipped: OnceCell::new() }
    }

    /// Two of the tier's eligible endpoints at random, and the less loaded one of them.
    fn pick<'e>(&self, tier: &'e [Arc<Endpoint>]) -> Option<&'e Arc<Endpoint>> {
        let mut drawn = Drawn::default();
        let draws = if tier.len() > FEW { DRAWS_MAX } else { 0 };
        for _ in 0..draws {
            self.consider(tier, fastrand::usize(..tier.len()), &mut drawn);
            if drawn.is_pair() {
                break;
            }
        }
        // Few endpoints, or few of many that are eligible: in turn, from a random one on.
        let start = fastrand::usize(..tier.len());
        for index in (start..tier.len()).chain(0..start) {
            if drawn.is_pair() {
                break;
            }
            self.consider(tier, index, &mut drawn);
        }
        match (drawn.first, drawn.second) {
            (Some(a), Some(b)) => Some(self.less_loaded(&tier[a], &tier[b])),
            (Some(a), None) => Some(&tier[a]),
            (None, _) => drawn.reluctant.map(|index| &tier[index]),
        }
    }

    fn consider(&self, tier: &[Arc<Endpoint>], index: usize, drawn: &mut Drawn) {
        let endpoint = &tier[index];
        if self.is_eligible(endpoint) {
            drawn.add(index, || self.accepts_more(endpoint));
        }
    }

    pub(super) fn is_eligible(&self, endpoint: &Arc<Endpoint>) -> bool {
        endpoint.is_usable(self.now) && self.fits(endpoint)
    }

    /// After a recovery an endpoint takes part in only a share of the draws.
    fn accepts_more(&self, endpoint: &Endpoint) -> bool {
        let share = self.share(endpoint);
        share >= 1.0 || fastrand::f32() < share
    }

    pub(super) fn share(&self, endpoint: &Endpoint) -> f32 {
        endpoint.vitals.share(self.now, endpoint.slow_start)
    }

    fn less_loaded<'e>(&self, a: &'e Arc<Endpoint>, b: &'e Arc<Endpoint>) -> &'e Arc<Endpoint> {
        let latencies = (a.vitals.faded_latency_us(self.now), b.vitals.faded_latency_us(self.now));
        // One that was never measured counts as fast as the other.
        let (of_a, of_b) = match latencies {
            (Some(of_a), Some(of_b)) => (of_a, of_b),
            (Some(_), None) | (None, Some(_)) | (None, None) => (1.0, 1.0),
        };
        if load(a) * of_a <= load(b) * of_b { a } else { b }
    }

    fn fits(&self, endpoint: &Arc<Endpoint>) -> bool {
        endpoint.serves(self.wanted.protocol, self.wanted.model.as_deref())
            && !self.tried.iter().any(|tried| Arc::ptr_eq(&tried.vitals, &endpoint.vitals))
            && !self.is_skipped(endpoint)
    }

    /// Whether the endpoint has said that it has no such model. Where all have that may serve it without a
    /// hand to help, that counts for nothing: their answer is what the client is to see.
    fn is_skipped(&self, endpoint: &Endpoint) -> bool {
        let Some(model) = self.wanted.model.as_deref() else { return false };
        let skips = |endpoint: &Endpoint| endpoint.vitals.skipped_models.contains(model, self.now);
        let may_serve = |endpoint: &Endpoint| {
            let word = endpoint.health();
            let needs_a_hand = word.cause.is_some_and(Cause::is_decisive);
            (word.is_available() || word.is_sidelined())
                && !needs_a_hand
                && endpoint.serves(self.wanted.protocol, Some(model))
        };
        skips(endpoint)
            && *self
                .has_unskipped
                .get_or_init(|| self.endpoints.iter().any(|endpoint| may_serve(endpoint) && !skips(endpoint)))
    }

    /// One of the tier that is billed by the request and whose deadline is reached: this request is its
    /// trial, whether or not others are eligible, since nothing else will ever try it.
    fn due_trial<'e>(&self, tier: Tier<'e>) -> Option<&'e Arc<Endpoint>> {
        if !self.wanted.can_be_trial {
            return None;
        }
        tier.per_request().find(|endpoint| {
            let word = endpoint.health();
            word.is_sidelined() && word.deadline.is_due(self.now) && self.is_at_rest(endpoint)
        })
    }

    fn may_resort_to(&self, endpoint: &Arc<Endpoint>) -> bool {
        let word = endpoint.health();
        self.wanted.can_be_trial
            && word.is_sidelined()
            && !word.cause.is_some_and(Cause::is_decisive)
            && (!word.trial || word.deadline.is_due(self.now))
            && self.is_at_rest(endpoint)
    }

    fn is_at_rest(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.fits(endpoint) && !endpoint.vitals.cooldown.is_active(self.now)
    }

    /// The earliest moment at which one of these may be eligible, or may be tried by a request.
    fn earliest(&self, endpoints: &[Arc<Endpoint>]) -> Option<Tick> {
        endpoints
            .iter()
            .filter(|endpoint| self.fits(endpoint))
            .filter_map(|endpoint| self.returns(endpoint))
            .min()
    }

    fn returns(&self, endpoint: &Endpoint) -> Option<Tick> {
        let word = endpoint.health();
        let due = self.now + word.deadline.remaining(self.now);
        let back = match word.state {
            _ if !word.is_available() && !word.is_sidelined() => return None,
            State::Unknown | State::Healthy => self.now,
            State::Unhealthy | State::Recovering
                if word.trial || word.cause.is_some_and(Cause::is_decisive) =>
            {
                due
            }
            State::Unhealthy | State::Recovering if !self.wanted.can_be_trial => due,
            State::Unhealthy | State::Recovering => due.min(endpoint.vitals.last_resort.next().max(self.now)),
        };
        Some(back.max(endpoint.vitals.cooldown.until()))
    }
}

#[derive(Default)]
struct Drawn {
    first: Option<usize>,
    second: Option<usize>,
    /// Eligible, but in its slow start: taken when there is no other.
    reluctant: Option<usize>,
}

impl Drawn {
    /// `accepts` draws lots, so it is asked once for an endpoint.
    fn add(&mut self, index: usize, accepts: impl FnOnce() -> bool) {
        if self.first == Some(index) || self.reluctant == Some(index) {
            return;
        }
        if !accepts() {
            self.reluctant = Some(index);
        } else if self.first.is_none() {
            self.first = Some(index);
        } else {
            self.second = Some(index);
        }
    }

    fn is_pair(&self) -> bool {
        self.second.is_some()
    }
}

fn load(endpoint: &Endpoint) -> f32 {
    (endpoint.vitals.in_flight() + 1) as f32 / endpoint.settings.weight as f32
}
