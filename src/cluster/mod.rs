//! The endpoints of a cluster, and which of them a request goes to.

mod attempt;
mod budget;
mod choose;
mod clients;
mod endpoint;
mod home;
mod journal;
mod kind;
mod moved;
mod roster;
mod session;
mod skipped;
mod vitals;

pub use attempt::Attempt;
pub use budget::{RetryBudget, RetryPermit};
pub use choose::{Choice, Wanted};
pub use clients::{ClientCount, Clients};
pub use endpoint::Endpoint;
pub use journal::{Journal, Record, Source};
pub use roster::{BuildError, Roster};
pub use session::{Session, SessionKey};
pub use skipped::SkippedModels;
pub use vitals::{Tally, TallySnapshot, Vitals};

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use qcc_fsm::{AdminCommand, Change, Outcome};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::ClusterSettings;
use crate::upstream::{Network, Tcp};
use moved::MovedSessions;

/// A cluster: its current endpoints, what happened to them, and a bell that rings when something did.
pub struct Cluster {
    /// The name in the configuration.
    pub name: String,
    /// The clock that all its ticks are of.
    pub clock: Clock,
    /// The last changes of state.
    pub journal: Journal,
    /// What may be sent again after a failure that cost work.
    pub retries: RetryBudget,
    /// The clients that have a token.
    pub clients: Clients,
    network: Arc<dyn Network>,
    settings: ArcSwap<ClusterSettings>,
    roster: ArcSwap<Roster>,
    /// Held by whoever brings the roster's lists up to date, and by nobody who only chooses.
    listing: Mutex<()>,
    moved: MovedSessions,
    bell: Notify,
}

impl Cluster {
    /// A cluster of which nothing is known.
    ///
    /// # Errors
    /// When an endpoint's origin can't be set up.
    pub fn new(settings: ClusterSettings, clock: Clock) -> Result<Arc<Self>, BuildError> {
        Self::over(Arc::new(Tcp), settings, clock)
    }

    /// The same over another network than TCP.
    ///
    /// # Errors
    /// As for [`Cluster::new`].
    pub fn over(
        network: Arc<dyn Network>,
        settings: ClusterSettings,
        clock: Clock,
    ) -> Result<Arc<Self>, BuildError> {
        let roster = Roster::build(&settings, &network, clock, None)?;
        Ok(Arc::new(Self {
            network,
            name: settings.name.clone(),
            clock,
            journal: Journal::default(),
            retries: RetryBudget::default(),
            clients: Clients::new(&settings),
            settings: ArcSwap::from_pointee(settings),
            roster: ArcSwap::from_pointee(roster),
            listing: Mutex::default(),
            moved: MovedSessions::default(),
            bell: Notify::new(),
        }))
    }

    /// Takes up a changed configuration. An endpoint that keeps its base URL, key and protocol keeps
    /// its health.
    ///
    /// # Errors
    /// As for [`Cluster::new`]; the old endpoints stay then.
    pub fn reload(&self, settings: ClusterSettings) -> Result<(), BuildError> {
        let roster = Roster::build(&settings, &self.network, self.clock, Some(&self.roster.load()))?;
        for (endpoint, command) in roster.commands() {
            self.command(endpoint, command);
        }
        let roster = Arc::new(roster);
        self.clients.take_up(&settings);
        self.settings.store(Arc::new(settings));
        let old = self.take_up(roster.clone());
        for endpoint in roster.renamed_since(&old) {
            endpoint.vitals.skipped_models.clear();
        }
        self.ring();
        Ok(())
    }

    /// The settings as they are now. A request goes by those that it began with.
    pub fn settings(&self) -> Arc<ClusterSettings> {
        self.settings.load_full()
    }

    /// The endpoints as they are configured now.
    pub fn roster(&self) -> arc_swap::Guard<Arc<Roster>> {
        self.roster.load()
    }

    /// Ends when the state of some endpoint changes after the call. Enable it before looking at the
    /// state, so that no change falls between.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }

    /// Wakes everyone who waits for a change.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Lets go of all connections that nobody uses: their descriptors are needed.
    pub fn close_idle_connections(&self) {
        self.roster.load().endpoints().iter().for_each(|endpoint| endpoint.origin.close_idle());
    }

    /// Carries out an operator's command on an endpoint.
    pub fn command(&self, endpoint: &Endpoint, command: AdminCommand) {
        let now = self.clock.now();
        if command == AdminCommand::Reset {
            endpoint.vitals.cooldown.clear();
            endpoint.vitals.forget_overloads();
            endpoint.vitals.skipped_models.clear();
        }
        let outcome = endpoint.vitals.cell.command(command, now, &endpoint.policy);
        self.follow_up(endpoint, outcome, Source::Operator);
        self.ring();
    }

    /// Makes an endpoint's next trial due now.
    pub fn recheck(&self, endpoint: &Endpoint) {
        let outcome = endpoint.vitals.cell.recheck(self.clock.now(), &endpoint.policy);
        self.follow_up(endpoint, outcome, Source::Operator);
        self.ring();
    }

    /// Lets time pass for an endpoint.
    pub fn sweep(&self, endpoint: &Endpoint) {
        let now = self.clock.now();
        endpoint.window.forget_old(now);
        let outcome = endpoint.vitals.cell.sweep(now, &endpoint.policy);
        self.follow_up(endpoint, outcome, Source::Time);
    }

    /// Gives the endpoints that were there before. A state that moved while the new lists were made may be in the old
    /// ones only, hence all are listed anew.
    fn take_up(&self, roster: Arc<Roster>) -> Arc<Roster> {
        let _listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.roster.swap(roster.clone());
        roster.relist_all();
        old
    }

    /// Lists an endpoint whose state has moved. The lock orders those who do it at once: whoever has it reads what
    /// all before moved, in the roster that the last reload left.
    fn relist(&self, endpoint: &Endpoint) {
        let _listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        self.roster.load().relist(endpoint);
    }

    /// What the one caller that moved a state does: list it, write it down, wake the others.
    fn follow_up(&self, endpoint: &Endpoint, outcome: Outcome, source: Source) {
        if let Outcome::Moved(change) = outcome {
            self.announce(endpoint, change, source);
        }
    }

    fn announce(&self, endpoint: &Endpoint, change: Change, source: Source) {
        self.relist(endpoint);
        let now = self.clock.now();
        endpoint.vitals.note_change(&change, now);
        self.journal.record(endpoint, &change, source, self.clock.shown(now));
        self.ring();
    }
}
