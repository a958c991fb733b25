//! Who is let in, by which name, and what is said of those who are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qcc_fsm::{Interval, Tick, Ticks};
use tracing::{debug, warn};

use super::answers::OwnAnswer;
use super::guard;
use super::outgoing::OutgoingBody;
use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::config::ClusterSettings;
use crate::exchange::Call;
use crate::fields::Fields;

/// Between two lines about requests that were refused: guesses must not fill a disk.
const SAID_EVERY: Ticks = Ticks::from_secs(1);

/// The requests that were refused for want of a token.
#[derive(Default)]
pub(super) struct Refusals {
    said: Interval,
    unsaid: AtomicU64,
}

impl Refusals {
    /// Notes one, and gives how many there were since the last line where it is time for another. Relaxed: a
    /// figure for people.
    fn note(&self, now: Tick) -> Option<u64> {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        self.said.pass(now, SAID_EVERY).then(|| self.unsaid.swap(0, Ordering::Relaxed))
    }
}

/// Lets a request in, and gives the name of the token that it came with; none where no token is asked for.
///
/// # Errors
/// The answer to a request without a right token.
pub(super) fn let_in(
    fields: &Fields,
    settings: &ClusterSettings,
    cluster: &Cluster,
    refusals: &Refusals,
) -> Result<Option<Arc<str>>, OwnAnswer> {
    match guard::authorise(fields, settings) {
        Ok(Some(token)) => {
            cluster.clients.count(token.name(), cluster.clock.now());
            Ok(Some(token.name().clone()))
        }
        Ok(None) => Ok(None),
        Err(refusal) => {
            if let Some(requests) = refusals.note(cluster.clock.now()) {
                warn!(requests, "requests without a right client token were refused");
            }
            Err(refusal)
        }
    }
}

/// One line a request, for those who look closely. What it calls, and not its path, which may hold anything.
pub(super) fn log_answer(client: Option<&str>, path: &str, answer: &Answer<OutgoingBody>) {
    debug!(
        client,
        call = Call::of_path(path).map(tracing::field::debug),
        status = answer.status.as_u16(),
        endpoint = answer.fields.text("x-qcc-endpoint"),
        attempts = answer.fields.text("x-qcc-attempts"),
        error = answer.fields.text("x-qcc-error"),
        "request answered"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_second_that_counts_them() {
        let refusals = Refusals::default();
        let said: Vec<u64> =
            (0..35_000).filter_map(|number| refusals.note(Tick(100 + number / 1_000))).collect();
        assert_eq!(said, [1, 10_000, 10_000, 10_000], "3.5 s of 10,000 a second");
    }
}
