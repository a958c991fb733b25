//! The properties over time (L1–L4 of the health contract), and S1, S2, S3 and S5 beside them, by
//! exhaustive search: every state that two endpoints, a prober, users and an operator can reach over the
//! real [`next`], with an adversary that decides what becomes of every exchange and when.
//!
//! The clock moves by whole seconds. In each second the prober has its turn at every endpoint and a user
//! offers a request to every endpoint billed per request, at whatever moment the adversary likes; that is
//! all the fairness that the liveness properties assume. They are stated with bounds ("Healthy 6 s after
//! the last failure"), which makes them invariants: stateright's own `eventually` misses cycles.
//!
//! What makes the search finite loses nothing that the properties speak of: a moment is kept relative to
//! now, an epoch as "the word's" or "an older one", and the level not at all, since the first and the
//! longest wait are the same here and the adversary picks the jitter.
#![cfg(not(loom))]
#![allow(clippy::expect_used)]

use qcc_fsm::*;
use stateright::{Checker, HasDiscoveries, Model, Property};

const SECOND: Ticks = Ticks::from_secs(1);
const LEASE_S: u32 = 2;
const QUOTA_WAIT_S: u32 = 3;
const THRESHOLD: u8 = 2;
/// All is well this long after the last failure: the longest wait, then the trials one after the other,
/// each with its own second and the pause after it.
const PASSING_BOUND_S: u8 = 6;
/// An endpoint is out of service this long after the last success.
const FAILING_BOUND_S: u8 = 4;
/// Now and the word's epoch, in every state of the search.
const NOW: Tick = Tick::from_secs(10_000);
const EPOCH: u64 = 1_000;

type Next = fn(Word, &Event, Tick, &Policy) -> Word;

/// Who takes part.
#[derive(Clone)]
struct Setting {
    next: Next,
    endpoints: Vec<Billing>,
    tickets: usize,
    causes: &'static [Cause],
    orders: &'static [Event],
    prober: bool,
    /// Whether users keep asking, or did so only in the beginning, and when the adversary liked.
    users: bool,
}

/// What the adversary still may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Era {
    Anything,
    /// Every exchange succeeds from here on.
    Passing,
    /// Every exchange fails from here on.
    Failing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    era: Era,
    era_s: u8,
    endpoints: Vec<Endpoint>,
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Endpoint {
    word: Word,
    sent: Vec<Sent>,
    /// Whether the prober, and a user, had a turn in this second.
    probed: bool,
    asked: bool,
    /// How long it has been due without a trial, and how long the trial has been in flight.
    waiting_s: u8,
    trying_s: u8,
    /// Trials passed since it left service, counted apart from the word.
    passed: u8,
}

/// A ticket in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    current: bool,
    trial: bool,
    passed: bool,
    evidence: Evidence,
    /// Whether it is of an earlier second of an era in which exchanges take no longer than that.
    old: bool,
}

const STALE: Sent =
    Sent { current: false, trial: false, passed: false, evidence: Evidence::Traffic, old: false };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Second,
    Probe(usize),
    Ask(usize),
    Pass(usize, usize),
    Fail(usize, usize, Cause, u64),
    Neutral(usize, usize),
    /// The share of failures is found too large, in the word's epoch or in an older one.
    Trip(usize, Epoch, Cause, u64),
    Leak(usize, usize),
    Order(usize, Event),
    Settle(Era),
}

impl Model for Setting {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let unknown = Endpoint {
            word: relative(Word::default(), NOW),
            sent: Vec::new(),
            probed: false,
            asked: false,
            waiting_s: 0,
            trying_s: 0,
            passed: 0,
        };
        let endpoints = vec![unknown; self.endpoints.len()];
        vec![World { era: Era::Anything, era_s: 0, endpoints, broken: None }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.second_may_pass(world) {
            actions.push(Action::Second);
        }
        let free = world.era == Era::Anything;
        if free {
            actions.extend([Action::Settle(Era::Passing), Action::Settle(Era::Failing)]);
        }
        for (i, endpoint) in world.endpoints.iter().enumerate() {
            if self.prober && !endpoint.probed {
                actions.push(Action::Probe(i));
            }
            if (self.users || free) && !endpoint.asked {
                actions.push(Action::Ask(i));
            }
            for j in 0..endpoint.sent.len() {
                if world.era != Era::Failing {
                    actions.push(Action::Pass(i, j));
                }
                if world.era != Era::Passing {
                    let failures =
                        self.causes.iter().flat_map(|&cause| seeds().map(move |seed| (cause, seed)));
                    actions.extend(failures.map(|(cause, seed)| Action::Fail(i, j, cause, seed)));
                }
                if free {
                    actions.extend([Action::Neutral(i, j), Action::Leak(i, j)]);
                }
            }
            // After the last failure a window may trip once more at most; that counts as the last one.
            if world.era != Era::Passing {
                let current = endpoint.word.decode().epoch;
                let trips = self.causes.iter().flat_map(|&cause| {
                    seeds().flat_map(move |seed| {
                        [current, older_epoch()].map(|epoch| Action::Trip(i, epoch, cause, seed))
                    })
                });
                actions.extend(trips);
            }
            if free {
                actions.extend(self.orders.iter().map(|&order| Action::Order(i, order)));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        match action {
            Action::Second => world.let_a_second_pass(),
            Action::Probe(i) => self.probe(&mut world, i),
            Action::Ask(i) => self.ask(&mut world, i),
            Action::Pass(i, j) => {
                let evidence = world.endpoints[i].sent[j].evidence;
                self.report(&mut world, i, j, Verdict::Pass(evidence), 0);
            }
            Action::Fail(i, j, cause, seed) => {
                let failure = failure(cause, world.endpoints[i].sent[j].evidence);
                self.report(&mut world, i, j, Verdict::Fail(failure), seed);
            }
            Action::Neutral(i, j) => self.report(&mut world, i, j, Verdict::Neutral, 0),
            Action::Trip(i, epoch, cause, seed) => {
                let current = world.endpoints[i].word.decode().epoch;
                let failure = failure(cause, Evidence::Traffic);
                let trip = Event::Trip { stamp: Stamp::new(epoch, NOW), failure };
                if self.apply(&mut world, i, trip, seed) && epoch != current {
                    world.broken = Some("S2");
                }
                if world.endpoints[i].word.decode().state == State::Unhealthy {
                    world.endpoints[i].passed = 0;
                }
            }
            Action::Leak(i, j) => {
                world.endpoints[i].sent.remove(j);
            }
            Action::Order(i, order) => {
                self.apply(&mut world, i, order, 0);
            }
            Action::Settle(era) => world.era = era,
        }
        world.endpoints.iter_mut().for_each(Endpoint::tidy);
        Some(world)
    }

    /// Nothing lies outside unless a property fails, and then it need not be looked at further.
    fn within_boundary(&self, world: &World) -> bool {
        let crowded = |e: &Endpoint| e.sent.len() > self.tickets;
        world
            .endpoints
            .iter()
            .all(|e| e.waiting_s <= 2 && u32::from(e.trying_s) <= LEASE_S + 1 && !crowded(e))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let safety = SAFETY.map(|(name, check)| Property::always(name, check));
        let possible = POSSIBLE.map(|(name, check)| Property::sometimes(name, check));
        safety.into_iter().chain(possible).collect()
    }
}

type Check = fn(&Setting, &World) -> bool;

const SAFETY: [(&str, Check); 8] = [
    ("S1", |_, world| {
        world.endpoints.iter().all(|endpoint| {
            let word = endpoint.word.decode();
            let live = endpoint.sent.iter().filter(|sent| sent.trial && sent.current && !sent.passed).count();
            let in_flight = word.trial && word.state == State::Recovering;
            live <= usize::from(in_flight) && word.trial == in_flight
        })
    }),
    ("S2", |_, world| world.broken != Some("S2")),
    ("S3", |_, world| world.broken != Some("S3")),
    ("S5", |_, world| world.broken != Some("S5")),
    ("L1", |_, world| world.broken != Some("L1") && world.endpoints.iter().all(|e| e.waiting_s <= 1)),
    ("L2", |_, world| world.endpoints.iter().all(|e| u32::from(e.trying_s) <= LEASE_S)),
    ("L3", |_, world| {
        let due = world.era == Era::Passing && world.era_s > PASSING_BOUND_S;
        !due || world.active().all(|word| word.state == State::Healthy)
    }),
    ("L4", |_, world| {
        let due = world.era == Era::Failing && world.era_s > FAILING_BOUND_S;
        !due || world.active().all(|word| word.is_sidelined())
    }),
];

/// What the search must have come across, or it shows nothing.
const POSSIBLE: [(&str, Check); 6] = [
    ("a trial is in flight", |_, world| world.active().any(|word| word.trial)),
    ("a trial's lease runs to its end", |_, world| {
        world.endpoints.iter().any(|e| u32::from(e.trying_s) == LEASE_S)
    }),
    ("one of several trials has passed", |_, world| world.active().any(|word| word.passes == 1)),
    ("a ticket outlives its epoch", |_, world| {
        world.endpoints.iter().flat_map(|endpoint| &endpoint.sent).any(|sent| !sent.current)
    }),
    ("only just healthy in time", |_, world| {
        let last = world.era == Era::Passing && world.era_s == PASSING_BOUND_S;
        last && world.active().any(|word| word.state != State::Healthy)
    }),
    ("only just out of service in time", |setting, world| {
        // Requests come in every second, checks only after one another.
        let quick = setting.endpoints == [Billing::PerRequest];
        let last = quick || world.era == Era::Failing && world.era_s == FAILING_BOUND_S;
        last && world.active().any(|word| word.is_available())
    }),
];

/// What people do.
impl Setting {
    fn second_may_pass(&self, world: &World) -> bool {
        let overdue = |sent: &Sent| sent.current && sent.old && world.era != Era::Anything;
        world.endpoints.iter().zip(&self.endpoints).all(|(endpoint, &billing)| {
            (endpoint.probed || !self.prober)
                && (endpoint.asked || !self.users || billing == Billing::PerToken)
                && !endpoint.sent.iter().any(overdue)
        })
    }

    /// The prober sweeps, claims the trial that is due, or checks an endpoint in service that nobody uses.
    fn probe(&self, world: &mut World, i: usize) {
        world.endpoints[i].probed = true;
        self.apply(world, i, Event::Sweep, 0);
        let word = world.endpoints[i].word.decode();
        if word.is_sidelined() {
            let method = word.method.unwrap_or(CheckMethod::Chat);
            self.claim(world, i, Claimant::Prober, Evidence::Check(method));
        } else if self.endpoints[i] == Billing::PerToken && !world.endpoints[i].sent.iter().any(|s| s.current)
        {
            self.admit(world, i, Evidence::Check(CheckMethod::ModelList));
        }
    }

    /// A user's request uses what is in service, or is the trial of what is billed per request, or is the
    /// last resort.
    fn ask(&self, world: &mut World, i: usize) {
        world.endpoints[i].asked = true;
        if world.endpoints[i].word.decode().is_available() {
            return self.admit(world, i, Evidence::Traffic);
        }
        let word = world.endpoints[i].word.decode();
        let due = word.is_sidelined() && !word.trial && word.deadline.is_due(NOW);
        let claimed = self.claim(world, i, Claimant::Request, Evidence::Traffic);
        if due && !claimed && self.endpoints[i] == Billing::PerRequest {
            world.broken = Some("L1");
        }
        if !claimed && !world.active().any(|word| word.is_available()) {
            self.claim(world, i, Claimant::LastResort, Evidence::Traffic);
        }
    }

    fn admit(&self, world: &mut World, i: usize, evidence: Evidence) {
        let sent = Sent { current: true, trial: false, passed: false, evidence, old: false };
        let endpoint = &mut world.endpoints[i];
        if endpoint.word.decode().is_available() && endpoint.make_room(self.tickets) {
            endpoint.sent.push(sent);
        }
    }

    fn claim(&self, world: &mut World, i: usize, by: Claimant, evidence: Evidence) -> bool {
        let before = world.endpoints[i].word.decode();
        let written = self.apply(world, i, Event::Claim { by, lease: Ticks::from_secs(LEASE_S) }, 0);
        if written {
            let allowed = match by {
                Claimant::Prober => self.endpoints[i] == Billing::PerToken && before.deadline.is_due(NOW),
                Claimant::Request => self.endpoints[i] == Billing::PerRequest && before.deadline.is_due(NOW),
                Claimant::LastResort => !before.cause.is_some_and(Cause::is_decisive),
            };
            if !allowed {
                world.broken = Some("S5");
            }
            let endpoint = &mut world.endpoints[i];
            endpoint.make_room(self.tickets);
            endpoint.trying_s = 0;
            endpoint.sent.push(Sent { current: true, trial: true, passed: false, evidence, old: false });
        }
        written
    }

    /// What [`HealthCell::report`] does with a ticket.
    fn report(&self, world: &mut World, i: usize, j: usize, verdict: Verdict, seed: u64) {
        let mut sent = world.endpoints[i].sent.remove(j);
        if sent.passed && !matches!(verdict, Verdict::Fail(_)) {
            return;
        }
        let before = world.endpoints[i].word.decode();
        let stamp = Stamp::new(if sent.current { before.epoch } else { older_epoch() }, NOW);
        let written = self.apply(world, i, Event::Verdict { stamp, verdict }, seed);
        if written && !sent.current {
            world.broken = Some("S2");
        }
        let endpoint = &mut world.endpoints[i];
        let passed = matches!(verdict, Verdict::Pass(_));
        if passed && sent.trial && before.trial && sent.current {
            endpoint.passed = (endpoint.passed + 1).min(THRESHOLD);
        }
        let after = endpoint.word.decode();
        let came_back = before.state != State::Unknown && before.state != after.state;
        if came_back && after.state == State::Healthy && endpoint.passed < THRESHOLD {
            world.broken = Some("S3");
        }
        if after.state == State::Unhealthy || after.state == State::Healthy {
            endpoint.passed = 0;
        }
        // A ticket that moved the state goes on in the new epoch, to report a stream that breaks.
        if passed && world.era == Era::Anything {
            sent.passed = true;
            endpoint.sent.push(sent);
        }
    }

    /// One event through the transition function. Returns whether anything was written.
    fn apply(&self, world: &mut World, i: usize, event: Event, seed: u64) -> bool {
        let policy = policy(self.endpoints[i], seed);
        let endpoint = &mut world.endpoints[i];
        let before = endpoint.word;
        let after = (self.next)(before, &event, NOW, &policy);
        if after.decode().epoch != before.decode().epoch {
            endpoint.sent.iter_mut().for_each(|sent| sent.current = false);
        }
        let (from, to) = (before.decode().state, after.decode().state);
        if from == State::Unhealthy && to == State::Healthy {
            world.broken = Some("S3");
        }
        if matches!(event, Event::Admin(_)) && to == State::Unknown {
            endpoint.passed = 0;
        }
        endpoint.word = relative(after, NOW);
        after != before
    }
}

impl World {
    fn active(&self) -> impl Iterator<Item = Snapshot> {
        self.endpoints.iter().map(|e| e.word.decode()).filter(|word| word.admin == Admin::Active)
    }

    fn let_a_second_pass(&mut self) {
        if self.era != Era::Anything {
            self.era_s = (self.era_s + 1).min(PASSING_BOUND_S.max(FAILING_BOUND_S) + 1);
        }
        for endpoint in &mut self.endpoints {
            let word = endpoint.word.decode();
            endpoint.waiting_s += u8::from(!word.trial && word.is_sidelined() && word.deadline.is_due(NOW));
            endpoint.trying_s += u8::from(word.trial);
            endpoint.word = relative(endpoint.word, NOW + SECOND);
            endpoint.sent.iter_mut().for_each(|sent| sent.old = self.era != Era::Anything);
            (endpoint.probed, endpoint.asked) = (false, false);
        }
    }
}

impl Endpoint {
    /// Room for one more ticket. To forget an old one is what a holder who leaks it does.
    fn make_room(&mut self, tickets: usize) -> bool {
        if self.sent.len() >= tickets
            && let Some(j) = self.sent.iter().position(|sent| !sent.current)
        {
            self.sent.remove(j);
        }
        self.sent.len() < tickets
    }

    /// One state for all that differ in what no longer matters.
    fn tidy(&mut self) {
        let word = self.word.decode();
        for sent in &mut self.sent {
            if !sent.current {
                *sent = STALE;
            }
        }
        self.sent.sort_by_key(|s| (s.current, s.trial, s.passed, s.old, method_of(s.evidence)));
        let waiting = word.is_sidelined() && !word.trial && word.deadline.is_due(NOW);
        self.waiting_s = if waiting { self.waiting_s } else { 0 };
        self.trying_s = if word.trial { self.trying_s } else { 0 };
    }
}

/// The word as it is to be seen at [`NOW`], when it is seen at `now` in truth.
fn relative(word: Word, now: Tick) -> Word {
    let seen = word.decode();
    let left_s = seen.deadline.remaining(now).0.div_ceil(SECOND.0);
    let deadline = if seen.is_sidelined() { NOW + Ticks::from_secs(left_s) } else { Tick(0) };
    let fields = [
        (layout::EPOCH, EPOCH),
        (layout::DEADLINE, deadline.0),
        (layout::LEVEL, 0),
        (layout::FAILURES, u64::from(seen.failures.min(THRESHOLD))),
    ];
    let bits = fields.into_iter().fold(word.bits(), |bits, (field, v)| (bits & !field.mask()) | field.put(v));
    Word::from_bits(bits).expect("a word that was reached, with other numbers")
}

fn older_epoch() -> Epoch {
    Word::from_bits(layout::EPOCH.put(EPOCH - 1)).expect("unknown, in another epoch").decode().epoch
}

fn policy(billing: Billing, seed: u64) -> Policy {
    Policy::new(billing)
        .with_failure_threshold(THRESHOLD)
        .with_success_threshold(THRESHOLD)
        .with_backoff(Ticks(20), Ticks(20))
        .with_auth_backoff(Ticks(20), Ticks(20))
        .with_seed(seed)
}

/// Two seeds with which a wait takes one second and two: all that whole seconds tell of the jitter.
fn seeds() -> impl Iterator<Item = u64> {
    static SEEDS: std::sync::LazyLock<[u64; 2]> = std::sync::LazyLock::new(|| {
        let epoch = relative(Word::default(), NOW).decode().epoch;
        let wait = |seed| policy(Billing::PerToken, seed).wait(Cause::Server, None, 0, epoch);
        [10, 20].map(|ticks| (0..).find(|&seed| wait(seed) == Ticks(ticks)).expect("some seed"))
    });
    SEEDS.iter().copied()
}

fn failure(cause: Cause, evidence: Evidence) -> Failure {
    let method = if cause == Cause::Network { CheckMethod::Network } else { method_of(evidence) };
    Failure { resets_in: Some(Ticks::from_secs(QUOTA_WAIT_S)), ..Failure::new(cause, method) }
}

fn method_of(evidence: Evidence) -> CheckMethod {
    match evidence {
        Evidence::Traffic => CheckMethod::Chat,
        Evidence::Check(method) => method,
    }
}

const ALL_CAUSES: &[Cause] = &[Cause::Server, Cause::Network, Cause::Auth, Cause::Quota];
const ALL_ORDERS: &[Event] = &[
    Event::Recheck,
    Event::Admin(AdminCommand::Drain),
    Event::Admin(AdminCommand::Disable),
    Event::Admin(AdminCommand::Enable),
    Event::Admin(AdminCommand::Reset),
];

fn one_endpoint(billing: Billing) -> Setting {
    Setting {
        next,
        endpoints: vec![billing],
        tickets: 2,
        causes: ALL_CAUSES,
        orders: ALL_ORDERS,
        prober: true,
        users: true,
    }
}

fn two_endpoints() -> Setting {
    Setting {
        endpoints: vec![Billing::PerToken, Billing::PerRequest],
        tickets: 1,
        causes: &[Cause::Server],
        orders: &[],
        ..one_endpoint(Billing::PerToken)
    }
}

#[test]
fn every_property_holds_whatever_the_adversary_does() {
    let settings = [one_endpoint(Billing::PerToken), one_endpoint(Billing::PerRequest), two_endpoints()];
    let states = settings.map(|setting| {
        let searched = setting.checker().spawn_bfs().join();
        searched.assert_properties();
        searched.unique_state_count()
    });
    assert_eq!(states, [59_208, 29_388, 615_428], "the searches are not those that were looked at");
}

#[test]
fn without_a_prober_no_property_over_time_holds() {
    let unattended = Setting { prober: false, ..one_endpoint(Billing::PerToken) };
    for property in ["L1", "L2", "L3", "L4"] {
        assert_fails(property, &unattended);
    }
}

#[test]
fn an_endpoint_billed_per_request_depends_on_requests() {
    let unused = Setting { users: false, ..one_endpoint(Billing::PerRequest) };
    for property in ["L1", "L3", "L4"] {
        assert_fails(property, &unused);
    }
}

#[test]
fn each_property_fails_for_a_machine_that_breaks_its_rule() {
    let faults: [(&str, Next); 7] = [
        ("S1", claim_keeps_the_epoch),
        ("S2", every_ticket_is_current),
        ("S2", every_trip_is_current),
        ("S3", one_trial_is_enough),
        ("S5", deadlines_do_not_matter_to_claims),
        ("L1", claims_are_refused),
        ("L2", nothing_is_swept),
    ];
    for (property, fault) in faults {
        assert_fails(property, &Setting { next: fault, ..one_endpoint(Billing::PerToken) });
    }
    // The request that finds the trial due must get it.
    assert_fails("L1", &Setting { next: claims_are_refused, ..one_endpoint(Billing::PerRequest) });
}

fn assert_fails(property: &'static str, setting: &Setting) {
    let found = HasDiscoveries::AnyOf([property].into());
    let searched = setting.clone().checker().finish_when(found).spawn_bfs().join();
    assert!(searched.discovery(property).is_some(), "{property} can't fail");
}

fn claim_keeps_the_epoch(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let after = next(word, event, now, policy);
    if !matches!(event, Event::Claim { .. }) {
        return after;
    }
    let kept = (after.bits() & !layout::EPOCH.mask()) | (word.bits() & layout::EPOCH.mask());
    Word::from_bits(kept).expect("a word that was reached, of another epoch")
}

fn every_ticket_is_current(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let Event::Verdict { verdict, .. } = *event else { return next(word, event, now, policy) };
    let stamp = Stamp::new(word.decode().epoch, now);
    next(word, &Event::Verdict { stamp, verdict }, now, policy)
}

fn every_trip_is_current(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let Event::Trip { failure, .. } = *event else { return next(word, event, now, policy) };
    let stamp = Stamp::new(word.decode().epoch, now);
    next(word, &Event::Trip { stamp, failure }, now, policy)
}

fn one_trial_is_enough(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    next(word, event, now, &policy.with_success_threshold(1))
}

fn deadlines_do_not_matter_to_claims(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let later = if matches!(event, Event::Claim { .. }) { Ticks::from_secs(60) } else { Ticks(0) };
    next(word, event, now + later, policy)
}

fn claims_are_refused(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    if matches!(event, Event::Claim { .. }) { word } else { next(word, event, now, policy) }
}

fn nothing_is_swept(word: Word, event: &Event, now: Tick, policy: &Policy) -> Word {
    let claimed = matches!(event, Event::Claim { .. }) && word.decode().trial;
    if *event == Event::Sweep || claimed { word } else { next(word, event, now, policy) }
}
