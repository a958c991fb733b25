//! Sessions stay where their prompt is cached.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod hits;
mod moving;
mod naming;

use reqwest::RequestBuilder;
use serde_json::Value;
use support::{Client, Cluster, Endpoint, Qcc, Reply, Upstream, exchange, llm};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Endpoints of one tier, `a` first.
fn cluster(upstreams: &[Upstream]) -> Cluster {
    let named = NAMES.iter().zip(upstreams);
    named.fold(Cluster::new("work"), |cluster, (name, upstream)| {
        cluster.endpoint(Endpoint::new(name, upstream))
    })
}

fn upstreams(count: usize) -> Vec<Upstream> {
    (0..count).map(|_| Upstream::healthy()).collect()
}

fn started(cluster: &Cluster) -> (Qcc, Client) {
    let qcc = Qcc::start(cluster);
    let client = Client::of(&qcc);
    (qcc, client)
}

fn of_session(client: &Client, session: &str, body: &Value) -> RequestBuilder {
    client.post("/v1/messages", body).header("X-Claude-Code-Session-Id", session)
}

async fn ask(client: &Client, session: &str) -> Reply {
    exchange(of_session(client, session, &llm::message("turn"))).await
}

/// The endpoint that serves the session now.
async fn served_by(client: &Client, session: &str) -> String {
    let reply = ask(client, session).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.endpoint().to_owned()
}

/// A session that is at home there; which one that is depends on the ports of the upstreams.
async fn session_at(client: &Client, endpoint: &str) -> String {
    for number in 0..200 {
        let session = format!("session-{number}");
        if served_by(client, &session).await == endpoint {
            return session;
        }
    }
    panic!("none of 200 sessions is at home in {endpoint}");
}
