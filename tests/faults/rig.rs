//! The program between clients and two upstreams: `a`, which breaks, is used before `b`, which answers well.

use serde_json::Value;
use tokio::net::TcpStream;

use super::kinds::{Kind, Messages, MessagesStreamedGzip};
use super::support::client::{RawReply, raw_request};
use super::support::faults::{Act, Delimited, Faulty, Taken, says};
use super::support::proxy::named;
use super::support::{Cluster, Endpoint, Qcc, Raw};

pub struct Rig {
    pub qcc: Qcc,
    pub a: Faulty,
    pub b: Faulty,
    is_openai: bool,
}

/// Answers every call well, each in the form of its path and its body.
pub fn well(kinds: &'static [Kind], from: &'static str) -> impl Fn(&Taken) -> Vec<Act> {
    move |taken| {
        let asked =
            |kind: &&Kind| taken.is_for(kind.path()) && taken.head.header("x-kind") == Some(kind.name());
        let kind =
            kinds.iter().find(asked).copied().unwrap_or(if taken.is_get() { Kind::Models } else { Messages });
        says(kind.scene(kind.usual(), from).bytes)
    }
}

impl Kind {
    /// What `x-kind` says.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Messages => "messages",
            Kind::MessagesStreamed => "messages-streamed",
            Kind::MessagesStreamedGzip => "messages-streamed-gzip",
            Kind::Chat => "chat",
            Kind::ChatStreamed => "chat-streamed",
            Kind::Responses => "responses",
            Kind::ResponsesStreamed => "responses-streamed",
            Kind::CountTokens => "count-tokens",
            Kind::Models => "models",
        }
    }

    /// How such answers mostly come.
    pub fn usual(self) -> Delimited {
        if self.is_streamed() && self != MessagesStreamedGzip { Delimited::Chunks } else { Delimited::Length }
    }
}

/// What an endpoint is billed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    PerToken,
    PerRequest,
}

pub const KINDS: &[Kind] = &[
    Kind::Messages,
    Kind::MessagesStreamed,
    Kind::MessagesStreamedGzip,
    Kind::Chat,
    Kind::ChatStreamed,
    Kind::Responses,
    Kind::ResponsesStreamed,
    Kind::CountTokens,
    Kind::Models,
];

impl Rig {
    pub fn start(openai: bool, billing: Billing, configure: impl FnOnce(Cluster) -> Cluster) -> Self {
        Self::over(Faulty::start(well(KINDS, "a")), openai, billing, configure)
    }

    pub fn over(
        a: Faulty,
        openai: bool,
        billing: Billing,
        configure: impl FnOnce(Cluster) -> Cluster,
    ) -> Self {
        let b = Faulty::start(well(KINDS, "b"));
        let endpoint = |name, upstream: &Faulty| {
            let endpoint = Endpoint::at(name, &upstream.url());
            let endpoint = if openai { endpoint.openai() } else { endpoint };
            if billing == Billing::PerRequest { endpoint.per_request() } else { endpoint }
        };
        let cluster = Cluster::tiers([endpoint("a", &a), endpoint("b", &b)])
            .health("failure_threshold = 15")
            .health("ratio_min_samples = 10000");
        Self { qcc: Qcc::start(&configure(cluster)), a, b, is_openai: openai }
    }

    pub fn request(&self, kind: Kind, id: &str) -> Vec<u8> {
        let target = format!("{}?shot={id}", kind.path());
        let x_kind = format!("x-kind: {}", kind.name());
        let headers =
            ["content-type: application/json", "x-api-key: client-key", "anthropic-version: 1", &x_kind];
        // Whose models are asked for is told by the header that only one vendor's clients send.
        let headers = if kind.is_openai() { &headers[..1] } else { &headers[..] };
        let headers: Vec<&str> = headers.iter().copied().chain([x_kind.as_str()]).collect();
        raw_request(kind.method(), &target, self.qcc.address(), &headers, kind.request().as_bytes())
    }

    /// On a connection of its own.
    pub async fn send(&self, kind: Kind, id: &str) -> Raw<TcpStream> {
        let mut raw = Raw::connect(self.qcc.address()).await;
        raw.send(self.request(kind, id)).await;
        raw
    }

    pub async fn ask(&self, kind: Kind, id: &str) -> RawReply {
        self.send(kind, id).await.read_reply().await.expect("a reply")
    }

    pub async fn earn_retries(&self, count: usize) {
        let unserved = if self.is_openai { "/v1/messages" } else { "/v1/embeddings" };
        earn_retries(&self.qcc, unserved, count).await;
    }

    pub async fn status(&self, name: &str) -> Value {
        let status = self.control("GET", "/status").await;
        named(&status, name).unwrap_or_else(|| panic!("no endpoint {name} in the status"))
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

/// Sends requests that no endpoint serves: of so many requests a fifth may be repeated.
pub async fn earn_retries(qcc: &Qcc, unserved: &str, count: usize) {
    // A few more, since they are forgotten before the retries that they are for.
    let requests = 6 * count;
    let mut raw = Raw::connect(qcc.address()).await;
    raw.send(raw_request("POST", unserved, qcc.address(), &[], br#"{"model":"none"}"#).repeat(requests))
        .await;
    for _ in 0..requests {
        assert_eq!(raw.read_reply().await.expect("a reply").head.header("x-qcc-error"), Some("no_endpoint"));
    }
}
