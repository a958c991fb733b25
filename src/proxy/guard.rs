//! The request guard: what may be forwarded at all, and for whom.

use std::net::{IpAddr, SocketAddr};

use hyper::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, UPGRADE};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Version};

use super::answers::OwnAnswer;
use crate::config::{ClientToken, ClusterSettings};

/// Refuses what is not one well-formed request for this proxy.
///
/// # Errors
/// The answer that says why.
pub fn check<B>(request: &Request<B>, settings: &ClusterSettings) -> Result<(), OwnAnswer> {
    check_method(request.method())?;
    let host = host_of(request)?;
    // With client tokens a page that rebinds a name to this address has no token to send.
    if settings.client_tokens.is_empty() && !is_own_host(&host, settings) {
        return Err(OwnAnswer::misdirected(format!(
            "qcc: the Host {:?} is not this proxy's; use its address or localhost",
            host.as_str()
        )));
    }
    check_origin(request.headers(), &host)?;
    check_target(request)?;
    let is_websocket = request.method() == Method::GET && request.uri().path() == "/v1/responses";
    if request.headers().contains_key(UPGRADE) && !is_websocket {
        return Err(OwnAnswer::bad_request("qcc: no protocol can be upgraded to here"));
    }
    Ok(())
}

/// The client token that a request came with, where the cluster has some. Clients present a credential as
/// `x-api-key`, as Bearer (RFC 6750 §2.1) or as both, and the two may differ, where a key of the user's own is set
/// beside the token: any right one is enough, and the first right one counts, `x-api-key` before Bearer.
///
/// # Errors
/// The answer to a request without a right one.
pub fn authorise<'s>(
    headers: &HeaderMap,
    settings: &'s ClusterSettings,
) -> Result<Option<&'s ClientToken>, OwnAnswer> {
    if settings.client_tokens.is_empty() {
        return Ok(None);
    }
    let bare = headers.get_all("x-api-key").iter().map(|value| value.as_bytes());
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer_token(value.as_bytes()));
    // Each one is looked at: the time taken does not tell which one was right.
    let first_right =
        bare.chain(bearer).fold(None, |known, presented| known.or(settings.client_token(presented)));
    first_right.map(Some).ok_or_else(OwnAnswer::unauthorized)
}

/// What follows the scheme, whose name is in any case (RFC 9110 §11.1), and at least one space.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

fn check_method(method: &Method) -> Result<(), OwnAnswer> {
    match *method {
        Method::TRACE | Method::CONNECT => Err(OwnAnswer::bad_request(format!("qcc: no {method} here"))),
        _ => Ok(()),
    }
}

/// The one host that the request names (RFC 9112 §3.2: exactly one `Host`; RFC 9113 §8.3.1:
/// `:authority`, with which a `Host` must agree).
fn host_of<B>(request: &Request<B>) -> Result<Authority, OwnAnswer> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(host), None) => Some(
            Authority::try_from(host.as_bytes())
                .map_err(|_| OwnAnswer::bad_request("qcc: the Host header is malformed"))?,
        ),
        (Some(_), Some(_)) => return Err(OwnAnswer::bad_request("qcc: more than one Host header")),
    };
    let authority = request.uri().authority().cloned();
    if header.is_none() && request.version() < Version::HTTP_2 && request.version() > Version::HTTP_10 {
        return Err(OwnAnswer::bad_request("qcc: the Host header is missing"));
    }
    match (header, authority) {
        (Some(header), Some(authority)) if header != authority => {
            Err(OwnAnswer::bad_request("qcc: the target names another host than the Host header"))
        }
        (Some(host), _) | (None, Some(host)) if !host.as_str().contains('@') => Ok(host),
        (Some(_), _) | (None, Some(_)) => Err(OwnAnswer::bad_request("qcc: a host name holds no '@'")),
        (None, None) => Err(OwnAnswer::bad_request("qcc: the request names no host")),
    }
}

/// Whether a request names a host that is this machine's.
pub fn is_addressed_to<B>(request: &Request<B>, settings: &ClusterSettings) -> bool {
    host_of(request).is_ok_and(|host| is_own_host(&host, settings))
}

fn is_own_host(host: &Authority, settings: &ClusterSettings) -> bool {
    is_loopback_or(host, settings.listen)
        || settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare_name(host)))
}

fn bare_name(host: &Authority) -> &str {
    host.host().trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback_or(host: &Authority, listen: SocketAddr) -> bool {
    let name = bare_name(host);
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == listen.ip(),
        Err(_) => name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost"),
    }
}

/// A browser says where a request comes from: `Origin` (RFC 6454) and `Sec-Fetch-Site`.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), OwnAnswer> {
    let is_own = |origin: &[u8]| {
        let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        rest.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str().as_bytes()))
    };
    let foreign = headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()));
    let cross_site = headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site");
    if foreign || cross_site { Err(OwnAnswer::foreign_origin()) } else { Ok(()) }
}

/// The target is forwarded byte for byte, so what an upstream could read in two ways is refused.
fn check_target<B>(request: &Request<B>) -> Result<(), OwnAnswer> {
    let path = request.uri().path();
    if !path.starts_with('/') {
        return Err(OwnAnswer::bad_request("qcc: the target must be a path"));
    }
    let lower = path.to_ascii_lowercase();
    let ambiguous = ["//", "\\", "%2e", "%2f", "%5c", "%00", "#"].iter().any(|part| lower.contains(part))
        || path.split('/').any(|segment| segment == "." || segment == "..");
    if ambiguous {
        return Err(OwnAnswer::bad_request(
            "qcc: the path holds dots, slashes or escapes that are not forwarded",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Authority {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_names_and_the_listen_address_are_ours() {
        let listen: SocketAddr = "192.168.1.5:7860".parse().unwrap();
        for own in ["localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860", "192.168.1.5", "x.localhost"]
        {
            assert!(is_loopback_or(&host(own), listen), "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "192.168.1.6", "127.0.0.1.nip.io"] {
            assert!(!is_loopback_or(&host(foreign), listen), "{foreign}");
        }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for path in ["/v1/../admin", "/v1/%2e%2e/x", "/v1//messages", "/v1/a%2Fb", "/v1/a%5cb", "/v1/./x"] {
            assert!(check_target(&request(path, &[])).is_err(), "{path}");
        }
        for path in ["/v1/messages?beta=true&x=..", "/v1/models/claude.3", "/v1/files/a..b"] {
            assert!(check_target(&request(path, &[])).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let own = host("127.0.0.1:7860");
        let from = |headers: &[(&str, &str)]| check_origin(request("/", headers).headers(), &own);
        assert!(from(&[("origin", "http://127.0.0.1:7860")]).is_ok());
        assert!(from(&[("origin", "https://evil.example")]).is_err());
        assert!(from(&[("origin", "null")]).is_err());
        assert!(from(&[("sec-fetch-site", "cross-site")]).is_err());
        assert!(from(&[]).is_ok());
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        assert!(host_of(&request("/", &[("host", "a")])).is_ok());
        assert!(host_of(&request("/", &[])).is_err());
        assert!(host_of(&request("/", &[("host", "a"), ("host", "a")])).is_err());
        assert!(host_of(&request("http://b/", &[("host", "a")])).is_err());
        assert!(host_of(&request("/", &[("host", "user@a")])).is_err());
    }
}
