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
use crate::fields::{Field, Fields, write_line};

/// The longest target of a client's request that may go up, in bytes. RFC 9112 §3 asks for 8,000 at least, and
/// servers seldom take more than 16 KiB.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// What `http::Uri` holds at most, in bytes.
const URI_BYTES_MAX: usize = u16::MAX as usize - 1;
// The prefix is a scheme, a host with a port and a path, all bounded by the configuration.
const _: () = assert!(BASE_URL_BYTES_MAX + TARGET_BYTES_MAX <= URI_BYTES_MAX);

/// Room for what stands in a head beside the target and the headers: the method, the version, the body's length.
const BESIDE_BYTES_MAX: usize = 128;
/// What stands in a header line beside the name and the value.
const BESIDE_LINE_BYTES: usize = b": \r\n".len();

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request says, before the connection that carries it gives it an address and a key.
pub struct Draft<'r> {
    /// Its method.
    pub method: &'r Method,
    /// The client's path and query.
    pub target: &'r PathAndQuery,
    /// The client's header lines, as they came.
    pub fields: &'r Fields,
    /// Its body.
    pub body: ReplayBody,
}

/// Writes the heads of requests to one endpoint, with the endpoint's key. It is made with the endpoint's pool, and
/// each connection takes that of the pool which it is of: a key goes to the origin that it belongs to, whatever
/// request is in hand.
#[derive(PartialEq, Eq)]
pub(super) struct HeadWriter {
    /// Its own header lines that are no secret, as they are written over HTTP/1.1.
    lines: Vec<u8>,
    credentials: Vec<(HeaderName, HeaderValue)>,
    hop: Hop,
    /// The length of what it adds to a head.
    own_bytes: usize,
}

impl HeadWriter {
    pub(super) fn new(host: HeaderValue, key: &Secret, auth: AuthForm, hop: Hop) -> Self {
        let mut lines = Vec::new();
        write_line(&mut lines, "host", &host);
        if let Some(mark) = via::mark().filter(|_| hop.may_lead_back) {
            write_line(&mut lines, "via", mark);
        }
        let mut writer = Self { lines, credentials: credentials(key, auth), hop, own_bytes: 0 };
        let keys_bytes: usize =
            writer.keys().map(|(name, value)| name.as_str().len() + value.len() + BESIDE_LINE_BYTES).sum();
        writer.own_bytes = writer.hop.target_prefix.len() + writer.lines.len() + keys_bytes;
        writer
    }

    /// The proxy that reads the requests, where one does.
    pub(super) fn reader(&self) -> Option<Arc<str>> {
        self.hop.reader.clone()
    }

    /// The head of a request to this endpoint over HTTP/1.1, with room behind it. The target is the endpoint's path prefix
    /// and then the draft's, byte for byte. The authority comes from the configuration alone; of the client's header lines
    /// go those that are neither hop-by-hop nor a credential. The endpoint's key is written last.
    pub(super) fn bytes(&self, draft: &Draft<'_>, room_bytes: usize) -> Keyed {
        let prefix = &self.hop.target_prefix;
        let room = self.own_bytes
            + draft.target.as_str().len()
            + draft.fields.bytes_max()
            + BESIDE_BYTES_MAX
            + room_bytes;
        // As it never grows, no copy of the key is left behind.
        let mut bytes = Vec::with_capacity(room);
        for piece in [draft.method.as_str(), " ", prefix, draft.target.as_str(), " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(piece.as_bytes());
        }
        bytes.extend_from_slice(&self.lines);
        forwarded(draft.fields).for_each(|field| field.write_to(&mut bytes));
        let key_start = bytes.len();
        for (name, value) in self.keys() {
            write_line(&mut bytes, name, value);
        }
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
        let mut headers = HeaderMap::with_capacity(draft.fields.len() + self.credentials.len());
        for (name, value) in forwarded(draft.fields).filter_map(Field::to_entry) {
            headers.append(name, value);
        }
        for (name, value) in self.keys() {
            headers.append(name.clone(), value.clone());
        }
        let mut request = Request::new(draft.body);
        *request.method_mut() = draft.method.clone();
        *request.uri_mut() = self.target(draft.target, authority);
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }

    fn keys(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
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
    let connection = headers.get_all(header::CONNECTION).iter();
    let named: Vec<String> = connection.flat_map(|value| named_by(value.as_bytes())).collect();
    let is_dropped = |name: &&HeaderName| {
        !is_passed_down(name.as_str().as_bytes()) || named.iter().any(|named| named == name.as_str())
    };
    let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Whether a header line of an answer is for the client, unless `Connection` names it: not what concerns one connection
/// only (RFC 9110 §7.6.1), nor a cookie, which would be of one endpoint. The name is in any case.
pub(super) fn is_passed_down(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(b"set-cookie") && !is_hop_by_hop(name)
}

/// What of a client's header lines goes up.
fn forwarded(fields: &Fields) -> impl Iterator<Item = Field<'_>> {
    let named: Vec<&[u8]> = fields.all("connection").flat_map(options).collect();
    let is_named = move |name: &[u8]| named.iter().any(|named| named.eq_ignore_ascii_case(name));
    fields.iter().filter(move |field| is_forwarded(field.name) && !is_named(field.name))
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

/// The names in one `Connection` of an answer, in lower case.
pub(super) fn named_by(connection: &[u8]) -> impl Iterator<Item = String> {
    options(connection).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// What one `Connection` names: header lines which concern that connection only. They are dropped before ours are
/// written, so that a client's `Connection: x-api-key` can't name our own.
fn options(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    let options = connection.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    options.filter(|option| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    })
}

/// RFC 9110 §7.6.1, with the older names that intermediaries still use. Trailers are never passed on, so that
/// announcing them would be wrong as well.
fn is_hop_by_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|known| known.eq_ignore_ascii_case(name))
}

const HOP_BY_HOP: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// What of a client's header lines is for the upstream: not its credentials, where it came from, and what is written anew
/// for each exchange.
fn is_forwarded(name: &[u8]) -> bool {
    let is_kept_back = matches!(
        name,
        b"host"
            | b"content-length"
            | b"expect"
            | b"cookie"
            | b"forwarded"
            | b"authorization"
            | b"x-api-key"
            | b"referer"
    );
    let tells_of_the_way = name.starts_with(b"proxy-") || name.starts_with(b"x-forwarded-");
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
