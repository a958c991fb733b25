//! The endpoints of one configuration, by tier.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use qcc_fsm::AdminCommand;

use super::Endpoint;
use super::kind::Kind;
use crate::clock::Clock;
use crate::config::{ClusterSettings, EndpointSettings, Protocol};
use crate::upstream::{Egress, Network, OriginError};

/// The endpoints, the lowest priority number first. It never changes: a reload makes a new one.
pub struct Roster {
    endpoints: Vec<Arc<Endpoint>>,
    tiers: Vec<TierBounds>,
    in_file_order: Vec<usize>,
    /// What the file says anew of endpoints that were there before.
    commands: Vec<(usize, AdminCommand)>,
}

struct TierBounds {
    endpoints: Range<usize>,
    kinds: Vec<Kind>,
}

/// The endpoints of one priority.
#[derive(Clone, Copy)]
pub(super) struct Tier<'a> {
    /// All of them; never empty.
    pub endpoints: &'a [Arc<Endpoint>],
    /// The same by what they serve.
    pub kinds: &'a [Kind],
}

/// An endpoint that can't be set up.
#[derive(Debug)]
pub struct BuildError {
    endpoint: String,
    why: OriginError,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {}: {}", self.endpoint, self.why)
    }
}

impl std::error::Error for BuildError {}

impl Roster {
    /// The endpoints of these settings, with the health that `old` knows of them.
    ///
    /// # Errors
    /// When an endpoint can't be set up.
    pub fn build(
        settings: &ClusterSettings,
        network: &Arc<dyn Network>,
        clock: Clock,
        old: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let mut order: Vec<usize> = (0..settings.endpoints.len()).collect();
        order.sort_by_key(|&index| settings.endpoints[index].priority);
        let egress = Egress::new(network.clone(), settings);
        let endpoints = order
            .iter()
            .map(|&index| {
                build_endpoint(&settings.endpoints[index], settings, clock, old, &egress).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let commands = endpoints.iter().enumerate();
        let commands = commands
            .filter_map(|(place, endpoint)| {
                Some((place, changed_will(endpoint, known(old, &endpoint.settings)?)?))
            })
            .collect();
        let mut in_file_order: Vec<usize> = (0..order.len()).collect();
        in_file_order.sort_by_key(|&place| order[place]);
        Ok(Self { tiers: tiers(&endpoints), endpoints, in_file_order, commands })
    }

    /// All endpoints, by priority.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// All endpoints in the order of the configuration file, which is the order people know.
    pub fn in_file_order(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.in_file_order.iter().map(|&place| &self.endpoints[place])
    }

    /// The endpoints that the file enables or disables, other than it did before: what it says counts
    /// when it changes; between reloads an operator's command stands.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&Arc<Endpoint>, AdminCommand)> {
        self.commands.iter().map(|&(place, command)| (&self.endpoints[place], command))
    }

    /// The endpoints that were there before and knew models by other names: they have not been asked for
    /// the new ones.
    pub(super) fn renamed_since<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        self.endpoints.iter().filter(|endpoint| {
            let known = known(Some(old), &endpoint.settings);
            known.is_some_and(|known| known.settings.model_map != endpoint.settings.model_map)
        })
    }

    /// The endpoints of each priority, the first one used first.
    pub(super) fn tiers(&self) -> impl Iterator<Item = Tier<'_>> {
        self.tiers
            .iter()
            .map(|bounds| Tier { endpoints: &self.endpoints[bounds.endpoints.clone()], kinds: &bounds.kinds })
    }

    /// Whether some endpoint speaks this protocol.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.kinds().any(|kind| kind.serves(protocol, None))
    }

    /// Lists an endpoint as its word has it now. For one caller at a time.
    pub(super) fn relist(&self, endpoint: &Endpoint) {
        let _ = self.kinds().any(|kind| kind.relist(endpoint));
    }

    /// Lists all endpoints anew. For one caller at a time.
    pub(super) fn relist_all(&self) {
        self.kinds().for_each(Kind::relist_all);
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.tiers.iter().flat_map(|tier| &tier.kinds)
    }

    /// The endpoint of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.name() == name)
    }
}

fn build_endpoint(
    settings: &EndpointSettings,
    cluster: &ClusterSettings,
    clock: Clock,
    old: Option<&Roster>,
    egress: &Egress<'_>,
) -> Result<Endpoint, BuildError> {
    let known = known(old, settings);
    let endpoint = Endpoint::new(settings, cluster, known.map(Arc::as_ref), clock, egress)
        .map_err(|why| BuildError { endpoint: settings.name.clone(), why })?;
    if known.is_none() && !settings.enabled {
        let _ = endpoint.vitals.cell.command(AdminCommand::Disable, clock.now(), &endpoint.policy);
    }
    Ok(endpoint)
}

fn known<'a>(old: Option<&'a Roster>, settings: &EndpointSettings) -> Option<&'a Arc<Endpoint>> {
    old?.kinds().find_map(|kind| kind.find(settings.id, |endpoint| endpoint.is_same_as(settings)))
}

fn changed_will(endpoint: &Endpoint, known: &Endpoint) -> Option<AdminCommand> {
    match (known.settings.enabled, endpoint.settings.enabled) {
        (true, false) => Some(AdminCommand::Disable),
        (false, true) => Some(AdminCommand::Enable),
        (true, true) | (false, false) => None,
    }
}

fn tiers(endpoints: &[Arc<Endpoint>]) -> Vec<TierBounds> {
    let mut tiers = Vec::new();
    let mut start = 0;
    for tier in endpoints.chunk_by(|a, b| a.settings.priority == b.settings.priority) {
        let range = start..start + tier.len();
        start = range.end;
        tiers.push(TierBounds { endpoints: range, kinds: Kind::among(tier) });
    }
    tiers
}
