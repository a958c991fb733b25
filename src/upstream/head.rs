//! The one function that makes the head of a request to an upstream, so that a key has one way out.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};
use zeroize::{Zeroize, Zeroizing};

use super::{ReplayBody, via};
use crate::config::{AuthForm, BASE_URL_BYTES_MAX, BaseUrl, ProxyUrl, Secret};

/// The longest target of a client's request that may go up, in bytes. RFC 9112 §3 asks for 8,000 at least, and
/// servers seldom take more than 16 KiB.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// What `http::Uri` holds at most, in bytes.
const URI_BYTES_MAX: usize = u16::MAX as usize - 1;
// The prefix is a scheme, a host with a port and a path, all bounded by the configuration.
const _: () = assert!(BASE_URL_BYTES_MAX + TARGET_BYTES_MAX <= URI_BYTES_MAX);

/// Room for what stands in a head beside the target and the headers: the method, the version, the body's length.
const BESIDE_BYTES_MAX: usize = 128;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request says, before the connection that carries it gives it an address and a key.
pub struct Draft<'r> {
    /// Its method.
    pub method: &'r Method,
    /// The client's path and query.
    pub target: &'r PathAndQuery,
    /// The client's headers, as they came.
    pub headers: &'r HeaderMap,
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
    /// The length of what it adds to a head.
    own_bytes: usize,
}

impl HeadWriter {
    pub(super) fn new(host: HeaderValue, key: &Secret, auth: AuthForm, hop: Hop) -> Self {
        let mut writer = Self { host, credentials: credentials(key, auth), hop, own_bytes: 0 };
        let none = HeaderMap::new();
        let own_bytes: usize = writer.fields(&none).map(line_bytes).sum();
        writer.own_bytes = writer.hop.target_prefix.len() + own_bytes;
        writer
    }

    /// The proxy that reads the requests, where one does.
    pub(super) fn reader(&self) -> Option<Arc<str>> {
        self.hop.reader.clone()
    }

    /// The head of a request to this endpoint over HTTP/1.1, with room behind it. The target is the endpoint's path prefix
    /// and then the draft's, byte for byte; the headers are those of [`Self::fields`].
    pub(super) fn bytes(&self, draft: &Draft<'_>, room_bytes: usize) -> Keyed {
        let prefix = &self.hop.target_prefix;
        let lines: usize = draft.headers.iter().map(line_bytes).sum();
        let room = self.own_bytes + draft.target.as_str().len() + lines + BESIDE_BYTES_MAX + room_bytes;
        // As it never grows, no copy of the key is left behind.
        let mut bytes = Vec::with_capacity(room);
        for piece in [draft.method.as_str(), " ", prefix, draft.target.as_str(), " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(piece.as_bytes());
        }
        self.of_all(draft.headers).for_each(|field| push_line(&mut bytes, field));
        let key_start = bytes.len();
        self.keys().for_each(|field| push_line(&mut bytes, field));
        let key = key_start..bytes.len();
        if draft.body.has_remaining() {
            bytes.extend_from_slice(b"content-length: ");
            bytes.extend_from_slice(itoa::Buffer::new().format(draft.body.remaining()).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        Keyed { bytes, key }
    }

    /// The same request as HTTP/2 has it: the authority beside the path and not among the headers (RFC 9113 §8.3.1).
    pub(super) fn request(&self, draft: Draft<'_>, authority: &Authority) -> Request<ReplayBody> {
        let fields = self.fields(draft.headers).filter(|(name, _)| **name != header::HOST);
        let mut headers = HeaderMap::with_capacity(draft.headers.len() + self.credentials.len());
        for (name, value) in fields {
            headers.append(name.clone(), value.clone());
        }
        let mut request = Request::new(draft.body);
        *request.method_mut() = draft.method.clone();
        *request.uri_mut() = self.target(draft.target, authority);
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }

    /// The headers of a request. The endpoint's key is written last.
    fn fields<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = Field<'a>> {
        self.of_all(headers).chain(self.keys())
    }

    /// Those that are no secret. The authority comes from the configuration alone; of the client's headers goes what is
    /// neither hop-by-hop nor a credential.
    fn of_all<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = Field<'a>> {
        let named = named_by_connection(headers);
        let forwarded = headers.iter().filter(move |(name, _)| is_forwarded(name) && !named.contains(name));
        let mark = if self.hop.may_lead_back { via::mark() } else { None };
        let mark = mark.map(|mark| (&header::VIA, mark));
        [(&header::HOST, &self.host)].into_iter().chain(forwarded).chain(mark)
    }

    fn keys(&self) -> impl Iterator<Item = Field<'_>> {
        let authorization = self.hop.authorization.iter().map(|value| (&header::PROXY_AUTHORIZATION, value));
        self.credentials.iter().map(|(name, value)| (name, value)).chain(authorization)
    }

    fn target(&self, target: &PathAndQuery, authority: &Authority) -> Uri {
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(authority.clone());
        parts.path_and_query = match self.hop.target_prefix.as_str() {
            "" => Some(target.clone()),
            // The two were valid apart, a prefix has neither query nor fragment, and both together are short enough.
            prefix => PathAndQuery::try_from(format!("{prefix}{target}")).ok(),
        };
        Uri::from_parts(parts).unwrap_or_default()
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

/// Drops of an answer's headers what is not for the client.
pub(super) fn keep_passed_down(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let is_dropped = |name: &&HeaderName| !is_passed_down(name) || named.contains(*name);
    let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Whether a header of an answer is for the client, unless `Connection` names it: not what concerns one connection only
/// (RFC 9110 §7.6.1), nor a cookie, which would be of one endpoint.
pub(super) fn is_passed_down(name: &HeaderName) -> bool {
    name != header::SET_COOKIE && !is_hop_by_hop(name)
}

type Field<'a> = (&'a HeaderName, &'a HeaderValue);

fn line_bytes((name, value): Field<'_>) -> usize {
    name.as_str().len() + b": ".len() + value.len() + b"\r\n".len()
}

fn push_line(bytes: &mut Vec<u8>, (name, value): Field<'_>) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// Bytes with a key in them, which is wiped when they are let go.
pub(super) struct Keyed {
    bytes: Vec<u8>,
    key: Range<usize>,
}

impl Keyed {
    /// Adds a body, for which there is room.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }
}

impl AsRef<[u8]> for Keyed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        self.bytes[self.key.clone()].zeroize();
    }
}

/// The names that `Connection` names, which concern that connection only. They are dropped before ours are written, so
/// that a client's `Connection: x-api-key` can't name our own.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.get_all(header::CONNECTION).iter().flat_map(named_by).collect()
}

/// The names in one `Connection`.
pub(super) fn named_by(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let options = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_name = |option: &&[u8]| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    };
    options.filter(is_name).filter_map(|name| HeaderName::from_bytes(name).ok())
}

/// RFC 9110 §7.6.1, with the older names that intermediaries still use. Trailers are never passed on, so that
/// announcing them would be wrong as well.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What of a client's headers is for the upstream: not its credentials, where it came from, and what is written anew for
/// each exchange.
fn is_forwarded(name: &HeaderName) -> bool {
    let is_kept_back = matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "expect"
            | "cookie"
            | "forwarded"
            | "authorization"
            | "x-api-key"
            | "referer"
    );
    let tells_of_the_way = name.as_str().starts_with("proxy-") || name.as_str().starts_with("x-forwarded-");
    !is_kept_back && !tells_of_the_way && !is_hop_by_hop(name)
}

/// `Debug` of a sensitive value shows nothing of it, and HPACK never puts it into its table (RFC 7541 §7.1.3). Its
/// memory is wiped with the last clone. What was written over HTTP/2 is hyper's, and is not.
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
