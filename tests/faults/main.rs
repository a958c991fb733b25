//! Upstreams that break, lie and fall silent, at every byte: what the client is told, what was sent where, and what
//! the endpoint's verdict is. The ledgers of the upstreams tell how often each request was accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod all_failing;
mod answers_cut;
mod floods;
mod idle;
mod kinds;
mod lies;
mod mixing;
mod over_http2;
mod requests_cut;
mod rig;
mod silence;
