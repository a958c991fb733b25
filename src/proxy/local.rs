//! What is answered here and never forwarded.

use hyper::http::header::UPGRADE;
use hyper::{Method, Request, Response, StatusCode};

use super::answers::OwnAnswer;
use super::outgoing::OutgoingBody;
use crate::cluster::Cluster;
use crate::exchange::Call;

/// The answer to what anybody may ask, without a token.
///
/// `HEAD /` and `HEAD /api/hello` are what Claude Code sends at its start, on the connection that its
/// first request reuses: they are answered with nothing and the connection stays.
pub fn open_answer<B>(request: &Request<B>, cluster: &Cluster) -> Option<Response<OutgoingBody>> {
    match (request.method(), request.uri().path()) {
        (&Method::HEAD, "/" | "/api/hello") => Some(Response::new(OutgoingBody::empty())),
        (&Method::GET | &Method::HEAD, "/livez") => Some(text(StatusCode::OK, "alive\n")),
        (&Method::GET | &Method::HEAD, "/readyz") => Some(readiness(cluster)),
        _ => None,
    }
}

/// The answer to any other request that is none for an upstream; none for one that is.
pub fn answer<B>(request: &Request<B>) -> Option<Response<OutgoingBody>> {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::GET, "/v1/responses") if request.headers().contains_key(UPGRADE) => {
            Some(OwnAnswer::upgrade_required().into_response(path))
        }
        _ if Call::of_path(path).is_none() => Some(OwnAnswer::not_found().into_response(path)),
        _ => None,
    }
}

fn readiness(cluster: &Cluster) -> Response<OutgoingBody> {
    let now = cluster.clock.now();
    if cluster.roster().endpoints().iter().any(|endpoint| endpoint.is_usable(now)) {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is usable\n")
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<OutgoingBody> {
    let mut response = Response::new(OutgoingBody::full(text));
    *response.status_mut() = status;
    response
}
