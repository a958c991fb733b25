//! The status document: the word that routing reads, in words.

use jiff::Timestamp;
use qcc_fsm::{Cause, CheckMethod, Deadline, Tick};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cluster::{ClientCount, Cluster, Endpoint, TallySnapshot};

/// The state of a cluster, as `qcc status --json` prints it. It never holds a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// 1; another number is another document.
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The address that clients connect to.
    pub listen: String,
    /// When the proxy was started, RFC 3339.
    pub started_at: String,
    /// How many endpoints a request may go to now.
    pub usable: usize,
    /// How many requests were not sent to another endpoint, since too many were failing.
    #[serde(default)]
    pub retries_refused: u64,
    /// The clients that have a token, in the order of the configuration.
    #[serde(default)]
    pub clients: Vec<ClientStatus>,
    /// The endpoints in the order of the configuration.
    pub endpoints: Vec<EndpointStatus>,
}

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The name of its token.
    pub name: String,
    /// Requests that were let in.
    pub requests: u64,
    /// When the latest one came, RFC 3339.
    pub last_seen: Option<String>,
}

/// The state of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// The first 8 hex digits of SHA-256 of `base_url|api_key`.
    pub id: String,
    /// Where it is.
    pub base_url: String,
    /// `anthropic` or `openai`.
    pub protocol: String,
    /// `per-token` or `per-request`.
    pub billing: String,
    /// 1 is used first.
    pub priority: u32,
    /// 1–1000.
    pub weight: u32,
    /// `unknown`, `healthy`, `unhealthy` or `recovering`.
    pub state: String,
    /// `active`, `draining` or `disabled`.
    pub admin: String,
    /// Whether a request may go there now.
    pub usable: bool,
    /// Why it is out of service.
    pub cause: Option<String>,
    /// How that was found out, hence how it comes back.
    pub check_method: Option<String>,
    /// Consecutive weighted failures.
    pub failures: u8,
    /// Backoff level.
    pub level: u8,
    /// Counts the periods of its health.
    pub epoch: u32,
    /// When the state last changed, RFC 3339.
    pub since: String,
    /// When the next trial is due, RFC 3339.
    pub next_check_at: Option<String>,
    /// Until when it is left alone after a rate limit, RFC 3339.
    pub cooldown_until: Option<String>,
    /// What its last failure said.
    pub last_error: Option<String>,
    /// Requests under way.
    pub in_flight: u32,
    /// Moving average of the time to the first content.
    pub latency_ms: Option<f64>,
    /// What users' requests came to.
    pub requests: TallySnapshot,
    /// What checks came to.
    pub checks: CheckCounts,
}

/// Counts of checks. One whose verdict came too late to count said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCounts {
    /// Checks sent.
    pub sent: u64,
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Checks that said nothing.
    pub neutral: u64,
}

impl From<TallySnapshot> for CheckCounts {
    fn from(tally: TallySnapshot) -> Self {
        let TallySnapshot { sent, passed, failed, neutral, stale } = tally;
        Self { sent, passed, failed, neutral: neutral + stale }
    }
}

impl StatusDocument {
    /// The document of this moment.
    pub fn of(cluster: &Cluster, listen: &str, started_at: Timestamp) -> Self {
        let now = cluster.clock.now();
        let roster = cluster.roster();
        let endpoints: Vec<EndpointStatus> = roster
            .in_file_order()
            .map(|endpoint| EndpointStatus::of(endpoint, &cluster.clock, now))
            .collect();
        Self {
            version: 1,
            cluster: cluster.name.clone(),
            listen: listen.to_owned(),
            started_at: rfc3339(started_at),
            usable: endpoints.iter().filter(|endpoint| endpoint.usable).count(),
            retries_refused: cluster.retries.refused(),
            clients: cluster
                .clients
                .counts()
                .iter()
                .map(|count| ClientStatus::of(count, &cluster.clock))
                .collect(),
            endpoints,
        }
    }
}

impl ClientStatus {
    fn of(count: &ClientCount, clock: &Clock) -> Self {
        Self {
            name: count.name.to_string(),
            requests: count.requests,
            last_seen: count.last_seen.map(|at| rfc3339(clock.shown(at))),
        }
    }
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint, clock: &Clock, now: Tick) -> Self {
        let (settings, vitals) = (&endpoint.settings, &endpoint.vitals);
        // One load: all that is shown of the word is of one moment.
        let word = endpoint.health();
        let cooldown = vitals.cooldown.until();
        let is_cooling = cooldown > now;
        Self {
            name: settings.name.clone(),
            id: settings.id.to_string(),
            base_url: settings.base_url.as_str().to_owned(),
            protocol: settings.protocol.as_str().to_owned(),
            billing: settings.billing.as_str().to_owned(),
            priority: settings.priority,
            weight: settings.weight,
            state: word.state.as_str().to_owned(),
            admin: word.admin.as_str().to_owned(),
            usable: word.is_available() && !is_cooling,
            cause: word.cause.map(|cause: Cause| cause.as_str().to_owned()),
            check_method: word.method.map(|method: CheckMethod| method.as_str().to_owned()),
            failures: word.failures,
            level: word.level,
            epoch: word.epoch.get(),
            since: rfc3339(clock.shown(vitals.since())),
            next_check_at: word.is_sidelined().then(|| rfc3339(clock.shown(moment(word.deadline, now)))),
            cooldown_until: is_cooling.then(|| rfc3339(clock.shown(cooldown))),
            last_error: vitals.last_error(),
            in_flight: vitals.in_flight(),
            latency_ms: vitals.latency().map(|latency| (latency.as_secs_f64() * 1e4).round() / 10.0),
            requests: vitals.requests.snapshot(),
            checks: vitals.checks.snapshot().into(),
        }
    }
}

/// The tick of a deadline, in the past or the future.
fn moment(deadline: Deadline, now: Tick) -> Tick {
    if deadline.is_due(now) {
        Tick(now.0.saturating_sub(u64::from(deadline.overdue(now).0)))
    } else {
        now + deadline.remaining(now)
    }
}

/// To the millisecond, in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}
