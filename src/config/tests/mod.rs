//! Tests of the room as a whole; those of single values are beside them.

pub mod files;
mod fuzz;
mod problems;
mod table;

use std::path::Path;

use super::{ConfigError, Environment, Settings, parse_str};

/// A key that must never appear in a message.
const CANARY: &str = "sk-canary-4f9d27c1b86e5a30Qz7X";

/// A cluster with one endpoint, and room for one more line in each table.
fn file(cluster_line: &str, endpoint_line: &str) -> String {
    format!(
        r#"[clusters.work]
{cluster_line}

[[clusters.work.endpoints]]
name = "main"
base_url = "https://api.anthropic.com"
api_key = "{CANARY}"
{endpoint_line}
"#
    )
}

fn parse(text: &str) -> Result<Settings, ConfigError> {
    let environment =
        Environment::from_map([("HOME", "/home/u"), ("MAIN_KEY", "sk-main"), ("TOKEN", "token-1")]);
    parse_str(text, Path::new("/c/config.toml"), &environment)
}

/// The message about a text that must be refused.
fn message(text: &str) -> String {
    let shown = parse(text).expect_err(text).to_string();
    assert!(!shown.contains(CANARY), "{shown}");
    shown
}

/// A certificate authority's certificate, in PEM form.
fn authority() -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    parameters.self_signed(&key).unwrap().pem()
}
