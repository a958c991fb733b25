//! The command line, the life of the process, the control socket and the admin address.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod clients;
mod configuration;
mod control;
mod lifecycle;
mod reload;
mod status;

use support::{Cluster, Endpoint, Upstream};

fn one(upstream: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", upstream)])
}

/// `a` is used before `b`.
fn two(a: &Upstream, b: &Upstream) -> Cluster {
    Cluster::tiers([Endpoint::new("a", a), Endpoint::new("b", b)])
}
