//! The one function that makes the head of a request to an upstream, so that a key has one way out.

use std::sync::Arc;

use bytes::Bytes;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};
use zeroize::Zeroizing;

use super::{ReplayBody, via};
use crate::config::{AuthForm, BASE_URL_BYTES_MAX, BaseUrl, ProxyUrl, Secret};

/// RFC 9110 §7.6.1, with the older names that intermediaries still use. Trailers are never passed on, so that
/// announcing them would be wrong as well.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a client sends that is not for the upstream: its credentials, where it came from, and what is
/// written anew for each exchange.
const NOT_FORWARDED: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::COOKIE,
    header::FORWARDED,
    header::AUTHORIZATION,
    X_API_KEY,
    header::REFERER,
];

/// The longest target of a client's request that may go up, in bytes. RFC 9112 §3 asks for 8,000 at least, and
/// servers seldom take more than 16 KiB.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// What `http::Uri` holds at most, in bytes.
const URI_BYTES_MAX: usize = u16::MAX as usize - 1;
// The prefix is a scheme, a host with a port and a path, all bounded by the configuration.
const _: () = assert!(BASE_URL_BYTES_MAX + TARGET_BYTES_MAX <= URI_BYTES_MAX);

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request says, before the connection that carries it gives it an address and a key.
pub struct Draft<'t> {
    /// Its method.
    pub method: Method,
    /// The client's path and query.
    pub target: &'t PathAndQuery,
    /// The client's headers, as they came.
    pub headers: HeaderMap,
    /// Its body.
    pub body: ReplayBody,
}

/// Writes the heads of requests to one endpoint, with the endpoint's key. It is made with the endpoint's pool, and
/// each connection takes that of the pool which it is of: a key goes to the origin that it belongs to, whatever
/// request is in hand.
#[derive(PartialEq, Eq)]
pub(super) struct HeadWriter {
    host: HeaderValue,
    credentials: Vec<(HeaderName, HeaderValue)>,
    hop: Hop,
}

impl HeadWriter {
    pub(super) fn new(host: HeaderValue, key: &Secret, auth: AuthForm, hop: Hop) -> Self {
        Self { host, credentials: credentials(key, auth), hop }
    }

    /// The proxy that reads the requests, where one does.
    pub(super) fn reader(&self) -> Option<Arc<str>> {
        self.hop.reader.clone()
    }

    /// A request to this endpoint. The target is the endpoint's path prefix and then the draft's, byte for
    /// byte; the authority comes from the configuration alone; of the headers goes what is neither
    /// hop-by-hop nor a credential, and the endpoint's key is written last.
    pub(super) fn request(&self, draft: Draft<'_>) -> Request<ReplayBody> {
        let Draft { method, target, mut headers, body } = draft;
        strip_hop_by_hop(&mut headers);
        for name in &NOT_FORWARDED {
            headers.remove(name);
        }
        let tracing: Vec<HeaderName> =
            headers.keys().filter(|name| tells_of_the_way(name)).cloned().collect();
        for name in &tracing {
            headers.remove(name);
        }
        headers.insert(header::HOST, self.host.clone());
        for (name, value) in &self.credentials {
            headers.insert(name, value.clone());
        }
        if let Some(value) = &self.hop.authorization {
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        if self.hop.may_lead_back {
            via::leave_mark(&mut headers);
        }

        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.target(target);
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        request
    }

    fn target(&self, target: &PathAndQuery) -> Uri {
        let prefix = self.hop.target_prefix.as_str();
        if prefix.is_empty() {
            return Uri::from(target.clone());
        }
        // The two were valid apart, a prefix has neither query nor fragment, and both together are short enough.
        Uri::try_from(format!("{prefix}{target}")).unwrap_or_default()
    }
}

/// What depends on who reads the request first: the endpoint, or a proxy that passes it on. A proxy only passes
/// bytes to an https endpoint, so there it is the endpoint.
#[derive(PartialEq, Eq)]
pub(super) struct Hop {
    /// What goes before the client's path: the endpoint's own, and for a proxy the scheme and the authority
    /// (absolute-form, RFC 9112 §3.2.2).
    target_prefix: String,
    /// For the proxy, which does not pass it on (RFC 9110 §11.7.2).
    authorization: Option<HeaderValue>,
    /// The proxy's `host:port`.
    reader: Option<Arc<str>>,
    /// Whether it could be this program: it serves no TLS.
    may_lead_back: bool,
}

impl Hop {
    pub(super) fn new(base_url: &BaseUrl, proxy: Option<&ProxyUrl>) -> Self {
        let path = base_url.path_prefix();
        let may_lead_back = !base_url.is_https();
        match proxy.filter(|_| may_lead_back) {
            None => Self { target_prefix: path.to_owned(), authorization: None, reader: None, may_lead_back },
            Some(proxy) => Self {
                may_lead_back,
                target_prefix: format!("http://{}{path}", base_url.authority()),
                authorization: proxy_authorization(proxy),
                reader: Some(proxy.to_string().into()),
            },
        }
    }
}

/// The value of `Proxy-Authorization` (RFC 7617 §2), where the proxy asks for one.
pub(super) fn proxy_authorization(proxy: &ProxyUrl) -> Option<HeaderValue> {
    proxy.credentials().map(|credentials| sensitive("Basic ", credentials))
}

/// The same request as HTTP/2 has it: the authority beside the path and not among the headers (RFC 9113 §8.3.1).
pub(super) fn for_http2<B>(request: Request<B>, authority: &Authority) -> Request<B> {
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::HOST);
    let mut target = head.uri.into_parts();
    (target.scheme, target.authority) = (Some(Scheme::HTTPS), Some(authority.clone()));
    // A path and an authority that were valid apart.
    head.uri = Uri::from_parts(target).unwrap_or_default();
    head.version = Version::HTTP_2;
    Request::from_parts(head, body)
}

/// The headers that carry the key, made once: a request only shares them.
fn credentials(key: &Secret, auth: AuthForm) -> Vec<(HeaderName, HeaderValue)> {
    let x_api_key = || (X_API_KEY, sensitive("", key));
    let bearer = || (header::AUTHORIZATION, sensitive("Bearer ", key));
    match auth {
        AuthForm::Both => vec![x_api_key(), bearer()],
        AuthForm::XApiKey => vec![x_api_key()],
        AuthForm::Bearer => vec![bearer()],
    }
}

/// Drops what concerns one connection only: the known names and what `Connection` names (RFC 9110
/// §7.6.1). To be called before anything is written, so that a client's `Connection: x-api-key` can't
/// name our own.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn tells_of_the_way(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("proxy-") || name.starts_with("x-forwarded-")
}

/// `Debug` of a sensitive value shows nothing of it, and HPACK never puts it into its table (RFC 7541 §7.1.3). Its
/// memory is wiped with the last clone; that of what was written on a connection is not, since that is hyper's.
fn sensitive(scheme: &str, secret: &Secret) -> HeaderValue {
    let secret = secret.expose();
    let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.len()));
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(secret.as_bytes());
    // The configuration has checked that the key can be a header value.
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
