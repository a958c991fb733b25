//! The request guard: what may be forwarded at all, and for whom.

use std::net::{IpAddr, SocketAddr};

use hyper::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, UPGRADE};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Version};

use super::answers::OwnAnswer;
use crate::config::ClusterSettings;

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

/// Refuses a request without one of the cluster's client tokens, where it has some.
///
/// # Errors
/// The answer that says so.
pub fn authorise(headers: &HeaderMap, settings: &ClusterSettings) -> Result<(), OwnAnswer> {
    if settings.client_tokens.is_empty() {
        return Ok(());
    }
    let bearer = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token);
    let presented: Vec<&[u8]> =
        headers.get_all("x-api-key").iter().map(|value| value.as_bytes()).chain(bearer).collect();
    let is_known = presented.iter().any(|presented| settings.knows_token(presented));
    if is_known { Ok(()) } else { Err(OwnAnswer::unauthorized()) }
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

/// Refuses a look at the status under another name than this machine's, or by a web page of another site.
/// A link that a person follows is no such page: what it leads to is shown to nobody but them.
///
/// # Errors
/// The status that says so, and why.
pub fn check_look<B>(
    request: &Request<B>,
    settings: &ClusterSettings,
) -> Result<(), (StatusCode, &'static str)> {
    let host = host_of(request).ok().filter(|host| is_own_host(host, settings));
    let Some(host) = host else {
        return Err((StatusCode::MISDIRECTED_REQUEST, "the Host is not this one's"));
    };
    let headers = request.headers();
    let is_followed_link = headers.get("sec-fetch-dest").is_some_and(|kind| kind == "document");
    if has_foreign_origin(headers, &host) || (comes_from_elsewhere(headers) && !is_followed_link) {
        return Err((StatusCode::FORBIDDEN, "web pages of other sites may not look here"));
    }
    Ok(())
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

/// A browser says where a request comes from: `Origin` (RFC 6454 §7) and `Sec-Fetch-Site`.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), OwnAnswer> {
    let is_foreign = has_foreign_origin(headers, host) || comes_from_elsewhere(headers);
    if is_foreign { Err(OwnAnswer::foreign_origin()) } else { Ok(()) }
}

fn has_foreign_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let is_own = |origin: &[u8]| {
        let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        rest.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str().as_bytes()))
    };
    headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()))
}

/// `same-site` is elsewhere too: a site has no port, so that to a browser any other server of this machine is
/// of the same one (W3C Fetch Metadata, "Sec-Fetch-Site"). `none` is what a person typed in.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    headers.get_all("sec-fetch-site").iter().any(|site| !is_own(site))
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
        // Another port of this machine, say: an image's GET has no Origin.
        assert!(from(&[("sec-fetch-site", "same-site")]).is_err());
        assert!(from(&[("sec-fetch-site", "same-origin")]).is_ok());
        // The address was typed in.
        assert!(from(&[("sec-fetch-site", "none")]).is_ok());
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
