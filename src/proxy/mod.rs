//! The proxy: what comes in goes to an endpoint that is not known to be down, and the answer goes back
//! as it came.

mod answers;
mod attempts;
mod guard;
mod held;
mod listen;
mod local;
mod outgoing;
mod relay;
mod request;

pub use listen::serve;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::cluster::Cluster;
use crate::config::ClusterSettings;
use outgoing::OutgoingBody;

/// A proxy in front of a cluster.
pub struct Proxy {
    cluster: Arc<Cluster>,
    settings: ArcSwap<ClusterSettings>,
}

impl Proxy {
    /// A proxy that goes by these settings.
    pub fn new(cluster: Arc<Cluster>, settings: Arc<ClusterSettings>) -> Arc<Self> {
        Arc::new(Self { cluster, settings: ArcSwap::new(settings) })
    }

    /// Goes by other settings from the next request on.
    pub fn reload(&self, settings: Arc<ClusterSettings>) {
        self.settings.store(settings);
    }

    /// Answers one request.
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<OutgoingBody> {
        let settings = self.settings.load_full();
        if let Err(refusal) = guard::check(&request, &settings) {
            return refusal.into_response(request.uri().path());
        }
        if let Some(answer) = local::answer(&request, &self.cluster) {
            return answer;
        }
        let path = request.uri().path().to_owned();
        if let Err(refusal) = guard::authorise(request.headers(), &settings) {
            return refusal.into_response(&path);
        }
        match request::Incomer::read(request, &settings).await {
            Ok(incomer) => self.serve(incomer, &settings).await,
            Err(refusal) => refusal.into_response(&path),
        }
    }
}
