//! How an endpoint leaves service and what alone brings it back, by the method that found it out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod chat;
mod model_list;
mod network;
mod per_request;
mod ratio;
mod settings;

use serde_json::Value;
use support::{Client, Cluster, Endpoint, Qcc, Upstream};

/// One endpoint alone, whose checks come within a fraction of a second.
fn alone(upstream: &Upstream) -> (Qcc, Client) {
    started(Cluster::tiers([Endpoint::new("a", upstream)]).quick_recovery())
}

fn started(cluster: Cluster) -> (Qcc, Client) {
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    (qcc, client)
}

#[track_caller]
fn assert_benched(endpoint: &Value, cause: &str, method: &str) {
    // A check may be under way at any moment.
    assert!(endpoint["state"] == "unhealthy" || endpoint["state"] == "recovering", "{endpoint:#}");
    assert_eq!(
        (&endpoint["cause"], &endpoint["check_method"]),
        (&cause.into(), &method.into()),
        "{endpoint:#}"
    );
    assert_eq!(endpoint["usable"], false, "{endpoint:#}");
}

fn count(endpoint: &Value, group: &str, field: &str) -> u64 {
    endpoint[group][field].as_u64().unwrap_or_else(|| panic!("no {group}.{field}: {endpoint:#}"))
}
