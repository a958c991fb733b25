//! The addresses of the control socket and of `admin_listen`.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use qcc_fsm::AdminCommand;
use serde_json::json;
use tokio::sync::watch;
use tracing::info;

use super::{StatusDocument, events, metrics};
use crate::cluster::{Cluster, Endpoint};
use crate::prober;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text exposition format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// On every answer: nothing is kept, guessed to be of another kind, put into a frame, or used by pages of others.
const GUARDING: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Answers what is asked about a proxy, and carries out what it is told.
pub struct Admin {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The address that clients connect to.
    pub listen: String,
    /// When the proxy was started.
    pub started_at: Timestamp,
    /// Turned true to stop the proxy.
    pub stop: watch::Sender<bool>,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Answers a request that only looks: what `admin_listen` serves, too.
    pub fn look<B>(&self, request: &Request<B>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        match request.uri().path() {
            "/status" => answer(StatusCode::OK, JSON, to_json(&self.status())),
            "/metrics" => answer(StatusCode::OK, METRICS, metrics::text(&self.status())),
            "/events" => answer(StatusCode::OK, JSON, events::json(&self.cluster.journal)),
            "/livez" => answer(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" if self.status().usable > 0 => answer(StatusCode::OK, TEXT, "ready\n"),
            "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "no endpoint is usable\n"),
            "/" => page("text/html; charset=utf-8", include_str!("page.html")),
            "/page.css" => page("text/css; charset=utf-8", include_str!("page.css")),
            "/page.js" => page("text/javascript; charset=utf-8", include_str!("page.js")),
            path => error(StatusCode::NOT_FOUND, format!("nothing is at {path:?}")),
        }
    }

    /// Answers a request on the control socket, commands among them.
    pub fn obey<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        let is_command = path == "/stop" || path.starts_with("/endpoints/");
        match (is_command, request.method()) {
            (false, _) => self.look(request),
            (true, &Method::POST) if path == "/stop" => {
                info!("a stop was asked for");
                self.stop.send_replace(true);
                done("stopping")
            }
            (true, &Method::POST) => self.command(path),
            (true, _) => not_allowed("POST"),
        }
    }

    /// `/endpoints/NAME/COMMAND`
    fn command(&self, path: &str) -> Answer {
        let mut parts = path.trim_start_matches("/endpoints/").split('/');
        let (Some(name), Some(command), None) = (parts.next(), parts.next(), parts.next()) else {
            return error(StatusCode::NOT_FOUND, "a command is /endpoints/NAME/COMMAND");
        };
        let roster = self.cluster.roster();
        let Some(endpoint) = roster.named(name) else {
            let names: Vec<&str> = roster.in_file_order().map(|endpoint| endpoint.name()).collect();
            let text = format!("no endpoint {name:?}; the endpoints are {}", names.join(", "));
            return error(StatusCode::NOT_FOUND, text);
        };
        let command = match command {
            "drain" => AdminCommand::Drain,
            "enable" => AdminCommand::Enable,
            "disable" => AdminCommand::Disable,
            "reset" => AdminCommand::Reset,
            "recheck" => return self.recheck(endpoint),
            _ => {
                let known = "drain, enable, disable, reset, recheck";
                return error(
                    StatusCode::NOT_FOUND,
                    format!("no command {command:?}; the commands are {known}"),
                );
            }
        };
        self.cluster.command(endpoint, command);
        let word = endpoint.health();
        done(&format!("{name} is {} ({})", word.admin.as_str(), word.state.as_str()))
    }

    fn recheck(&self, endpoint: &Arc<Endpoint>) -> Answer {
        let name = endpoint.name();
        let word = endpoint.health();
        if !word.is_available() && !word.is_sidelined() {
            return error(
                StatusCode::CONFLICT,
                format!("{name} is {}; enable it first", word.admin.as_str()),
            );
        }
        self.cluster.recheck(endpoint);
        match (endpoint.is_per_request(), word.is_sidelined()) {
            (true, true) => {
                return done(&format!(
                    "the next user's request is the trial of {name} (it is billed per request)"
                ));
            }
            (true, false) => {
                return done(&format!("{name} is in service; it is billed per request, so no check is sent"));
            }
            (false, _) => {}
        }
        let (cluster, endpoint) = (self.cluster.clone(), endpoint.clone());
        let answer = done(&format!("{name} is checked now"));
        tokio::spawn(async move { prober::check_now(&cluster, &endpoint).await });
        answer
    }

    fn status(&self) -> StatusDocument {
        StatusDocument::of(&self.cluster, &self.listen, self.started_at)
    }
}

fn to_json(status: &StatusDocument) -> String {
    serde_json::to_string(status).unwrap_or_default()
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in GUARDING {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn done(message: &str) -> Answer {
    answer(StatusCode::OK, JSON, json!({"ok": true, "message": message}).to_string())
}

/// An error of the control room, as JSON.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Answer {
    answer(status, JSON, json!({"error": message.into()}).to_string())
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} here"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// The page shows the status document and nothing else. It loads its own two files and nothing from anywhere, and no
/// script or style in its text would be run, should any name or error ever come to stand there as markup (Content
/// Security Policy Level 3, §6.6).
fn page(kind: &'static str, text: &'static str) -> Answer {
    let mut answer = answer(StatusCode::OK, kind, text);
    let policy = "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}
