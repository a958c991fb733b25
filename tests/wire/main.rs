//! The wire facts, shown over real sockets: how each outcome counts, what a cut leaves of a stream, that
//! every byte passes, and how soon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bytes;
mod committing;
mod content;
mod counting;
mod cuts;
mod differences;
mod doubling;
mod error_events;
mod exchanges;
mod leaving;
mod promptness;
mod protocols;
mod rig;
mod shown;
mod statuses;
mod streams;
mod table;
mod transparency;
mod unchanged;
mod words;
