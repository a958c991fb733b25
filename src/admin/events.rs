//! The last changes of state, as JSON.

use serde::Serialize;

use super::status::rfc3339;
use crate::cluster::Journal;

#[derive(Serialize)]
struct EventLine {
    time: String,
    endpoint: String,
    epoch: u32,
    from: &'static str,
    to: &'static str,
    cause: Option<&'static str>,
    method: Option<&'static str>,
    caused_by: &'static str,
}

/// The events, the oldest first.
pub(super) fn json(journal: &Journal) -> String {
    let lines: Vec<EventLine> = journal
        .records()
        .into_iter()
        .map(|record| EventLine {
            time: rfc3339(record.at),
            endpoint: record.endpoint,
            epoch: record.epoch,
            from: record.from,
            to: record.to,
            cause: record.cause.map(qcc_fsm::Cause::as_str),
            method: record.method.map(qcc_fsm::CheckMethod::as_str),
            caused_by: record.source.as_str(),
        })
        .collect();
    serde_json::to_string(&lines).unwrap_or_else(|_| "[]".to_owned())
}
