//! The last changes of state: one log line and one record each, written by the caller that made it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use qcc_fsm::{Admin, Cause, Change, CheckMethod, Snapshot};
use tracing::{info, warn};

use super::Endpoint;

/// How many changes are kept.
const RECORDS_MAX: usize = 1_000;

/// What brought a change about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A user's request.
    Traffic,
    /// A check.
    Check,
    /// An operator's command or a reload.
    Operator,
    /// A moment that was reached.
    Time,
}

impl Source {
    /// The name in the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Check => "check",
            Self::Operator => "operator",
            Self::Time => "time",
        }
    }
}

/// One change of state.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// The endpoint's name.
    pub endpoint: String,
    /// The epoch that it began.
    pub epoch: u32,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// Why it is not in service.
    pub cause: Option<Cause>,
    /// How that was found out.
    pub method: Option<CheckMethod>,
    /// What brought it about.
    pub source: Source,
}

/// The last 1,000 changes.
#[derive(Default)]
pub struct Journal {
    records: Mutex<VecDeque<Record>>,
}

impl Journal {
    pub(super) fn record(&self, endpoint: &Endpoint, change: &Change, source: Source, at: Timestamp) {
        let record = Record {
            at,
            endpoint: endpoint.name().to_owned(),
            epoch: change.to.epoch.get(),
            from: condition(&change.from),
            to: condition(&change.to),
            // After a recovery the word holds no method any more; the change is about the one it had.
            cause: change.to.cause,
            method: change.to.method.or(change.from.method),
            source,
        };
        log(&record, change);
        let mut records = self.lock();
        if records.len() == RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The records, the oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        // A panic while a record is pushed leaves whole records.
        self.records.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The state's name, or the operator's will where that decides.
fn condition(word: &Snapshot) -> &'static str {
    match word.admin {
        Admin::Active => word.state.as_str(),
        Admin::Draining | Admin::Disabled => word.admin.as_str(),
    }
}

fn log(record: &Record, change: &Change) {
    let Record { endpoint, from, to, epoch, .. } = record;
    let cause = record.cause.map(Cause::as_str);
    let method = record.method.map(CheckMethod::as_str);
    let (was, is) = (change.from.is_available(), change.to.is_available());
    match (was, is) {
        (true, false) => warn!(endpoint, from, to, cause, method, epoch, "endpoint left service"),
        (false, true) => info!(endpoint, from, to, method, epoch, "endpoint back in service"),
        (true, true) => info!(endpoint, from, to, epoch, "endpoint in service"),
        (false, false) => info!(endpoint, from, to, cause, method, epoch, "endpoint still out of service"),
    }
}
