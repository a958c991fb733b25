//! The configuration: one file, some environment variables and a few flags become [`Settings`] that
//! are valid by construction.
//!
//! Nothing else in the program reads the environment or a file of settings. Every key with its
//! default is in `keys.rs`, which docs/configuration.md is written from. From the file to the
//! settings:
//!
//! ```text
//! load (file, mode) → read (TOML beside the keys) → assemble (what must hold together) → Settings
//!                       values, base_url, glob        secret_form → secret_source, ca_file
//! ```

mod assemble;
mod base_url;
mod ca_file;
mod choices;
mod client_token;
mod docs;
mod error;
mod files;
mod glob;
mod keys;
mod load;
mod mask;
mod model_map;
mod paths;
mod proxy_url;
mod read;
mod schema;
mod secret;
mod secret_form;
mod secret_source;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod values;

pub use base_url::{BASE_URL_BYTES_MAX, BaseUrl, Scheme};
pub use ca_file::CaFile;
pub use choices::{AuthForm, Billing, Protocol, RetryAmbiguous};
pub use client_token::ClientToken;
pub use docs::markdown;
pub use error::{ConfigError, Fault, Problem, printable};
pub use glob::ModelGlob;
pub use load::parse_str;
pub use model_map::ModelMap;
pub use paths::Environment;
pub use proxy_url::ProxyUrl;
pub use secret::{EndpointId, Secret};
pub use settings::{ClusterSettings, EndpointSettings, HealthSettings, Settings, Timeouts};
pub use template::TEMPLATE;
