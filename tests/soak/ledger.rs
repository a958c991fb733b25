//! What the upstreams took and what became of it, beside what the clients were told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::schedule::{Kind, ROLES};

/// What an upstream had said of a request when it was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A complete answer that is a failure.
    Refused,
    /// Nothing that a client may have been shown.
    Lost,
    /// It broke off, and whether the proxy had seen content by then can't be told.
    Uncertain,
    /// Content, to its end or not.
    Content,
}

/// A request that an upstream received whole.
#[derive(Clone, Debug)]
pub struct Taken {
    pub endpoint: usize,
    pub kind: Kind,
    pub ended: Option<Ended>,
    /// When its first byte was read.
    pub arrived: SystemTime,
}

/// When each endpoint's state changed, by name, time and epoch, and what it became.
pub type Changes = BTreeMap<(String, SystemTime, u64), String>;

/// What an upstream is at work on, on one connection.
struct Serving {
    endpoint: usize,
    id: Option<u64>,
}

#[derive(Default)]
pub struct World {
    taken: Mutex<HashMap<u64, Vec<Taken>>>,
    connections: Mutex<HashMap<u64, Serving>>,
    clients_gone: Mutex<HashMap<u64, Instant>>,
    violations: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
    worst_cancel: Mutex<(Duration, String)>,
    lag_max: Mutex<Duration>,
}

/// An upstream that still works for a client that left so long ago has an orphan. The contract's limit is 250 ms,
/// which another test shows; here a busy machine may be late, by as much as it is seen to be. It is less than any
/// time limit of the cluster's that would end the exchange all the same.
const ORPHAN_AFTER: Duration = Duration::from_millis(900);
/// The least of the cluster's limits on the head of an answer.
pub const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(3);
/// How long what was on the wire when an endpoint left service may take to be read, besides what the machine is
/// late.
const ON_THE_WIRE: Duration = Duration::from_millis(250);

impl World {
    pub fn violation(&self, text: String) {
        eprintln!("violation at {:.3}: {text}", jiff::Timestamp::now());
        self.violations.lock().unwrap().push(text);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub fn count(&self, what: impl Into<String>) {
        *self.counts.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    /// The counts whose names begin like that, without it.
    pub fn counts(&self, prefix: &str) -> String {
        let counts = self.counts.lock().unwrap();
        let named = counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, count)));
        named.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }

    pub fn open(&self, connection: u64, endpoint: usize) {
        self.connections.lock().unwrap().insert(connection, Serving { endpoint, id: None });
    }

    pub fn serving(&self, connection: u64, id: Option<u64>) {
        if let Some(serving) = self.connections.lock().unwrap().get_mut(&connection) {
            serving.id = id;
        }
    }

    pub fn close(&self, connection: u64) {
        let Some(serving) = self.connections.lock().unwrap().remove(&connection) else { return };
        let gone = serving.id.and_then(|id| self.clients_gone.lock().unwrap().get(&id).copied());
        let Some(late) = gone.map(|gone| gone.elapsed()) else { return };
        let mut worst = self.worst_cancel.lock().unwrap();
        if late > worst.0 {
            *worst = (late, format!("{} on request {:?}", ROLES[serving.endpoint].name, serving.id));
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// The longest that an upstream worked on for a client that had left.
    pub fn worst_cancel(&self) -> Duration {
        self.worst_cancel.lock().unwrap().0
    }

    /// No upstream works on for a client that has left. What is late is judged at the end: how late the machine
    /// itself is shows only afterwards.
    pub fn check_cancelling(&self) {
        let (late, what) = self.worst_cancel.lock().unwrap().clone();
        if late > ORPHAN_AFTER + self.slack() {
            self.violation(format!("worked on for {late:?} after the client had left: {what}"));
        }
        self.orphans().into_iter().for_each(|orphan| self.violation(orphan));
    }

    /// The machine did something so much later than it was to.
    pub fn lagged(&self, lag: Duration) {
        let mut lag_max = self.lag_max.lock().unwrap();
        *lag_max = lag.max(*lag_max);
    }

    pub fn lag_max(&self) -> Duration {
        *self.lag_max.lock().unwrap()
    }

    pub fn client_gone(&self, id: u64) {
        self.clients_gone.lock().unwrap().insert(id, Instant::now());
    }

    fn orphans(&self) -> Vec<String> {
        let (connections, gone) = (self.connections.lock().unwrap(), self.clients_gone.lock().unwrap());
        let orphaned = connections.values().filter_map(|serving| {
            let (id, since) = (serving.id?, gone.get(&serving.id?)?);
            (since.elapsed() > ORPHAN_AFTER)
                .then(|| format!("{} still works on request {id}", ROLES[serving.endpoint].name))
        });
        orphaned.collect()
    }

    pub fn take(&self, id: u64, taken: Taken) {
        self.taken.lock().unwrap().entry(id).or_default().push(taken);
    }

    pub fn ended(&self, id: u64, endpoint: usize, ended: Ended) {
        let mut all = self.taken.lock().unwrap();
        let entry = all.get_mut(&id).and_then(|taken| {
            taken.iter_mut().rev().find(|taken| taken.endpoint == endpoint && taken.ended.is_none())
        });
        if let Some(entry) = entry {
            entry.ended = Some(ended);
        }
    }

    /// What is granted to a busy machine: a request passes from task to task, each as late as one timer was.
    fn slack(&self) -> Duration {
        3 * self.lag_max()
    }

    /// Where a request went.
    pub fn taken(&self, id: u64) -> Vec<Taken> {
        self.taken.lock().unwrap().get(&id).cloned().unwrap_or_default()
    }

    pub fn taken_in_all(&self) -> usize {
        self.taken.lock().unwrap().values().map(Vec::len).sum()
    }

    /// A request goes on only from where it was refused, or lost where that may be repeated; never from
    /// where its client was shown something, and to no endpoint twice.
    pub fn check_repetitions(&self) {
        for (id, taken) in self.taken.lock().unwrap().iter() {
            let names: Vec<&str> = taken.iter().map(|taken| ROLES[taken.endpoint].name).collect();
            let mut distinct = names.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() != names.len() {
                self.violation(format!("request {id} went to one endpoint twice: {taken:?}"));
            }
            for (earlier, later) in taken.iter().zip(&taken[1..]) {
                let may_repeat = ROLES[earlier.endpoint].is_per_token || earlier.kind.is_light();
                let gap = later.arrived.duration_since(earlier.arrived).unwrap_or_default();
                let is_allowed = match earlier.ended {
                    Some(Ended::Refused) => true,
                    // Still at work when it was sent again: its time was over.
                    None | Some(Ended::Lost | Ended::Uncertain) => may_repeat,
                    // Unless it came when its time was over, since the machine stood still.
                    Some(Ended::Content) => may_repeat && gap + self.slack() >= FIRST_BYTE_WITHIN,
                };
                if !is_allowed {
                    self.violation(format!("request {id} was repeated and must not have been: {taken:?}"));
                }
            }
        }
    }

    /// Nothing goes to an endpoint while it is out of service.
    pub fn check_out_of_service(&self, changes: &Changes) {
        let all = self.taken.lock().unwrap();
        for (number, role) in ROLES.iter().enumerate() {
            let own: Vec<_> = changes.iter().filter(|((name, _, _), _)| name == role.name).collect();
            let arrivals = all.iter().flat_map(|(id, taken)| {
                taken.iter().filter(|taken| taken.endpoint == number).map(move |taken| (*id, taken.arrived))
            });
            for (id, arrived) in arrivals {
                let before = own.iter().rev().find(|((_, at, _), _)| *at <= arrived);
                let Some(((_, since, _), state)) = before else { continue };
                let is_out = ["unhealthy", "disabled", "draining"].contains(&state.as_str());
                let late = arrived.duration_since(*since).unwrap_or_default();
                if is_out && late > ON_THE_WIRE + self.slack() {
                    self.violation(format!(
                        "request {id} reached {} {late:?} after it was {state}",
                        role.name
                    ));
                }
            }
        }
    }
}
