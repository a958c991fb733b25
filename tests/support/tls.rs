//! TLS as upstreams have it: an authority of the tests' own, and a front that puts TLS before an upstream.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use super::upstream::{RUNTIME, Upstream};

struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = parameters.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(parameters, key);
    let names = ["localhost", "llm.example", "127.0.0.1"].map(String::from);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    Authority { pem, certificate: certificate.der().clone(), key: key.serialize_der() }
});

/// The authority's certificate, for a `ca_file`.
pub fn authority_pem() -> &'static str {
    &AUTHORITY.pem
}

/// The certificate of an authority that vouches for nobody here.
pub fn another_authority_pem() -> String {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn acceptor(protocols: &[&str]) -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(AUTHORITY.key.clone()).into();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![AUTHORITY.certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A TLS server on a free loopback port.
pub struct TlsServer {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: AbortHandle,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    handshakes: AtomicUsize,
}

impl TlsServer {
    /// Offers `protocols` by ALPN, and hands each connection to `serve` with its number.
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        protocols: &[&str],
        serve: impl Fn(TlsStream<TcpStream>, usize) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, counts, serve) = (acceptor(protocols), Arc::<Counts>::default(), Arc::new(serve));
        let counted = counts.clone();
        let task = RUNTIME.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                counted.accepted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, counted, serve) = (acceptor.clone(), counted.clone(), serve.clone());
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, counted.handshakes.fetch_add(1, Ordering::SeqCst)).await;
                    }
                });
            }
        });
        Self { address, counts, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handshakes that came to their end.
    pub fn handshakes(&self) -> usize {
        self.counts.handshakes.load(Ordering::SeqCst)
    }

    /// Connections, with or without a handshake.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS before an upstream, which speaks HTTP/1.1.
pub fn front(upstream: &Upstream) -> TlsServer {
    let to = upstream.address();
    TlsServer::start(&["http/1.1"], move |mut near, _| async move {
        if let Ok(mut far) = TcpStream::connect(to).await {
            let _ = far.set_nodelay(true);
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    })
}
