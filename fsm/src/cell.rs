//! The atomic word and the one loop that writes it.

use crate::event::{AdminCommand, Claimant, Event, Failure, Verdict};
use crate::sync::{AtomicU64, Ordering, const_unless_modelled};
use crate::word::{Admin, Epoch, Snapshot, Word};
use crate::{Policy, Tick, Ticks, mutant, next};

/// The health of one endpoint. Padded to two cache lines, since processors fetch them in pairs: a write
/// to one endpoint's word must not cost the readers of its neighbour.
#[derive(Debug)]
#[repr(align(128))]
pub struct HealthCell {
    word: AtomicU64,
}

/// Which period of an endpoint's health something belongs to, and since when: what a ticket is checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    epoch: Epoch,
    issued: Tick,
}

/// The permission to send one exchange to an endpoint. It yields one verdict, which may be a pass at the
/// first content and a failure after it when the rest never came.
#[derive(Debug)]
#[must_use = "an exchange must report what became of it"]
pub struct Ticket {
    stamp: Stamp,
    trial: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sent,
    Passed,
    Spent,
}

/// What became of a report. The caller that gets `Moved` is the only one that sees this change: it
/// logs it, tells others, wakes the prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever moved the state acts on it"]
pub enum Outcome {
    /// Nothing was written, or only a counter was.
    Stays,
    /// The ticket was of another epoch, or spent.
    Stale,
    /// The state, or the operator's will, changed.
    Moved(Change),
}

/// A change of the word that others want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: Snapshot,
    /// After.
    pub to: Snapshot,
}

/// A claimed trial.
#[derive(Debug)]
#[must_use = "a claimed trial must be carried out, or its lease runs out for nothing"]
pub struct Claim {
    /// The permission to send it.
    pub ticket: Ticket,
    /// The change that the claim made.
    pub change: Change,
}

impl Stamp {
    /// Whether the word is of the period in which this was stamped.
    #[inline]
    pub(crate) fn is_of(self, word: &Snapshot, now: Tick) -> bool {
        self.epoch == word.epoch && now.since(self.issued) < Policy::TICKET_LIFE
    }

    /// A stamp of this epoch and moment: for tests and models of the transition function, which see no
    /// ticket.
    pub const fn new(epoch: Epoch, issued: Tick) -> Self {
        Self { epoch, issued }
    }

    /// The epoch, for display.
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }
}

impl Ticket {
    /// What the ticket is checked by.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether this is the endpoint's trial.
    pub const fn is_trial(&self) -> bool {
        self.trial
    }

    /// Whether a verdict was given that nothing can follow.
    pub fn is_spent(&self) -> bool {
        self.stage == Stage::Spent
    }

    /// The stage after `verdict`, or none when it can't follow what was said.
    fn after(&self, verdict: &Verdict) -> Option<Stage> {
        match (self.stage, verdict) {
            (Stage::Sent, Verdict::Pass(_)) => Some(Stage::Passed),
            (Stage::Sent, Verdict::Fail(_) | Verdict::Neutral) => Some(Stage::Spent),
            (Stage::Passed, Verdict::Fail(_)) => Some(Stage::Spent),
            (Stage::Passed, Verdict::Pass(_) | Verdict::Neutral) | (Stage::Spent, _) => None,
        }
    }
}

impl Default for HealthCell {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthCell {
    const_unless_modelled! {
        /// An endpoint of which nothing is known.
        pub fn new() -> Self {
            Self { word: AtomicU64::new(0) }
        }
    }

    /// All of the health, of one moment.
    ///
    /// Acquire, paired with the Release half of the exchange in `update`: who sees a state sees
    /// everything that its reporter wrote before, the cooldown and the text of the error among it.
    #[inline]
    pub fn load(&self) -> Snapshot {
        Word(self.word.load(Ordering::Acquire)).decode()
    }

    /// The permission to send a request there, if it is available. One Acquire load, no write.
    #[inline]
    pub fn admit(&self, now: Tick) -> Option<Ticket> {
        let word = self.load();
        word.is_available().then(|| Ticket::sent(word.epoch, now, false))
    }

    /// Whether what was stamped may still be written to the wire. One Acquire load, no write.
    #[inline]
    pub fn is_current(&self, stamp: Stamp, now: Tick) -> bool {
        let word = self.load();
        word.admin == Admin::Active && stamp.is_of(&word, now)
    }

    /// The permission to try an endpoint that is out of service, for one caller at most. `lease` is how
    /// long the trial may take, one tick at least and [`Deadline::HORIZON`](crate::Deadline::HORIZON) at most.
    pub fn claim(&self, by: Claimant, lease: Ticks, now: Tick, policy: &Policy) -> Option<Claim> {
        let change = self.update(&Event::Claim { by, lease }, now, policy).written()?;
        Some(Claim { ticket: Ticket::sent(change.to.epoch, now, true), change })
    }

    /// Says what became of a ticket's exchange. A ticket that moved the state goes on in the new epoch,
    /// so that a stream that breaks after it brought an endpoint back still counts.
    #[inline]
    pub fn report(&self, ticket: &mut Ticket, verdict: Verdict, now: Tick, policy: &Policy) -> Outcome {
        let Some(stage) = ticket.after(&verdict) else { return Outcome::Stale };
        ticket.stage = stage;
        let stamp = ticket.stamp;
        let update = self.update(&Event::Verdict { stamp, verdict }, now, policy);
        match update {
            Update::Unchanged(word) if !stamp.is_of(&word, now) || word.admin != Admin::Active => {
                Outcome::Stale
            }
            Update::Unchanged(_) => Outcome::Stays,
            Update::Written(change) => {
                ticket.stamp.epoch = change.to.epoch;
                change.outcome()
            }
        }
    }

    /// Takes the endpoint out of service for the share of failures that a
    /// [`FailureWindow`](crate::FailureWindow) found for this stamp. It counts in Healthy only, and only while
    /// the word is of the stamp's epoch: of many callers that found the same, one moves it.
    pub fn trip(&self, stamp: Stamp, failure: Failure, now: Tick, policy: &Policy) -> Outcome {
        self.update(&Event::Trip { stamp, failure }, now, policy).outcome()
    }

    /// Carries out an operator's command.
    pub fn command(&self, command: AdminCommand, now: Tick, policy: &Policy) -> Outcome {
        self.update(&Event::Admin(command), now, policy).outcome()
    }

    /// Lets time pass: a level decays, a lost trial is taken back.
    pub fn sweep(&self, now: Tick, policy: &Policy) -> Outcome {
        self.update(&Event::Sweep, now, policy).outcome()
    }

    /// Makes the next trial due now.
    pub fn recheck(&self, now: Tick, policy: &Policy) -> Outcome {
        self.update(&Event::Recheck, now, policy).outcome()
    }

    /// The one place that writes the word. AcqRel: the Release half publishes what the caller wrote
    /// before to every later [`HealthCell::load`], the Acquire half shows the caller what the writer
    /// of the word before it had published. An event that changes nothing writes nothing.
    #[inline]
    fn update(&self, event: &Event, now: Tick, policy: &Policy) -> Update {
        let (success, failure) = if mutant::RELAXED {
            (Ordering::Relaxed, Ordering::Relaxed)
        } else {
            (Ordering::AcqRel, Ordering::Acquire)
        };
        let mut seen = self.first_look();
        loop {
            let new = next(seen, event, now, policy);
            if new == seen {
                return Update::Unchanged(seen.decode());
            }
            if mutant::STORES_BLINDLY {
                self.word.store(new.0, Ordering::Release);
                return Update::Written(Change { from: seen.decode(), to: new.decode() });
            }
            match self.word.compare_exchange(seen.0, new.0, success, failure) {
                Ok(_) => return Update::Written(Change { from: seen.decode(), to: new.decode() }),
                Err(actual) => seen = Word(actual),
            }
        }
    }

    /// loom keeps one last access for each atomic, so that a plain load here hides the race between the
    /// exchange after it and somebody else's earlier load; as a read-modify-write it does not.
    #[cfg(feature = "look-by-rmw")]
    fn first_look(&self) -> Word {
        Word(self.word.fetch_or(0, Ordering::Acquire))
    }

    #[cfg(not(feature = "look-by-rmw"))]
    fn first_look(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }
}

impl Ticket {
    const fn sent(epoch: Epoch, issued: Tick, trial: bool) -> Self {
        Self { stamp: Stamp::new(epoch, issued), trial, stage: Stage::Sent }
    }
}

enum Update {
    Unchanged(Snapshot),
    Written(Change),
}

impl Update {
    fn written(self) -> Option<Change> {
        match self {
            Self::Unchanged(_) => None,
            Self::Written(change) => Some(change),
        }
    }

    fn outcome(self) -> Outcome {
        self.written().map_or(Outcome::Stays, Change::outcome)
    }
}

impl Change {
    /// Counters and deadlines are nobody's news; a state and the operator's will are.
    fn outcome(self) -> Outcome {
        let moved = self.from.state != self.to.state || self.from.admin != self.to.admin;
        if moved { Outcome::Moved(self) } else { Outcome::Stays }
    }
}
