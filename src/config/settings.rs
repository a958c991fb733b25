//! What the rest of the program gets from a configuration: types whose values are all valid.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::ca_file::CaFile;
use super::choices::{AuthForm, Billing, Protocol, RetryAmbiguous};
use super::client_token::{self, ClientToken};
use super::error::{ConfigError, Fault, nearest};
use super::glob::ModelGlob;
use super::model_map::ModelMap;
use super::proxy_url::ProxyUrl;
use super::secret::{EndpointId, Secret};
use super::values;

/// What a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub path: PathBuf,
    /// Every cluster of the file, sorted.
    pub names: Vec<String>,
    /// The clusters whose secrets were asked for: all of them, or one.
    pub clusters: BTreeMap<String, ClusterSettings>,
}

/// One cluster: an address for clients, and the endpoints behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    pub name: String,
    /// Not loopback only where there are client tokens. Port 0 asks for any free one.
    pub listen: SocketAddr,
    /// Names are unique, and so are the tokens.
    pub client_tokens: Vec<ClientToken>,
    /// In lower case, without ports.
    pub allowed_hosts: Vec<String>,
    /// Zero: a request doesn't wait.
    pub queue_timeout: Duration,
    pub drain_timeout: Duration,
    /// 1 KiB to 1 GiB.
    pub max_body_bytes: u64,
    /// `max_body_bytes` to 1 GiB.
    pub max_bodies_bytes: u64,
    /// 1 to 32.
    pub max_attempts: u32,
    pub commit_after: Duration,
    /// Zero: a session returns as soon as it can.
    pub session_ttl: Duration,
    pub retry_ambiguous: RetryAmbiguous,
    /// Always loopback.
    pub admin_listen: Option<SocketAddr>,
    /// Trusted besides the platform's certificates.
    pub ca_file: Option<CaFile>,
    pub proxy: Option<ProxyUrl>,
    pub health: HealthSettings,
    pub timeouts: Timeouts,
    /// In the order of the file, at least one; names and ids are unique.
    pub endpoints: Vec<EndpointSettings>,
}

/// When an endpoint is taken out of service, and how it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// 1 to 15.
    pub failure_threshold: u8,
    /// 1 to 7.
    pub success_threshold: u8,
    pub backoff_base: Duration,
    /// At least `backoff_base`.
    pub backoff_max: Duration,
    pub auth_backoff_base: Duration,
    /// At least `auth_backoff_base`.
    pub auth_backoff_max: Duration,
    pub quota_backoff: Duration,
    pub check_interval: Duration,
    pub check_timeout: Duration,
    pub check_model: Option<String>,
    /// Zero: the full share at once.
    pub slow_start: Duration,
    pub ratio_window: Duration,
    /// 1 to 10,000.
    pub ratio_min_samples: u32,
    /// 1 to 1,000,000.
    pub ratio_threshold_millionths: u32,
}

/// Limits of one exchange; none is zero or above 24 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub answer: Duration,
    pub idle: Duration,
    pub client_header: Duration,
}

/// One endpoint: an address and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    pub name: String,
    pub id: EndpointId,
    pub base_url: BaseUrl,
    pub api_key: Secret,
    pub protocol: Protocol,
    pub billing: Billing,
    /// 1 is used first.
    pub priority: u32,
    /// 1 to 1000.
    pub weight: u32,
    /// By the host where the file doesn't say.
    pub auth: AuthForm,
    /// Empty: every model.
    pub models: Vec<ModelGlob>,
    /// Its own names for models.
    pub model_map: ModelMap,
    pub enabled: bool,
}

impl Settings {
    /// The name given, if the file has that cluster, or the name of its only one.
    ///
    /// # Errors
    /// Has the nearest name or all of them.
    pub fn cluster_name<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ConfigError> {
        let (path, names) = (self.path.clone(), self.names.clone());
        match (name, self.names.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(ConfigError::ClusterNotNamed { path, names }),
            (Some(name), known) if known.iter().any(|known| known == name) => Ok(name),
            (Some(name), known) => {
                let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
                Err(ConfigError::UnknownCluster { path, name: name.to_owned(), names, nearest })
            }
        }
    }

    /// The cluster of that name, or the only one.
    ///
    /// # Errors
    /// As [`Settings::cluster_name`]; a cluster that was not asked for when loading counts as unknown.
    pub fn cluster(&self, name: Option<&str>) -> Result<&ClusterSettings, ConfigError> {
        let name = self.cluster_name(name)?;
        self.clusters.get(name).ok_or_else(|| ConfigError::UnknownCluster {
            path: self.path.clone(),
            name: name.to_owned(),
            names: self.clusters.keys().cloned().collect(),
            nearest: None,
        })
    }
}

impl ClusterSettings {
    /// The client token that was presented, if it is one. The time taken tells nothing of the tokens.
    pub fn client_token(&self, presented: &[u8]) -> Option<&ClientToken> {
        client_token::find(&self.client_tokens, presented)
    }

    /// Puts the address of `--listen` in place of the file's.
    ///
    /// # Errors
    /// It is no address, or not loopback while there are no client tokens.
    pub fn override_listen(&mut self, text: &str) -> Result<(), ConfigError> {
        self.listen = values::address(text)
            .and_then(|listen| check_listen(listen, self.client_tokens.len()).map(|()| listen))
            .map_err(|fault| ConfigError::Listen { cluster: self.name.clone(), fault })?;
        Ok(())
    }

    /// Puts the address that a running proxy listens on in place of the file's, which is taken up at the
    /// next start only.
    ///
    /// # Errors
    /// It is not loopback while there are no client tokens.
    pub fn keep_listening_on(&mut self, listening: SocketAddr) -> Result<(), ConfigError> {
        check_listen(listening, self.client_tokens.len())
            .map_err(|fault| ConfigError::StillListening { listening, fault })?;
        self.listen = listening;
        Ok(())
    }
}

impl EndpointSettings {
    /// Whether requests for the model may be sent to it.
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|glob| glob.matches(model))
    }
}

/// An address that others can reach would let them spend the keys.
pub(super) fn check_listen(listen: SocketAddr, client_tokens: usize) -> Result<(), Fault> {
    if listen.ip().is_loopback() || client_tokens > 0 {
        return Ok(());
    }
    Err(Fault::new(
        "is not loopback and there are no client_tokens: anybody who reaches it could use the keys",
    )
    .help("set client_tokens = [{ env = \"…\" }], or listen on 127.0.0.1"))
}
