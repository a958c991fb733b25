//! Checks: whether an endpoint that is down is back, and whether one that nobody used still works.
//!
//! The prober meets the proxy only in the endpoint's word: it claims a trial with one compare-exchange,
//! sends the check that the word names, and reports what it came to like any other exchange.

mod chat;
mod check;
mod identity;
mod round;
mod schedule;
mod warming;

pub use round::{CheckLine, CheckOutcome, check_round, start_round};

use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{CheckMethod, State, Tick};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;
use tracing::{debug, info};

use crate::cluster::{Attempt, Cluster, Endpoint};
use crate::config::ClusterSettings;
use check::Check;
use schedule::Schedule;

/// How many checks run at once, at most.
const CHECKS_MAX: usize = 32;
/// A trial's lease exceeds its time limit by this.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// The longest sleep: deadlines that nobody acts on are renewed in time.
const SLEEP_TICKS_MAX: u64 = 10 * 60 * 10;

/// Checks a cluster's endpoints, and keeps connections to them ready, until `stop` turns true.
pub fn spawn(cluster: Arc<Cluster>, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let warming = warming::run(cluster.clone());
    let prober = Prober { cluster, permits: Arc::new(Semaphore::new(CHECKS_MAX)) };
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
            () = prober.run() => {}
            () = warming => {}
        }
    })
}

/// Checks an endpoint at once, as an operator asked: the trial of one that is out of service and due,
/// whatever its cooldown says, or a model list of one that is in service.
pub async fn check_now(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) {
    let settings = cluster.settings();
    let check = if endpoint.health().is_sidelined() {
        trial(cluster, endpoint, &settings)
    } else {
        let attempt = Attempt::check(cluster, endpoint, CheckMethod::ModelList);
        attempt.map(|attempt| Check::new(attempt, &settings))
    };
    if let Some(check) = check {
        check.run().await;
    }
}

/// Claims the trial that is due; none when it is not, or somebody else has it.
fn trial(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>, settings: &ClusterSettings) -> Option<Check> {
    let lease = settings.health.check_timeout + LEASE_MARGIN;
    let attempt = Attempt::trial_by_prober(cluster, endpoint, lease)?;
    let method = attempt.method().map(CheckMethod::as_str);
    let reason = format!("failed via {}", method.unwrap_or_default());
    info!(endpoint = endpoint.name(), method, reason, "recovery check");
    Some(Check::new(attempt, settings))
}

struct Prober {
    cluster: Arc<Cluster>,
    permits: Arc<Semaphore>,
}

impl Prober {
    async fn run(self) {
        let mut checks = JoinSet::new();
        let mut schedule = Schedule::default();
        loop {
            // Before the look, so that no change falls between.
            let changed = self.cluster.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wake_at = self.look(&mut schedule, &mut checks);
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(self.cluster.clock.instant(wake_at)) => {}
                Some(_) = checks.join_next() => {}
            }
        }
    }

    /// Starts what is due, and gives the next moment at which something will be.
    fn look(&self, schedule: &mut Schedule, checks: &mut JoinSet<()>) -> Tick {
        let settings = self.cluster.settings();
        let roster = self.cluster.roster();
        let mut wake_at = Tick(self.cluster.clock.now().0 + SLEEP_TICKS_MAX);
        schedule.keep_only(roster.endpoints());
        for endpoint in roster.endpoints() {
            self.cluster.sweep(endpoint);
            if let Some((check, permit)) = self.due(endpoint, schedule, &settings) {
                let permits = self.permits.clone();
                checks.spawn(async move {
                    let _permit = match permit {
                        Some(permit) => Some(permit),
                        // Never closed.
                        None => permits.acquire_owned().await.ok(),
                    };
                    check.run().await;
                });
            }
            let next = self.next_moment(endpoint, schedule);
            wake_at = next.map_or(wake_at, |next| next.min(wake_at));
        }
        // Never twice within a tick: what is due now and can't be had is looked at again in the next one.
        wake_at.max(Tick(self.cluster.clock.now().0 + 1))
    }

    fn due(
        &self,
        endpoint: &Arc<Endpoint>,
        schedule: &mut Schedule,
        settings: &ClusterSettings,
    ) -> Option<(Check, Option<OwnedSemaphorePermit>)> {
        let now = self.cluster.clock.now();
        let word = endpoint.health();
        if endpoint.is_per_request() {
            if word.is_sidelined() && schedule.is_news(endpoint, word.epoch) {
                debug!(endpoint = endpoint.name(), billing = "per-request", "recovery check skipped");
            }
            return None;
        }
        if word.is_sidelined() {
            return self.due_trial(endpoint, now, settings);
        }
        let is_due = word.is_available() && schedule.is_due(endpoint, now, settings.health.check_interval);
        // Where there is no model list, a chat stands in for it to find out how an unknown endpoint is; but
        // nobody wants to pay for a chat every half a minute with one that is known to work.
        if !is_due || (endpoint.vitals.lacks_model_list() && word.state != State::Unknown) {
            return None;
        }
        let attempt = Attempt::check(&self.cluster, endpoint, CheckMethod::ModelList)?;
        Some((Check::new(attempt, settings), None))
    }

    /// A trial, with the permit to run it: once it is claimed its lease runs, so it must not wait for one.
    fn due_trial(
        &self,
        endpoint: &Arc<Endpoint>,
        now: Tick,
        settings: &ClusterSettings,
    ) -> Option<(Check, Option<OwnedSemaphorePermit>)> {
        if endpoint.vitals.cooldown.is_active(now) {
            return None;
        }
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some((trial(&self.cluster, endpoint, settings)?, Some(permit)))
    }

    fn next_moment(&self, endpoint: &Arc<Endpoint>, schedule: &Schedule) -> Option<Tick> {
        let now = self.cluster.clock.now();
        let word = endpoint.health();
        let due = word.due().map(|deadline| now + deadline.remaining(now));
        if word.is_sidelined() {
            // A lease ends whatever else is: the trial may have lost its holder.
            if word.trial {
                return due;
            }
            // A deadline that only a user's request acts on is no moment of the prober's.
            let due = due.filter(|_| !endpoint.is_per_request());
            return due.map(|due| due.max(endpoint.vitals.cooldown.until()));
        }
        let idle = schedule.next(endpoint).filter(|_| word.is_available() && !endpoint.is_per_request());
        due.into_iter().chain(idle).min()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use qcc_fsm::{Cause, Claimant, Failure, Ticks, Verdict};
    use tokio::time::sleep;

    use super::*;
    use crate::clock::Clock;
    use crate::cluster::{Choice, Wanted};
    use crate::config::{Environment, Protocol, parse_str};

    /// A cluster of one endpoint, which has failed.
    fn cluster_that_is_down(billing: &str) -> (Arc<Cluster>, Arc<Endpoint>) {
        let text = format!(
            "[[clusters.work.endpoints]]\nname = 'a'\napi_key = 'k'\nbase_url = 'http://127.0.0.1:9'\n\
             billing = '{billing}'\n"
        );
        let settings = parse_str(&text, Path::new("f"), &Environment::closed([])).unwrap();
        let cluster = Cluster::new(settings.clusters["work"].clone(), Clock::start()).unwrap();
        let endpoint = cluster.roster().endpoints()[0].clone();
        let (cell, now) = (&endpoint.vitals.cell, cluster.clock.now());
        let mut ticket = cell.admit(now).unwrap();
        let failure = Failure::new(Cause::Server, CheckMethod::Chat);
        let _ = cell.report(&mut ticket, Verdict::Fail(failure), now, &endpoint.policy);
        (cluster, endpoint)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_a_trial_and_is_lost_is_taken_back_at_its_leases_end() {
        let (cluster, endpoint) = cluster_that_is_down("per-request");
        let (_stop, stopped) = watch::channel(false);
        let prober = spawn(cluster.clone(), stopped);
        let wanted = Wanted {
            protocol: Protocol::Anthropic,
            model: None,
            can_be_trial: true,
            session: None,
            patience: Duration::from_secs(2),
        };
        let claimed = || match cluster.choose(&wanted, &[], cluster.clock.now()) {
            Choice::Go(attempt) => attempt,
            Choice::Wait { .. } | Choice::Nothing => panic!("no trial"),
        };
        drop(claimed());
        // The next trial is due after a second, and it begins no new state.
        sleep(Duration::from_secs(3)).await;
        std::mem::forget(claimed());
        sleep(Duration::from_secs(6)).await;
        assert!(endpoint.health().trial, "its lease is 7 s");
        sleep(Duration::from_secs(2)).await;
        assert!(!endpoint.health().trial, "{:?}", endpoint.health());
        prober.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_whose_holder_is_gone_is_taken_back_at_its_leases_end_though_the_endpoint_cools() {
        let (cluster, endpoint) = cluster_that_is_down("per-token");
        let (cell, now) = (&endpoint.vitals.cell, cluster.clock.now());
        let leaked = cell.claim(Claimant::LastResort, Ticks::from_secs(2), now, &endpoint.policy);
        assert!(leaked.is_some() && endpoint.health().trial);
        endpoint.vitals.cooldown.raise(now + Ticks::from_secs(60));

        let (_stop, stopped) = watch::channel(false);
        let prober = spawn(cluster.clone(), stopped);
        sleep(Duration::from_secs(4)).await;
        assert!(!endpoint.health().trial, "{:?}", endpoint.health());
        prober.abort();
    }
}
