//! Answers of qcc's own, in the shape of the protocol that the path belongs to.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::guard::METHODS;
use super::outgoing::OutgoingBody;
use crate::answer::Answer;
use crate::config::Protocol;
use crate::exchange::Call;
use crate::fields::Fields;
use crate::upstream::TARGET_BYTES_MAX;

/// Why qcc answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// No endpoint can take the request.
    NoEndpoint,
    /// This machine can't open a connection.
    NoConnection,
    /// The request is not one that may be forwarded.
    BadRequest,
    /// Its method is none that is forwarded.
    MethodNotAllowed,
    /// Its target is longer than what may go up.
    TargetTooLong,
    /// Its head is too large.
    HeadTooLarge,
    /// It expects what nobody here does.
    ExpectationFailed,
    /// It was forwarded here before.
    Loop,
    /// It names a host that this is not.
    Misdirected,
    /// It comes from a web page of another site.
    ForeignOrigin,
    /// It has no valid client token.
    Unauthorized,
    /// Its body is larger than `max_body`.
    BodyTooLarge,
    /// Its body did not come in time.
    BodyTimeout,
    /// The bodies of other requests take up the memory that there is for them.
    BodiesTooLarge,
    /// There is nothing at its path.
    NotFound,
    /// It asks for a WebSocket.
    UpgradeRequired,
    /// Its exchange broke off, and may have been billed.
    UpstreamLost,
}

impl ErrorCode {
    /// The value of `x-qcc-error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::NoConnection => "no_connection",
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::ExpectationFailed => "expectation_failed",
            Self::Loop => "loop",
            Self::Misdirected => "misdirected",
            Self::ForeignOrigin => "foreign_origin",
            Self::Unauthorized => "unauthorized",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodiesTooLarge => "bodies_too_large",
            Self::NotFound => "not_found",
            Self::UpgradeRequired => "upgrade_required",
            Self::UpstreamLost => "upstream_lost",
        }
    }
}

/// An answer of qcc's own.
#[derive(Debug)]
pub struct OwnAnswer {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    retry: Option<Retry>,
    closes: bool,
}

#[derive(Debug)]
enum Retry {
    After(Duration),
    Never,
}

/// 529: Anthropic's "overloaded", which its clients wait out.
const OVERLOADED: u16 = 529;

impl OwnAnswer {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry: None, closes: false }
    }

    /// The request can't be forwarded; the connection is closed, since what follows on it can't be trusted.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { closes: true, ..Self::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message) }
    }

    /// The method is none that is forwarded.
    pub fn method_not_allowed() -> Self {
        let message = "qcc: this method is not forwarded";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { closes: true, ..Self::new(status, ErrorCode::MethodNotAllowed, message) }
    }

    /// The target is longer than what may go up.
    pub fn target_too_long() -> Self {
        let message = format!("qcc: the target is longer than {TARGET_BYTES_MAX} bytes");
        let status = StatusCode::URI_TOO_LONG;
        Self { closes: true, ..Self::new(status, ErrorCode::TargetTooLong, message) }
    }

    /// The head has too many bytes or fields (RFC 6585 §5).
    pub fn head_too_large(message: impl Into<String>) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { closes: true, ..Self::new(status, ErrorCode::HeadTooLarge, message) }
    }

    /// An expectation other than `100-continue`.
    pub fn expectation_failed() -> Self {
        let message = "qcc: no expectation but 100-continue is met here";
        let status = StatusCode::EXPECTATION_FAILED;
        Self { closes: true, ..Self::new(status, ErrorCode::ExpectationFailed, message) }
    }

    /// The request was forwarded by this proxy already. To the proxy that sent it, which is this one, the
    /// endpoint has failed.
    pub fn looping() -> Self {
        let message =
            "qcc: the request comes from this proxy itself; the base_url of an endpoint leads back here";
        let answer = Self::new(StatusCode::BAD_GATEWAY, ErrorCode::Loop, message);
        Self { closes: true, retry: Some(Retry::Never), ..answer }
    }

    /// The `Host` is not this proxy's.
    pub fn misdirected(message: impl Into<String>) -> Self {
        let status = StatusCode::MISDIRECTED_REQUEST;
        Self { closes: true, ..Self::new(status, ErrorCode::Misdirected, message) }
    }

    /// A web page of another site sent it.
    pub fn foreign_origin() -> Self {
        let message = "qcc takes no requests from web pages of other sites";
        Self { closes: true, ..Self::new(StatusCode::FORBIDDEN, ErrorCode::ForeignOrigin, message) }
    }

    /// No valid client token.
    pub fn unauthorized() -> Self {
        let message = "qcc: a client token of this cluster is needed, as x-api-key or as a bearer token";
        let answer = Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message);
        Self { retry: Some(Retry::Never), ..answer }
    }

    /// The body exceeds `max_body`.
    pub fn body_too_large(limit_bytes: u64) -> Self {
        let message = format!("qcc: the request's body is larger than max_body ({limit_bytes} bytes)");
        Self { closes: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BodyTooLarge, message) }
    }

    /// The body stopped coming.
    pub fn body_timeout() -> Self {
        let message = "qcc: the request's body did not come in time";
        Self { closes: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BodyTimeout, message) }
    }

    /// The bodies of other requests took up `max_bodies` for as long as this one may wait.
    pub fn bodies_too_large(wait: Duration) -> Self {
        let message = "qcc: the bodies of requests under way take up max_bodies";
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::BodiesTooLarge, message);
        Self { closes: true, retry: Some(Retry::After(wait)), ..answer }
    }

    /// Nothing is there.
    pub fn not_found() -> Self {
        let message = "qcc: nothing is here; API paths begin with /v1/";
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, message)
    }

    /// A WebSocket is asked for; its client falls back to POST at once.
    pub fn upgrade_required() -> Self {
        let message = "qcc: use POST /v1/responses";
        Self::new(StatusCode::UPGRADE_REQUIRED, ErrorCode::UpgradeRequired, message)
    }

    /// No endpoint now, but one may be back after `wait`.
    pub fn all_down(message: String, wait: Duration) -> Self {
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::NoEndpoint, message);
        Self { retry: Some(Retry::After(wait)), ..answer }
    }

    /// This machine is short of something: a moment later it may do.
    pub fn no_connection(message: String) -> Self {
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::NoConnection, message);
        Self { retry: Some(Retry::After(Duration::from_secs(1))), ..answer }
    }

    /// No endpoint, and waiting does not help.
    pub fn all_refused(message: String) -> Self {
        let answer = Self::new(StatusCode::FORBIDDEN, ErrorCode::NoEndpoint, message);
        Self { retry: Some(Retry::Never), ..answer }
    }

    /// The exchange broke off and may have been billed, so it was not repeated.
    pub fn upstream_lost(message: String) -> Self {
        let answer = Self::new(StatusCode::BAD_GATEWAY, ErrorCode::UpstreamLost, message);
        Self { retry: Some(Retry::Never), ..answer }
    }

    /// The same, where its client may repeat it: only that qcc did not do so by itself.
    pub fn for_its_client_to_repeat(self) -> Self {
        Self { retry: Some(Retry::After(Duration::from_secs(1))), ..self }
    }

    /// The answer on this path.
    pub fn on_path(self, path: &str) -> Answer<OutgoingBody> {
        let call = Call::of_path(path).unwrap_or(Call::Other);
        self.in_protocol(call.protocol(path, &Default::default()))
    }

    /// The answer in this protocol.
    pub fn in_protocol(mut self, protocol: Protocol) -> Answer<OutgoingBody> {
        if self.is_overload() && protocol == Protocol::Anthropic {
            self.status = StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        }
        let body = match protocol {
            Protocol::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
            }),
            Protocol::OpenAi => json!({
                "error": {
                    "message": self.message,
                    "type": self.openai_type(),
                    "param": null,
                    "code": self.openai_code(),
                },
            }),
        };
        let mut fields =
            Fields::from_iter([("content-type", "application/json"), ("x-qcc-error", self.code.as_str())]);
        match self.retry {
            None => {}
            Some(Retry::Never) => fields.push("x-should-retry", "false"),
            Some(Retry::After(wait)) => {
                fields.push("x-should-retry", "true");
                fields.push("retry-after", whole_secs(wait).to_string());
            }
        }
        if self.code == ErrorCode::Unauthorized {
            // RFC 9110 §11.6.1: a 401 says how to do better; RFC 6750 §3: with a parameter at least.
            fields.push("www-authenticate", "Bearer realm=\"qcc\"");
        }
        if self.code == ErrorCode::MethodNotAllowed {
            fields.push("allow", methods_allowed());
        }
        if self.code == ErrorCode::UpgradeRequired {
            // RFC 9110 §15.5.22: the answer names what is spoken here.
            fields.push("upgrade", "HTTP/1.1");
        }
        if self.closes {
            fields.push("connection", "close");
        }
        Answer { status: self.status, fields, body: OutgoingBody::full(body.to_string()) }
    }

    /// Whether it is one that clients wait out.
    fn is_overload(&self) -> bool {
        let has_no_room =
            matches!(self.code, ErrorCode::NoEndpoint | ErrorCode::NoConnection | ErrorCode::BodiesTooLarge);
        has_no_room && self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    fn anthropic_type(&self) -> &'static str {
        match self.code {
            ErrorCode::NoEndpoint if self.status == StatusCode::FORBIDDEN => "permission_error",
            ErrorCode::NoEndpoint | ErrorCode::NoConnection | ErrorCode::BodiesTooLarge => "overloaded_error",
            ErrorCode::Unauthorized => "authentication_error",
            ErrorCode::BodyTooLarge => "request_too_large",
            ErrorCode::NotFound => "not_found_error",
            ErrorCode::ForeignOrigin => "permission_error",
            ErrorCode::UpstreamLost | ErrorCode::Loop => "api_error",
            ErrorCode::BodyTimeout => "timeout_error",
            ErrorCode::BadRequest
            | ErrorCode::MethodNotAllowed
            | ErrorCode::TargetTooLong
            | ErrorCode::HeadTooLarge
            | ErrorCode::ExpectationFailed
            | ErrorCode::Misdirected
            | ErrorCode::UpgradeRequired => "invalid_request_error",
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.code {
            ErrorCode::NoEndpoint if self.status == StatusCode::FORBIDDEN => "permission_error",
            ErrorCode::NoEndpoint
            | ErrorCode::NoConnection
            | ErrorCode::UpstreamLost
            | ErrorCode::Loop
            | ErrorCode::BodiesTooLarge => "server_error",
            ErrorCode::Unauthorized => "authentication_error",
            ErrorCode::BadRequest
            | ErrorCode::MethodNotAllowed
            | ErrorCode::TargetTooLong
            | ErrorCode::HeadTooLarge
            | ErrorCode::ExpectationFailed
            | ErrorCode::Misdirected
            | ErrorCode::ForeignOrigin
            | ErrorCode::BodyTooLarge
            | ErrorCode::BodyTimeout
            | ErrorCode::NotFound
            | ErrorCode::UpgradeRequired => "invalid_request_error",
        }
    }

    fn openai_code(&self) -> &'static str {
        if self.is_overload() { "server_is_overloaded" } else { self.code.as_str() }
    }
}

/// The value of `Allow` (RFC 9110 §10.2.1).
pub fn methods_allowed() -> String {
    METHODS.each_ref().map(Method::as_str).join(", ")
}

/// Whole seconds, rounded up, one at least: `retry-after: 0` makes clients come back at once.
pub fn whole_secs(wait: Duration) -> u64 {
    (wait.as_millis().div_ceil(1000) as u64).max(1)
}
