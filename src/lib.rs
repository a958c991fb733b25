//! A proxy in front of a cluster of LLM API endpoints that sends nothing to an endpoint known to be down.
//!
//! Which room does what, and which way it may look, is in `docs/ARCHITECTURE.md`.

pub mod admin;
mod alarm;
pub mod answer;
pub mod app;
mod charset;
pub mod chunked;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod exchange;
pub mod fields;
pub mod prober;
pub mod process;
pub mod proxy;
mod slots;
pub mod text;
pub mod upstream;
