//! What passes, what is written anew, where a request goes and what its client gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod choosing;
mod encoded;
mod failover;
mod framing;
mod headers;
mod local;
mod model_map;
mod models;
mod money;
mod rate_limits;
mod streams;
mod unavailable;

use support::{Client, Cluster, Endpoint, Qcc, Upstream};

fn started(cluster: Cluster) -> (Qcc, Client) {
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    (qcc, client)
}

/// `a` is used before `b`.
fn two(a: &Upstream, b: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", a), Endpoint::new("b", b)])
}
