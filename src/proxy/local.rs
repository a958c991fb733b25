//! What is answered here and never forwarded.

use hyper::http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::answers::{OwnAnswer, methods_allowed};
use super::head::RequestHead;
use super::outgoing::OutgoingBody;
use crate::cluster::Cluster;
use crate::exchange::Call;

/// The answer to what anybody may ask, without a token.
///
/// `HEAD /` and `HEAD /api/hello` are what Claude Code sends at its start, on the connection that its
/// first request reuses, if the answer says how long it is. Codex asks for a WebSocket first, and asks
/// again and again unless it is told at once that there is none.
pub fn open_answer(request: &RequestHead, cluster: &Cluster) -> Option<Response<OutgoingBody>> {
    match (&request.method, request.uri.path()) {
        (&Method::HEAD, "/" | "/api/hello") => Some(nothing()),
        (&Method::GET | &Method::HEAD, "/livez") => Some(text(StatusCode::OK, "alive\n")),
        (&Method::GET | &Method::HEAD, "/readyz") => Some(readiness(cluster)),
        (&Method::GET, path @ "/v1/responses") if request.fields.has("upgrade") => {
            Some(OwnAnswer::upgrade_required().into_response(path))
        }
        _ => None,
    }
}

/// The answer to any other request that is none for an upstream; none for one that is.
pub fn answer(request: &RequestHead, forwards_left: Option<u64>) -> Option<Response<OutgoingBody>> {
    let path = request.uri.path();
    // RFC 9110 §7.6.2: whoever may not forward it is the one it asks.
    if path == "*" || forwards_left == Some(0) {
        return Some(options());
    }
    Call::of_path(path).is_none().then(|| OwnAnswer::not_found().into_response(path))
}

/// An answer to a request whose body, if it has one, is not read. Its connection is closed then, and of HTTP/1.1
/// the client is to know (RFC 9112 §9.6): it would send its next request there.
pub fn unread(has_body: bool, mut answer: Response<OutgoingBody>) -> Response<OutgoingBody> {
    if has_body {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn options() -> Response<OutgoingBody> {
    let mut response = Response::new(OutgoingBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, methods_allowed());
    response
}

fn readiness(cluster: &Cluster) -> Response<OutgoingBody> {
    let now = cluster.clock.now();
    if cluster.roster().endpoints().iter().any(|endpoint| endpoint.is_usable(now)) {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is usable\n")
    }
}

fn nothing() -> Response<OutgoingBody> {
    let mut response = Response::new(OutgoingBody::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<OutgoingBody> {
    let mut response = Response::new(OutgoingBody::full(text));
    *response.status_mut() = status;
    response
}
