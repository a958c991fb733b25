//! One endpoint: what is configured of it, and what is known.

use std::sync::Arc;

use qcc_fsm::{Billing, FailureLimit, FailureWindow, Policy, Snapshot, Tick, Ticks};

use super::Vitals;
use crate::clock::Clock;
use crate::config::{self, ClusterSettings, EndpointSettings, Protocol, ProxyUrl, Secret};
use crate::text::printable;
use crate::upstream::{Admission, Egress, Origin, OriginError};

/// An endpoint as it is configured, with the health that a reload keeps.
pub struct Endpoint {
    /// What the configuration says.
    pub settings: EndpointSettings,
    /// The numbers that its health goes by.
    pub policy: Policy,
    /// Its health and figures.
    pub vitals: Arc<Vitals>,
    /// What users' requests came to lately.
    pub window: Arc<FailureWindow>,
    /// The share of failures in it that takes the endpoint out of service.
    pub failure_limit: FailureLimit,
    /// The way to it.
    pub origin: Arc<Origin>,
    /// The time over which its share of traffic rises after a recovery.
    pub slow_start: Ticks,
    name_shown: Arc<str>,
    proxy_credentials: Option<Secret>,
}

impl Endpoint {
    /// An endpoint with what is `known` of the same one: its health, the samples of its traffic where they are
    /// counted over the same time, its connections where new ones would be made in the same way.
    ///
    /// # Errors
    /// When its origin can't be set up.
    pub fn new(
        settings: &EndpointSettings,
        cluster: &ClusterSettings,
        known: Option<&Self>,
        clock: Clock,
        egress: &Egress<'_>,
    ) -> Result<Self, OriginError> {
        let origin = Origin::new(&settings.base_url, &settings.api_key, settings.auth, egress)?;
        let health = &cluster.health;
        let window = FailureWindow::new(Ticks::from_duration(health.ratio_window));
        let (vitals, window, origin) = match known {
            None => (Arc::new(Vitals::new(clock)), Arc::new(window), origin),
            Some(known) => {
                let counts_alike = known.window.is_as_long_as(&window);
                let window = if counts_alike { known.window.clone() } else { Arc::new(window) };
                (known.vitals.clone(), window, origin.with_connections_of(&known.origin))
            }
        };
        Ok(Self {
            policy: policy(settings, health),
            window,
            failure_limit: FailureLimit::new(health.ratio_min_samples, health.ratio_threshold_millionths),
            slow_start: Ticks::from_duration(health.slow_start),
            proxy_credentials: cluster.proxy.as_ref().and_then(ProxyUrl::credentials).cloned(),
            name_shown: settings.name.as_str().into(),
            settings: settings.clone(),
            origin: Arc::new(origin),
            vitals,
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The same to be shared: each answer shows it.
    pub fn name_shown(&self) -> &Arc<str> {
        &self.name_shown
    }

    /// Whether it is billed by the request, hence never checked.
    pub fn is_per_request(&self) -> bool {
        self.policy.billing() == Billing::PerRequest
    }

    /// Whether it serves requests of this protocol for this model.
    pub fn serves(&self, protocol: Protocol, model: Option<&str>) -> bool {
        self.settings.protocol == protocol && model.is_none_or(|model| self.settings.allows_model(model))
    }

    /// Whether a request may go there now without a claim: what choosing asks, and what the status shows.
    pub fn is_usable(&self, now: Tick) -> bool {
        self.health().is_available() && !self.vitals.cooldown.is_active(now)
    }

    /// Its health, of one moment.
    pub fn health(&self) -> Snapshot {
        self.vitals.cell.load()
    }

    /// Keeps the text of a failure, made fit to be shown.
    pub fn note_error(&self, text: &str) {
        self.vitals.note_error(self.shown(text));
    }

    /// A text from this endpoint as the status and the log show it: in one line, and without our key and the
    /// proxy's password, which whoever reads a request may repeat.
    pub fn shown(&self, text: &str) -> String {
        let text = self.settings.api_key.masked_in(text);
        printable(&match &self.proxy_credentials {
            Some(credentials) => credentials.masked_in(&text),
            None => text,
        })
    }

    /// The check that its connections make before the first byte of a request.
    pub fn admission(&self) -> Arc<dyn Admission> {
        self.vitals.clone()
    }

    /// Whether `other` is the same endpoint: base URL, key and protocol.
    pub(super) fn is_same_as(&self, other: &EndpointSettings) -> bool {
        self.settings.id == other.id && self.settings.protocol == other.protocol
    }
}

fn policy(settings: &EndpointSettings, health: &config::HealthSettings) -> Policy {
    let billing = match settings.billing {
        config::Billing::PerToken => Billing::PerToken,
        config::Billing::PerRequest => Billing::PerRequest,
    };
    let seed = u64::from_str_radix(&settings.id.to_string(), 16).unwrap_or_default();
    Policy::new(billing)
        .with_failure_threshold(health.failure_threshold)
        .with_success_threshold(health.success_threshold)
        .with_backoff(Ticks::from_duration(health.backoff_base), Ticks::from_duration(health.backoff_max))
        .with_auth_backoff(
            Ticks::from_duration(health.auth_backoff_base),
            Ticks::from_duration(health.auth_backoff_max),
        )
        .with_quota_wait(Ticks::from_duration(health.quota_backoff))
        .with_seed(seed)
}
