//! No key of anybody's in anything that is written: canaries in every place a key can be, and every
//! place that text comes out searched for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod canary;
mod echoes;
mod files;
mod memory;
mod redirects;
mod sinks;
mod terminal;
