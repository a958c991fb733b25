//! The proxy: what comes in goes to an endpoint that is not known to be down, and the answer goes back
//! as it came.

mod answers;
mod attempts;
mod beginning;
mod connection;
mod exchange;
mod framing;
mod give_up;
mod guard;
mod held;
mod listen;
mod local;
mod outgoing;
mod relay;
mod request;
mod rewound;

pub use connection::serve_connection;
pub use framing::{Follower, Stop};
pub use guard::check_look;
pub use listen::serve;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::cluster::Cluster;
use outgoing::OutgoingBody;

/// A proxy in front of a cluster.
pub struct Proxy {
    cluster: Arc<Cluster>,
}

impl Proxy {
    /// A proxy in front of this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self { cluster })
    }

    /// Answers one request.
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<OutgoingBody> {
        let settings = self.cluster.settings();
        if let Err(refusal) = guard::check(&request, &settings) {
            return refusal.into_response(request.uri().path());
        }
        if let Some(answer) = local::open_answer(&request, &self.cluster) {
            return answer;
        }
        let path = request.uri().path().to_owned();
        if let Err(refusal) = guard::authorise(request.headers(), &settings) {
            return refusal.into_response(&path);
        }
        if let Some(answer) = local::answer(&request) {
            return answer;
        }
        match request::Incomer::read(request, &settings).await {
            Ok(incomer) => self.serve(incomer, &settings).await,
            Err(refusal) => refusal.into_response(&path),
        }
    }
}
