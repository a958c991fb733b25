//! The program between a client and two endpoints: `a`, which misbehaves, is used before `b`, which
//! answers well.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::net::TcpStream;

use super::protocols::{Mode, Protocol};
use super::support::client::{RawReply, raw_request};
use super::support::proxy::named;
use super::support::{Answer, Cluster, Endpoint, Qcc, Raw, Recorded, Upstream, llm};

pub struct Rig {
    pub qcc: Qcc,
    pub a: Upstream,
    pub b: Upstream,
    pub protocol: Protocol,
}

/// What `b` says.
pub const OF_B: &str = "of-b";

/// A session each, so that none is kept where an earlier request went.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

pub fn session_headers() -> [String; 2] {
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    [format!("x-claude-code-session-id: session-{session}"), format!("session-id: session-{session}")]
}

pub fn endpoint(name: &str, upstream: &Upstream, protocol: Protocol) -> Endpoint {
    let endpoint = Endpoint::new(name, upstream);
    if protocol.is_openai() { endpoint.openai() } else { endpoint }
}

impl Rig {
    /// `posts` is how `a` answers; the model list it answers well.
    pub fn start(
        protocol: Protocol,
        posts: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
        configure: impl FnOnce(Cluster) -> Cluster,
    ) -> Self {
        Self::start_with(protocol, posts, |a| a, configure)
    }

    pub fn start_with(
        protocol: Protocol,
        posts: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
        endpoint_a: impl FnOnce(Endpoint) -> Endpoint,
        configure: impl FnOnce(Cluster) -> Cluster,
    ) -> Self {
        let a = Upstream::start(llm::on_post(posts));
        let b = Upstream::start(llm::on_post(move |request| protocol.well(Mode::of(request), OF_B)));
        let endpoints = [endpoint_a(endpoint("a", &a, protocol)), endpoint("b", &b, protocol)];
        let qcc = Qcc::start(&configure(Cluster::tiers(endpoints)));
        Self { qcc, a, b, protocol }
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, marker: &str, mode: Mode) -> Raw<TcpStream> {
        let body = self.protocol.request(marker, mode).to_string();
        self.send_body(self.protocol.path(), body.as_bytes()).await
    }

    pub async fn send_body(&self, path: &str, body: &[u8]) -> Raw<TcpStream> {
        let mut raw = Raw::connect(self.qcc.address()).await;
        let [one, two] = session_headers();
        let headers = ["content-type: application/json", "x-api-key: client-key", &one, &two];
        raw.send(raw_request("POST", path, self.qcc.address(), &headers, body)).await;
        raw
    }

    pub async fn ask(&self, marker: &str, mode: Mode) -> RawReply {
        self.send(marker, mode).await.read_reply().await.expect("a reply")
    }

    /// The status of an endpoint, from the document that `qcc status --json` prints.
    pub async fn status(&self, name: &str) -> Value {
        let status = self.control("GET", "/status").await;
        named(&status, name).unwrap_or_else(|| panic!("no endpoint {name} in the status"))
    }

    /// The status once every request that was sent there has its verdict.
    pub async fn settled(&self, name: &str, sent: u64) -> Value {
        self.status_when(name, &format!("has {sent} verdicts"), |status| {
            status["requests"]["sent"] == sent && status["in_flight"] == 0
        })
        .await
    }

    pub async fn status_when(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + super::support::LIMIT;
        loop {
            let status = self.status(name).await;
            if wanted(&status) {
                return status;
            }
            assert!(std::time::Instant::now() < deadline, "endpoint {name} {what}: {status:#}");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Forgets what speaks against an endpoint.
    pub async fn reset(&self, name: &str) {
        assert_eq!(self.control("POST", &format!("/endpoints/{name}/reset")).await["ok"], true);
    }

    async fn control(&self, method: &str, path: &str) -> Value {
        let mut raw = Raw::connect_unix(&self.qcc.home().socket_path()).await;
        raw.ask(raw_request(method, path, "qcc", &[], b"")).await.json()
    }
}
