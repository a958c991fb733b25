//! A proxy in front of a cluster of LLM API endpoints.

pub mod config;
