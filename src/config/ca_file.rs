//! Certificates that are trusted besides the platform's.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::error::Fault;
use super::files;
use super::paths::{Environment, Outside};

/// Largest file: all certificates that a platform trusts are a quarter of it.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The certificates of a `ca_file`, at least one, each fit to sign others.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    path: PathBuf,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl CaFile {
    /// The certificates, in the order of the file.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl fmt::Debug for CaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaFile({}, {} certificates)", self.path.display(), self.certificates.len())
    }
}

/// Reads the file; a relative path starts at `directory`.
pub(super) fn read(path: &str, environment: &Environment, directory: &Path) -> Result<CaFile, Fault> {
    if environment.outside == Outside::Closed {
        return Err(Fault::new("certificates are not read from files here"));
    }
    let path = environment
        .expand(path, directory)
        .ok_or_else(|| Fault::new("`~` stands for nothing here: HOME is not set"))?;
    let shown = path.display();
    let failed = |error: io::Error| Fault::new(format!("{shown} can't be read: {error}"));
    let file = files::open_regular(&path).map_err(failed)?;
    let file = file.ok_or_else(|| Fault::new(format!("{shown} is not a regular file")))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(Fault::new(format!("{shown} is larger than 1 MiB")));
    }
    let certificates = certificates(&bytes).map_err(|what| {
        Fault::new(format!("{shown} {what}"))
            .help("it must hold certificates in PEM form, each between BEGIN CERTIFICATE and END CERTIFICATE")
    })?;
    Ok(CaFile { path, certificates })
}

fn certificates(pem: &[u8]) -> Result<Arc<[CertificateDer<'static>]>, &'static str> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "is not valid PEM")?;
        store.add(certificate.clone()).map_err(|_| "holds a certificate that is not valid")?;
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err("holds no certificate") } else { Ok(certificates.into()) }
}
