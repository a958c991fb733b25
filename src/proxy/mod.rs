//! The proxy: what comes in goes to an endpoint that is not known to be down, and the answer goes back
//! as it came.

mod accept;
mod answers;
mod attempts;
mod beginning;
mod bodies;
mod body;
mod buffers;
mod clients;
mod connection;
mod cut;
mod exchange;
mod give_up;
mod guard;
mod handover;
mod head;
mod held;
mod host;
mod http1;
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
pub use host::check_look;
pub use http1::{Framing, Head, Refusal};
pub use listen::serve;
pub use stalled::Taken;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};

use crate::alarm::Alarm;
use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::config::ClusterSettings;
use crate::upstream::ReplayBody;
use answers::OwnAnswer;
use bodies::BodyRoom;
use body::{Frames, read_body};
use head::RequestHead;
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

    /// Answers one request over HTTP/2.
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<OutgoingBody> {
        let mut head = RequestHead::from(&request);
        let body = Frames::of(request.into_body());
        let settings = self.cluster.settings();
        let answer = match self.admit(&mut head, &settings) {
            Ok(client) => {
                let body = read_body(body, &self.bodies, &settings, &mut Alarm::default()).await;
                self.answer(&head, body, client, &settings).await
            }
            Err(answer) => answer,
        };
        let is_head = head.method == Method::HEAD;
        if is_head { outgoing::without_text(answer) } else { answer }.into()
    }

    /// Lets a request in whose head is fine, and gives the name of the token that it came with. Counts down how often it
    /// may be forwarded, where it says so.
    ///
    /// # Errors
    /// The answer to a request that is refused, or answered here: its body is not read.
    #[allow(clippy::result_large_err, reason = "it is an answer as well, and goes where all answers go")]
    fn admit(
        &self,
        head: &mut RequestHead,
        settings: &ClusterSettings,
    ) -> Result<Option<Arc<str>>, Answer<OutgoingBody>> {
        let path = head.uri.path();
        let forwards_left = guard::check(head, settings).map_err(|refusal| refusal.on_path(path))?;
        if let Some(answer) = local::open_answer(head, &self.cluster) {
            return Err(answer);
        }
        let client = clients::let_in(&head.fields, settings, &self.cluster, &self.refusals)
            .map_err(|refusal| refusal.on_path(path))?;
        if let Some(answer) = local::answer(head, forwards_left) {
            return Err(answer);
        }
        if let Some(left) = forwards_left {
            head.fields.set("max-forwards", left.saturating_sub(1).to_string());
        }
        Ok(client)
    }

    /// Answers a request that was let in, once its body was read.
    async fn answer(
        self: &Arc<Self>,
        head: &RequestHead,
        body: Result<ReplayBody, OwnAnswer>,
        client: Option<Arc<str>>,
        settings: &ClusterSettings,
    ) -> Answer<OutgoingBody> {
        let answer = match body.and_then(|body| request::Incomer::new(head, body, client.clone())) {
            Ok(incomer) => self.serve(&incomer, settings).await,
            Err(refusal) => refusal.on_path(head.uri.path()),
        };
        clients::log_answer(client.as_deref(), head.uri.path(), &answer);
        answer
    }
}
