//! The endpoints, the proxy in front of them, and their settings.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::{Role, Simulated};
use super::load::Entrance;
use crate::admin::StatusDocument;
use crate::cli::exit::Failure;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Environment, parse_str};
use crate::prober;
use crate::proxy::{self, Acceptor, Proxy};
use crate::upstream::clients_max;

/// The waits of real life, shortened so that nobody sits through them.
const SETTINGS: &str = r#"
[clusters.demo]
listen = "127.0.0.1:0"
drain_timeout = "1s"

[clusters.demo.health]
failure_threshold = 2
backoff_base = "1s"
auth_backoff_base = "2s"
auth_backoff_max = "4s"
check_interval = "1s"
check_model = "demo-model"
"#;

/// The backoff of the first two trials is 3 s at most.
const RECOVERY_WITHIN: Duration = Duration::from_secs(8);

pub struct Scene {
    pub endpoints: Vec<Simulated>,
    pub cluster: Arc<Cluster>,
    pub entrance: Entrance,
    pub started_at: Timestamp,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Scene {
    pub async fn set() -> Result<Self, Failure> {
        let sequence = Arc::new(AtomicU64::new(0));
        let mut endpoints = Vec::new();
        for role in Role::ALL {
            endpoints.push(Simulated::start(role, sequence.clone()).await.map_err(Failure::failed)?);
        }
        let text = settings_text(&endpoints);
        let settings = parse_str(&text, Path::new("demo.toml"), &Environment::from_map([]))?;
        let clock = Clock::start();
        let cluster = Cluster::new(settings.cluster(None)?.clone(), clock).map_err(Failure::failed)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::failed)?;
        let address = listener.local_addr().map_err(Failure::failed)?;

        prober::start_round(&cluster).await;
        let (stop, stopped) = watch::channel(false);
        prober::spawn(cluster.clone(), stopped.clone());
        let acceptor = Acceptor::new("clients", clients_max());
        let serving = tokio::spawn(proxy::serve(Proxy::new(cluster.clone()), listener, acceptor, stopped));
        let entrance = Entrance { address, cluster: cluster.clone() };
        Ok(Self { endpoints, cluster, entrance, started_at: clock.shown_now(), stop, serving })
    }

    pub fn status(&self) -> StatusDocument {
        StatusDocument::of(&self.cluster, &self.entrance.address.to_string(), self.started_at)
    }

    /// Ends when flaky is in service again, or when it is too late for that: the account tells which.
    pub async fn flaky_is_back(&self) {
        let back = async {
            loop {
                let changed = self.cluster.changed();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_usable(&self.cluster, Role::Flaky.name()) {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(RECOVERY_WITHIN, back).await;
    }

    pub async fn end(self) {
        self.stop.send_replace(true);
        // A proxy that panicked has shown it by its answers.
        let _ = self.serving.await;
    }
}

pub fn is_usable(cluster: &Cluster, endpoint: &str) -> bool {
    let now = cluster.clock.now();
    cluster.roster().named(endpoint).is_some_and(|endpoint| endpoint.is_usable(now))
}

fn settings_text(endpoints: &[Simulated]) -> String {
    let mut text = SETTINGS.to_owned();
    for endpoint in endpoints {
        text.push_str(&endpoint_text(endpoint.role, endpoint.address));
    }
    text
}

fn endpoint_text(role: Role, address: SocketAddr) -> String {
    let name = role.name();
    let (billing, weight) = match role {
        Role::Good | Role::DeadKey => ("per-token", 100),
        // Each failure there costs a client a retry, of which there is a budget.
        Role::Flaky => ("per-token", 30),
        Role::Relay => ("per-request", 100),
    };
    format!(
        r#"
[[clusters.demo.endpoints]]
name = "{name}"
base_url = "http://{address}"
api_key = "demo-key-of-{name}"
billing = "{billing}"
weight = {weight}
"#
    )
}
