//! Checks of all endpoints at once: before the proxy reports ready, and for `qcc check`.

use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{CheckMethod, Verdict};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::CHECKS_MAX;
use super::check::{Check, Finding};
use crate::clock::Clock;
use crate::cluster::{Attempt, BuildError, Cluster, Endpoint};
use crate::config::ClusterSettings;

/// How long the proxy waits for its first checks before it reports ready.
const START_ROUND_WITHIN: Duration = Duration::from_secs(3);

/// What a check of `qcc check` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It works.
    Passed,
    /// It does not.
    Failed,
    /// The answer says nothing.
    Neutral,
    /// No check was sent.
    Skipped,
}

impl CheckOutcome {
    /// The name that people and scripts see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Neutral => "neutral",
            Self::Skipped => "skipped",
        }
    }
}

/// One endpoint's check.
#[derive(Clone, Debug)]
pub struct CheckLine {
    /// The endpoint's name.
    pub endpoint: String,
    /// How it was checked; none where no check was sent.
    pub method: Option<CheckMethod>,
    /// What that came to.
    pub outcome: CheckOutcome,
    /// Whether a proxy would send requests there.
    pub usable: bool,
    /// In words.
    pub detail: String,
    /// How long it took.
    pub latency: Option<Duration>,
}

/// Checks the model list of every endpoint that is billed per token, so that the first request does not
/// have to find out. Ends after 3 s at most; what is not answered then goes on by itself.
pub async fn start_round(cluster: &Arc<Cluster>) {
    let settings = cluster.settings();
    let permits = Arc::new(Semaphore::new(CHECKS_MAX));
    let mut checks = JoinSet::new();
    for endpoint in cluster.roster().endpoints().iter().filter(|endpoint| !endpoint.is_per_request()) {
        if let Some(attempt) = Attempt::check(cluster, endpoint, CheckMethod::ModelList) {
            let (check, permits) = (Check::new(attempt, &settings), permits.clone());
            checks.spawn(async move {
                let _permit = permits.acquire_owned().await;
                check.run().await;
            });
        }
    }
    let all = async { while checks.join_next().await.is_some() {} };
    let _ = timeout(START_ROUND_WITHIN, all).await;
    checks.detach_all();
}

/// One round of checks without a proxy: of all endpoints or of one, by its usual method or another.
///
/// # Errors
/// When an endpoint can't be set up.
pub async fn check_round(
    settings: &ClusterSettings,
    only: Option<&str>,
    method: Option<CheckMethod>,
) -> Result<Vec<CheckLine>, BuildError> {
    let cluster = Cluster::new(settings.clone(), Clock::start())?;
    let permits = Arc::new(Semaphore::new(CHECKS_MAX));
    let mut checks = JoinSet::new();
    let roster = cluster.roster();
    let wanted = roster.in_file_order().filter(|endpoint| only.is_none_or(|name| name == endpoint.name()));
    for (place, endpoint) in wanted.enumerate() {
        let (cluster, endpoint, permits) = (cluster.clone(), endpoint.clone(), permits.clone());
        checks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (place, check_line(&cluster, &endpoint, method).await)
        });
    }
    let mut lines: Vec<(usize, CheckLine)> = Vec::new();
    while let Some(done) = checks.join_next().await {
        // A check that panicked would be a defect; it shows as a line that is missing.
        lines.extend(done.ok());
    }
    lines.sort_by_key(|(place, _)| *place);
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

async fn check_line(
    cluster: &Arc<Cluster>,
    endpoint: &Arc<Endpoint>,
    method: Option<CheckMethod>,
) -> CheckLine {
    let skipped = |usable: bool, detail: &str| CheckLine {
        endpoint: endpoint.name().to_owned(),
        method: None,
        outcome: CheckOutcome::Skipped,
        usable,
        detail: detail.to_owned(),
        latency: None,
    };
    if endpoint.is_per_request() {
        return skipped(true, "billed per request: never checked");
    }
    let method = method.unwrap_or(CheckMethod::ModelList);
    let Some(attempt) = Attempt::check(cluster, endpoint, method) else {
        return skipped(false, "not enabled");
    };
    let Finding { verdict, text, latency } = Check::new(attempt, &cluster.settings()).run().await;
    let outcome = match verdict {
        Verdict::Pass(_) => CheckOutcome::Passed,
        Verdict::Fail(_) => CheckOutcome::Failed,
        Verdict::Neutral => CheckOutcome::Neutral,
    };
    CheckLine {
        endpoint: endpoint.name().to_owned(),
        method: Some(method),
        outcome,
        usable: outcome != CheckOutcome::Failed,
        detail: text,
        latency: Some(latency),
    }
}
