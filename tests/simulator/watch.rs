//! The words of all endpoints, looked at after each step, and what may follow what.

use std::collections::BTreeMap;
use std::sync::Arc;

use qcc::cluster::Endpoint;
use qcc_fsm::{Admin, Cause, Snapshot, State as Health, Tick, Ticks};

use crate::world::State;

/// By how much the prober may be late (L1, L2): a second, and a tick for the look.
const LATE: u64 = 12;

/// What was seen of an endpoint.
pub struct Seen {
    word: Snapshot,
    cooldown: Tick,
    /// The state of the last record: what a person has been told.
    told: String,
    /// The most that may have been counted against it, by epoch.
    weights: BTreeMap<u32, u32>,
    /// Exchanges of trials since it left service, and those that may have passed.
    trials: Vec<usize>,
    passes: u32,
    /// Those of the trial under way.
    of_this_trial: Vec<usize>,
    early: Option<Early>,
    /// The epoch of the last trial that passed.
    passed_from: Option<u32>,
    last_early: Option<Tick>,
    is_listed: bool,
    pub is_being_reset: bool,
    is_late: bool,
}

/// A trial before its deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Early {
    epoch: u32,
}

impl State {
    /// The word now.
    pub fn word_of(&self, place: usize) -> Snapshot {
        self.endpoint_of(place).health()
    }

    fn endpoint_of(&self, place: usize) -> &Arc<Endpoint> {
        self.places[place].endpoint.as_ref().expect("an endpoint of the roster")
    }

    /// The endpoint as a (new) roster has it; S11.
    pub fn list(&mut self, place: usize, endpoint: &Arc<Endpoint>) {
        let word = endpoint.health();
        let known = self.places[place].endpoint.replace(endpoint.clone());
        let mut wrong = None;
        match (known, &mut self.places[place].seen) {
            (Some(known), Some(seen)) => {
                seen.is_listed = true;
                if !Arc::ptr_eq(&known.vitals, &endpoint.vitals) {
                    wrong = Some("S11: a reload took the health of");
                }
            }
            (Some(_), None) | (None, Some(_)) => wrong = Some("an endpoint without a past:"),
            (None, None) => {
                if word.state != Health::Unknown {
                    wrong = Some("S11: a new endpoint is not unknown:");
                }
                self.places[place].seen = Some(Seen {
                    told: condition(&word).to_owned(),
                    word,
                    cooldown: endpoint.vitals.cooldown.until(),
                    weights: BTreeMap::new(),
                    trials: Vec::new(),
                    passes: 0,
                    of_this_trial: Vec::new(),
                    early: None,
                    passed_from: None,
                    last_early: None,
                    is_listed: true,
                    is_being_reset: false,
                    is_late: false,
                });
            }
        }
        if let Some(wrong) = wrong {
            self.violated(format_args!("{wrong} {}", endpoint.name()));
        }
    }

    /// The endpoint is not in the configuration any more; what is under way may finish.
    pub fn unlist(&mut self, place: usize) {
        if let Some(seen) = &mut self.places[place].seen {
            seen.is_listed = false;
        }
    }

    /// Looks at all words.
    pub fn look(&mut self) {
        for place in 0..self.places.len() {
            if self.places[place].endpoint.is_some() {
                self.look_at(place);
            }
        }
    }

    fn look_at(&mut self, place: usize) {
        let endpoint = self.endpoint_of(place).clone();
        let (word, cooldown) = (endpoint.health(), endpoint.vitals.cooldown.until());
        let now = self.clock.now();
        let Some(seen) = &mut self.places[place].seen else { return };
        let before = std::mem::replace(&mut seen.word, word);
        let cooled = std::mem::replace(&mut seen.cooldown, cooldown);
        let mut wrong: Vec<String> = Vec::new();
        if cooldown < cooled && !seen.is_being_reset {
            wrong.push(format!("S8: the cooldown shrank from {cooled:?} to {cooldown:?}"));
        }
        if seen.told != condition(&word) {
            wrong.push(format!("S7: it is {} and was told as {}", condition(&word), seen.told));
            seen.told = condition(&word).to_owned();
        }
        if word != before {
            let rules = &self.rules;
            wrong.extend(step(&before, &word));
            if word.state == Health::Healthy && u32::from(word.failures) >= rules.failure_threshold {
                wrong.push("it is healthy, and its failures are as many as the threshold".to_owned());
            }
            let (was, is) = (before.state, word.state);
            if is == Health::Unhealthy && was != Health::Unhealthy {
                let had = seen.weights.get(&before.epoch.get()).copied().unwrap_or(0);
                let needed = match was {
                    Health::Healthy if !rules.has_ratio => rules.failure_threshold,
                    Health::Healthy | Health::Unknown | Health::Recovering | Health::Unhealthy => 1,
                };
                if had < needed {
                    wrong.push(format!("S2: it left service for {had} of {needed}"));
                }
                if was != Health::Recovering {
                    (seen.passes, seen.trials) = (0, Vec::new());
                }
            }
            let is_back = was == Health::Recovering && is == Health::Healthy;
            if is_back && seen.passes < rules.success_threshold {
                wrong.push(format!("S3: it is back after {} passed trials", seen.passes));
            }
            // A drain keeps the counters.
            if before.admin != word.admin {
                let kept = seen.weights.get(&before.epoch.get()).copied().unwrap_or(0);
                *seen.weights.entry(word.epoch.get()).or_default() += kept;
            }
            let has_passed = word.passes > before.passes || is_back;
            if has_passed && before.trial {
                // The trial's ticket goes on in the epoch that its pass began.
                let of_trial = seen.weights.get(&before.epoch.get()).copied().unwrap_or(0);
                seen.passed_from = Some(before.epoch.get());
                *seen.weights.entry(before.epoch.get() + 1).or_default() += of_trial;
            }
            let allowed = seen.weights.get(&word.epoch.get()).copied().unwrap_or(0);
            if matches!(word.state, Health::Healthy | Health::Unknown) && u32::from(word.failures) > allowed {
                wrong.push(format!("S6: {} failures, of which {allowed} may count", word.failures));
            }
            if word.trial && word.epoch != before.epoch {
                wrong.extend(seen.claim(&before, &word, now));
            }
        }
        // Only requests make such trials, and one that is not under way any more has given its own back.
        let has_holder = endpoint.vitals.in_flight() > 0 || !endpoint.is_per_request();
        if word.trial && before.trial && !has_holder {
            wrong.push("S10: its trial has no holder".to_owned());
        }
        let word = seen.word;
        if !self.is_over
            && seen.is_listed
            && !seen.is_late
            && is_late(&word, cooldown, now, self.places[place].is_per_request)
        {
            if let Some(seen) = &mut self.places[place].seen {
                seen.is_late = true;
            }
            wrong.push("L1: its deadline is over, and nobody acts".to_owned());
        }
        if word != before {
            let name = self.places[place].name.clone();
            self.trace(format_args!("word: {name} {word:?}"));
            if let Some(seen) = &mut self.places[place].seen {
                seen.is_late = false;
            }
        }
        for wrong in wrong {
            let name = self.places[place].name.clone();
            self.violated(format_args!("{name}: {wrong} ({before:?} -> {word:?})"));
        }
    }

    /// A record was made: S7.
    pub fn note_record(&mut self, name: &str, from: &str, to: &str, epoch: u32) {
        self.told += 1;
        self.trace(format_args!("told: {name} {from} -> {to} epoch {epoch}"));
        let Some(place) = self.place_named(name) else {
            return self.violated(format_args!("S7: nobody knows {name}"));
        };
        // An endpoint that is being added has said nothing yet.
        let Some(seen) = &mut self.places[place].seen else { return };
        let told = std::mem::replace(&mut seen.told, to.to_owned());
        let word = self.word_of(place);
        if told != from || condition(&word) != to || word.epoch.get() != epoch {
            self.violated(format_args!("S7: {name} was {told}, is told {from} -> {to} {epoch}, is {word:?}"));
        }
        self.look();
    }

    /// What was sent may weigh so much against the endpoint in this epoch.
    pub fn allow_weight(&mut self, place: usize, epoch: u32, weight: u32) {
        if let Some(seen) = &mut self.places[place].seen {
            *seen.weights.entry(epoch).or_default() += weight;
            if seen.passed_from == Some(epoch) {
                *seen.weights.entry(epoch + 1).or_default() += weight;
            }
        }
    }

    pub fn note_failing_dial(&mut self, place: usize) {
        let epoch = self.word_of(place).epoch.get();
        self.allow_weight(place, epoch, 2);
    }

    /// S1: the trial is one exchange. A light check over a kept connection that was gone goes out once more.
    pub fn note_trial_write(&mut self, place: usize, exchange: usize, is_users: bool) {
        let name = self.places[place].name.clone();
        let word = self.word_of(place);
        let is_billed = self.places[place].is_per_request;
        let Some(seen) = &mut self.places[place].seen else { return };
        let mut wrong = Vec::new();
        let same_epoch: Vec<usize> = seen.of_this_trial.clone();
        seen.of_this_trial.push(exchange);
        seen.trials.push(exchange);
        let is_early = seen.early == Some(Early { epoch: word.epoch.get() });
        let is_repeated = same_epoch.iter().any(|&other| {
            let other = &self.ledger.exchanges[other];
            is_users || other.request.is_some() || other.is_answered || same_epoch.len() > 1
        });
        if is_repeated {
            wrong.push("S1: two exchanges are its trial");
        }
        if is_early && !is_users {
            wrong.push("S5: a check was sent before its deadline");
        }
        if is_users && !is_billed && word.cause.is_some_and(Cause::is_decisive) {
            wrong.push("S5: a user's request tries a refused key");
        }
        for wrong in wrong {
            self.violated(format_args!("{wrong}: {name} x{exchange} {word:?}"));
        }
    }

    /// The exchange may be taken for a pass; of trials those count that began since the endpoint left.
    pub fn note_possible_pass(&mut self, exchange: usize) {
        let place = self.ledger.exchanges[exchange].place;
        if let Some(seen) = &mut self.places[place].seen
            && seen.trials.contains(&exchange)
            && seen.of_this_trial.contains(&exchange)
        {
            seen.passes += 1;
        }
    }
}

impl Seen {
    /// A trial was claimed: S1, S5.
    fn claim(&mut self, before: &Snapshot, word: &Snapshot, now: Tick) -> Vec<String> {
        let mut wrong = Vec::new();
        self.of_this_trial.clear();
        if before.state == Health::Unhealthy {
            (self.passes, self.trials) = (0, Vec::new());
        }
        let is_next = word.epoch.get() == before.epoch.get() + 1;
        if before.trial && is_next && !before.deadline.is_due(now) && before.admin == Admin::Active {
            wrong.push("S1: a second trial was claimed beside the first".to_owned());
        }
        // Seen later than it was claimed, so what looks early was. Who waits may have it in the moment in which
        // it is given back, which is a second before it is due.
        if before.admin == Admin::Active && !before.deadline.is_due(now) && !(before.trial && is_next) {
            self.early = Some(Early { epoch: word.epoch.get() });
            if before.cause.is_some_and(Cause::is_decisive) {
                wrong.push("S5: a refused key is tried before the deadline".to_owned());
            }
            let since = self.last_early.map(|last| now.since(last));
            if since.is_some_and(|since| since < Ticks::from_secs(1)) {
                wrong.push(format!("S5: two last resorts within {since:?}"));
            }
            self.last_early = Some(now);
        }
        wrong
    }
}

/// What no two words may be to each other.
fn step(before: &Snapshot, word: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    let first_pass = (before.state, word.state) == (Health::Unknown, Health::Healthy);
    let moved = before.state != word.state || before.admin != word.admin || before.trial != word.trial;
    let (old, new) = (before.epoch.get(), word.epoch.get());
    if new < old || (moved && new == old && !first_pass) {
        wrong.push(format!("the epoch went from {old} to {new}"));
    }
    if word.trial && word.state != Health::Recovering {
        wrong.push("S1: a trial, and it is not recovering".to_owned());
    }
    if (before.state, word.state) == (Health::Unhealthy, Health::Healthy) {
        wrong.push("S3: back in service without a trial".to_owned());
    }
    if new == old && (before.passes != word.passes || word.level > before.level) && !first_pass {
        wrong.push("S6: its counters moved within an epoch".to_owned());
    }
    wrong
}

/// L1 and L2. Who is billed by the request waits for a user, but its lost trials are taken back.
fn is_late(word: &Snapshot, cooldown: Tick, now: Tick, is_per_request: bool) -> bool {
    let waits_for_user = is_per_request && !word.trial;
    let overdue = u64::from(word.deadline.overdue(now).0);
    let cool_since = now.0.saturating_sub(cooldown.0);
    // A trial's lease ends whatever the cooldown is.
    let is_over = overdue > LATE && (word.trial || (now > cooldown && cool_since > LATE));
    word.is_sidelined() && !waits_for_user && word.deadline.is_due(now) && is_over
}

/// The state as records name it.
fn condition(word: &Snapshot) -> &'static str {
    match word.admin {
        Admin::Active => word.state.as_str(),
        Admin::Draining | Admin::Disabled => word.admin.as_str(),
    }
}

impl State {
    /// As many records in the journal as there were lines: S7.
    pub fn check_journal(&mut self, records: usize) {
        // It keeps the last 1,000.
        let told = self.told.min(1_000);
        if records != told {
            self.violated(format_args!("S7: {records} records for {told} lines"));
        }
    }
}
