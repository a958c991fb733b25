//! What is answered here and never forwarded.

use hyper::{Method, StatusCode};

use super::answers::{OwnAnswer, methods_allowed};
use super::head::RequestHead;
use super::outgoing::OutgoingBody;
use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::exchange::Call;
use crate::fields::Fields;

/// The answer to what anybody may ask, without a token.
///
/// `HEAD /` and `HEAD /api/hello` are what Claude Code sends at its start, on the connection that its
/// first request reuses, if the answer says how long it is. Codex asks for a WebSocket first, and asks
/// again and again unless it is told at once that there is none.
pub fn open_answer(request: &RequestHead, cluster: &Cluster) -> Option<Answer<OutgoingBody>> {
    match (&request.method, request.uri.path()) {
        (&Method::HEAD, "/" | "/api/hello") => Some(nothing()),
        (&Method::GET | &Method::HEAD, "/livez") => Some(text(StatusCode::OK, "alive\n")),
        (&Method::GET | &Method::HEAD, "/readyz") => Some(readiness(cluster)),
        (&Method::GET, path @ "/v1/responses") if request.fields.has("upgrade") => {
            Some(OwnAnswer::upgrade_required().on_path(path))
        }
        _ => None,
    }
}

/// The answer to any other request that is none for an upstream; none for one that is.
pub fn answer(request: &RequestHead, forwards_left: Option<u64>) -> Option<Answer<OutgoingBody>> {
    let path = request.uri.path();
    // RFC 9110 §7.6.2: whoever may not forward it is the one it asks.
    if path == "*" || forwards_left == Some(0) {
        return Some(options());
    }
    Call::of_path(path).is_none().then(|| OwnAnswer::not_found().on_path(path))
}

fn options() -> Answer<OutgoingBody> {
    let fields = Fields::from_iter([("allow", &*methods_allowed())]);
    Answer { status: StatusCode::NO_CONTENT, fields, body: OutgoingBody::empty() }
}

fn readiness(cluster: &Cluster) -> Answer<OutgoingBody> {
    let now = cluster.clock.now();
    if cluster.roster().endpoints().iter().any(|endpoint| endpoint.is_usable(now)) {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is usable\n")
    }
}

fn nothing() -> Answer<OutgoingBody> {
    let fields = Fields::from_iter([("content-length", "0")]);
    Answer { status: StatusCode::OK, fields, body: OutgoingBody::empty() }
}

fn text(status: StatusCode, text: &'static str) -> Answer<OutgoingBody> {
    Answer { status, ..Answer::new(OutgoingBody::full(text)) }
}
