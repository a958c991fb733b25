//! Hostile clients: what goes up is what one well-formed request says, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod corpus;
mod egress;
mod headers;
mod interim;
mod loops;
mod raw;
mod targets;
mod tokens;

use support::{Cluster, Endpoint, Qcc, Recorder};

/// No checks, so that all bytes that the recorder sees are of clients.
fn endpoint(recorder: &Recorder) -> Endpoint {
    Endpoint::at("a", &recorder.url()).per_request()
}

fn started(recorder: &Recorder) -> Qcc {
    Qcc::start(&Cluster::tiers([endpoint(recorder)]))
}
