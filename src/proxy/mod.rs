//! The proxy: what comes in goes to an endpoint that is not known to be down, and the answer goes back
//! as it came.

mod accept;
mod answers;
mod attempts;
mod beginning;
mod bodies;
mod body;
mod charset;
mod clients;
mod connection;
mod cut;
mod exchange;
mod framing;
mod give_up;
mod guard;
mod handover;
mod held;
mod host;
mod idle;
mod listen;
mod local;
mod look;
mod outgoing;
mod passing;
mod patience;
mod prefix;
mod relay;
mod request;
mod rewound;
mod stalled;
mod target;
mod woken;

pub use accept::{Acceptor, Place};
pub use connection::serve_connection;
pub use cut::EndsAnswers;
pub use framing::{Follower, Stop};
pub use host::check_look;
pub use listen::serve;
pub use stalled::Taken;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::header::{HeaderValue, MAX_FORWARDS};
use hyper::{Method, Request, Response};

use crate::cluster::Cluster;
use bodies::BodyRoom;
use outgoing::OutgoingBody;

/// A proxy in front of a cluster.
pub struct Proxy {
    cluster: Arc<Cluster>,
    bodies: Arc<BodyRoom>,
    refusals: clients::Refusals,
}

impl Proxy {
    /// A proxy in front of this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self { cluster, bodies: Arc::default(), refusals: clients::Refusals::default() })
    }

    /// Answers one request.
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<OutgoingBody> {
        let is_head = request.method() == Method::HEAD;
        let answer = self.answer(request).await;
        if is_head { outgoing::without_text(answer) } else { answer }
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<OutgoingBody> {
        let settings = self.cluster.settings();
        let forwards_left = match guard::check(&request, &settings) {
            Ok(left) => left,
            Err(refusal) => return refusal.into_response(request.uri().path()),
        };
        if let Some(answer) = local::open_answer(&request, &self.cluster) {
            return local::unread(&request, answer);
        }
        let client = match clients::let_in(request.headers(), &settings, &self.cluster, &self.refusals) {
            Ok(client) => client,
            Err(refusal) => return local::unread(&request, refusal.into_response(request.uri().path())),
        };
        if let Some(answer) = local::answer(&request, forwards_left) {
            return local::unread(&request, answer);
        }
        if let Some(left) = forwards_left {
            request.headers_mut().insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
        }
        let (head, body) = request.into_parts();
        let answer = match request::Incomer::read(&head, body, client.clone(), &self.bodies, &settings).await
        {
            Ok(incomer) => self.serve(&incomer, &settings).await,
            Err(refusal) => refusal.into_response(head.uri.path()),
        };
        clients::log_answer(client.as_deref(), head.uri.path(), &answer);
        answer
    }
}
