//! The configuration: no bytes make it panic, and no error repeats a key.

use std::path::Path;

use qcc::config::{Environment, parse_str};

/// Stands for a key. A corpus file that holds it as a literal must not see it again in an error.
const CANARY: &str = "sk-canary-7f3a";

/// Parses the bytes as a configuration file; no secret is read from a file or asked of a command.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let environment = Environment::closed([("KEY", CANARY)]);
    match parse_str(&text, Path::new("fuzz.toml"), &environment) {
        Ok(settings) => {
            for cluster in settings.clusters.values() {
                assert!(!cluster.endpoints.is_empty(), "a cluster without endpoints");
                assert!(cluster.listen.ip().is_loopback() || !cluster.client_tokens.is_empty());
                assert!(!format!("{cluster:?}").contains(CANARY), "a key in Debug");
            }
        }
        Err(error) => assert!(!error.to_string().contains(CANARY), "a key in an error"),
    }
}
