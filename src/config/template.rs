//! What `qcc config init` writes.

/// A first configuration file: one cluster with one endpoint, and the settings that are most often
/// wanted as comments. Holds no secret, so that its mode doesn't matter.
pub const TEMPLATE: &str = r#"# Configuration of qcc. `qcc config check` tells what is wrong with it.
# Every key and its default: docs/configuration.md. A running proxy reads it again on SIGHUP.

[clusters.work]
#listen = "127.0.0.1:7860"
#queue_timeout = "10s"          # how long a request waits when no endpoint is usable
#max_attempts = 4               # most endpoints that one request is sent to
#admin_listen = "127.0.0.1:7861"  # metrics and a status page

[[clusters.work.endpoints]]
name = "main"
base_url = "https://api.anthropic.com"   # without /v1
# or { file = "~/main.key" }, or { command = ["pass", "show", "main"] }:
api_key = { env = "ANTHROPIC_API_KEY" }

# A second endpoint, used when no endpoint of priority 1 is usable:
#[[clusters.work.endpoints]]
#name = "relay"
#base_url = "https://relay.example/anthropic"
#api_key = { env = "RELAY_API_KEY" }
#protocol = "anthropic"         # or "openai"
#billing = "per-request"        # no checks are sent, since each would be paid
#priority = 2                   # 1 is used first
#weight = 100                   # share of the traffic within its priority
#models = ["claude-*"]          # only these; default: all
"#;
