//! What the connections of all endpoints of a cluster have in common.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::super::OriginError;
use super::Network;
use crate::config::{CaFile, ClusterSettings, ProxyUrl};

/// How a cluster's endpoints are reached: the network, the proxy, who is trusted, how long it may take. Made once for
/// all of them, so that they share one TLS configuration and its sessions.
pub struct Egress<'a> {
    network: Arc<dyn Network>,
    settings: &'a ClusterSettings,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl<'a> Egress<'a> {
    /// Nothing is read yet.
    pub fn new(network: Arc<dyn Network>, settings: &'a ClusterSettings) -> Self {
        Self { network, settings, tls: OnceCell::new() }
    }

    pub(super) fn network(&self) -> Arc<dyn Network> {
        self.network.clone()
    }

    pub(super) fn connect_limit(&self) -> Duration {
        self.settings.timeouts.connect
    }

    pub(super) fn ca_file(&self) -> Option<&CaFile> {
        self.settings.ca_file.as_ref()
    }

    pub(in crate::upstream) fn proxy(&self) -> Option<&ProxyUrl> {
        self.settings.proxy.as_ref()
    }

    /// The TLS configuration, made for the first https endpoint.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, OriginError> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(tls_config(self.ca_file())?);
        Ok(self.tls.get_or_init(|| config).clone())
    }
}

fn tls_config(ca_file: Option<&CaFile>) -> Result<ClientConfig, OriginError> {
    let unusable = |error: tokio_rustls::rustls::Error| OriginError(format!("TLS can't be set up: {error}"));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    // In the order of our preference (RFC 7301 §3.2; the names are those of RFC 9113 §3.2).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The platform's certificates and those of `ca_file`. A platform without any will do where the file has some.
fn roots(ca_file: Option<&CaFile>) -> Result<RootCertStore, OriginError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // What a platform has besides valid certificates is not ours to complain about.
    let _ = roots.add_parsable_certificates(found.certs);
    for certificate in ca_file.map(CaFile::certificates).unwrap_or_default() {
        roots
            .add(certificate.clone())
            .map_err(|error| OriginError(format!("a certificate of ca_file can't be used: {error}")))?;
    }
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(OriginError(format!(
            "no root certificates were found on this machine{why}; install the package ca-certificates, or \
             set ca_file"
        )));
    }
    Ok(roots)
}
