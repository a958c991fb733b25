//! Which host a request names, and which web page it comes from.
//!
//! A web page can reach a loopback address in two ways: under a name of its own that it lets resolve to
//! 127.0.0.1 (the name shows in `Host`), or openly from another origin (the browser then says so in `Origin` or
//! `Sec-Fetch-Site`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::{Request, StatusCode, Version};

use super::answers::OwnAnswer;
use super::head::RequestHead;
use super::look::{Look, Once};
use crate::charset::Charset;
use crate::config::ClusterSettings;

/// The longest host name (RFC 1035 §2.3.4), in bytes.
const NAME_BYTES_MAX: usize = 253;

/// What names are made of: labels and the dots between them.
static NAME_CHARS: Charset = Charset::alphanumeric_and(b"-_.");

/// A host and perhaps a port, of a form that all readers take for the same (RFC 3986 §3.2.2 without escapes,
/// user names, zones and empty ports).
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Without a port; an IPv6 address without its brackets.
    name: &'a str,
    port: Option<u16>,
    written: &'a str,
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(other.name) && self.port == other.port
    }
}

impl<'a> Host<'a> {
    fn parse(written: &'a [u8]) -> Option<Self> {
        let written = std::str::from_utf8(written).ok()?;
        if let Some(rest) = written.strip_prefix('[') {
            let (name, port) = rest.split_once(']')?;
            name.parse::<Ipv6Addr>().ok()?;
            return Some(Self { name, port: Self::parse_port(port)?, written });
        }
        let (name, port) = written.split_at(NAME_CHARS.prefix_length(written.as_bytes()));
        is_name(name.as_bytes()).then_some(())?;
        Some(Self { name, port: Self::parse_port(port)?, written })
    }

    fn parse_port(text: &str) -> Option<Option<u16>> {
        if text.is_empty() {
            return Some(None);
        }
        let digits = text.strip_prefix(':')?;
        let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        (port != 0).then_some(Some(port))
    }

    /// As the request has it.
    pub fn as_str(&self) -> &str {
        self.written
    }

    /// Whether it is this machine's loopback, the address of `listen` or one of `allowed_hosts`.
    pub fn is_own(&self, settings: &ClusterSettings) -> bool {
        self.is_loopback_or(settings.listen)
            || settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(self.name))
    }

    fn is_loopback_or(&self, listen: SocketAddr) -> bool {
        match self.address() {
            Some(address) => address == listen.ip() || address.is_loopback(),
            None => self.is_loopback_name(),
        }
    }

    fn is_loopback(&self) -> bool {
        self.address().map_or_else(|| self.is_loopback_name(), |address| address.is_loopback())
    }

    /// Numbers that only some resolvers take for 127.0.0.1 (`127.1`, `0x7f.1`, `2130706433`) are names here,
    /// and none of ours.
    fn is_loopback_name(&self) -> bool {
        let suffix = ".localhost";
        let is_below = self.name.len() > suffix.len()
            && self.name.as_bytes()[self.name.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes());
        is_below || self.name.eq_ignore_ascii_case("localhost")
    }

    fn address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }
}

/// Whether these characters of names are one: no label is empty, but that the root's dot may end it.
fn is_name(chars: &[u8]) -> bool {
    let has_empty_label = chars.starts_with(b".") || chars.windows(2).any(|pair| matches!(pair, b".."));
    !chars.is_empty() && !has_empty_label && chars.len() <= NAME_BYTES_MAX
}

/// The one host that the request names (RFC 9112 §3.2: exactly one `Host`; RFC 9113 §8.3.1:
/// `:authority`, with which a `Host` must agree).
///
/// # Errors
/// The answer to a request that names none, several, or a malformed one.
pub fn host_of<'a>(request: &'a RequestHead, look: &Look<'a>) -> Result<Host<'a>, OwnAnswer> {
    let malformed = || OwnAnswer::bad_request("qcc: the Host is malformed");
    let header = match look.host {
        Once::Absent => None,
        Once::One(host) => Some(Host::parse(host).ok_or_else(malformed)?),
        Once::Several => return Err(OwnAnswer::bad_request("qcc: more than one Host header")),
    };
    let authority = match request.uri.authority() {
        None => None,
        Some(authority) => Some(Host::parse(authority.as_str().as_bytes()).ok_or_else(malformed)?),
    };
    if header.is_none() && request.version == Version::HTTP_11 {
        return Err(OwnAnswer::bad_request("qcc: the Host header is missing"));
    }
    match (header, authority) {
        (Some(header), Some(authority)) if header != authority => {
            Err(OwnAnswer::bad_request("qcc: the target names another host than the Host header"))
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
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
    let head = RequestHead::from(request);
    let look = Look::at(&head.fields);
    let Some(host) = host_of(&head, &look).ok().filter(|host| host.is_own(settings)) else {
        return Err((StatusCode::MISDIRECTED_REQUEST, "the Host is not this one's"));
    };
    let is_followed_link = head.fields.first("sec-fetch-dest").is_some_and(|kind| kind == b"document");
    if has_foreign_origin(&look, &host) || (look.comes_from_elsewhere && !is_followed_link) {
        return Err((StatusCode::FORBIDDEN, "web pages of other sites may not look here"));
    }
    Ok(())
}

/// A browser says where a request comes from: `Origin` (RFC 6454 §7) and `Sec-Fetch-Site` (W3C Fetch Metadata).
/// A site has many ports, so that `same-site` is another page too.
///
/// # Errors
/// The answer to a page of another origin.
pub fn check_origin(look: &Look<'_>, host: &Host<'_>) -> Result<(), OwnAnswer> {
    let is_foreign = has_foreign_origin(look, host) || look.comes_from_elsewhere;
    if is_foreign { Err(OwnAnswer::foreign_origin()) } else { Ok(()) }
}

fn has_foreign_origin(look: &Look<'_>, host: &Host<'_>) -> bool {
    match look.origin {
        Once::Absent => false,
        Once::One(origin) => !is_own_origin(origin, host),
        Once::Several => true,
    }
}

/// A page of https is ours only where something in front of the proxy may serve it: on loopback it is another
/// program's.
fn is_own_origin(origin: &[u8], host: &Host<'_>) -> bool {
    let authority = match origin.strip_prefix(b"https://") {
        Some(authority) => Some(authority).filter(|_| !host.is_loopback()),
        None => origin.strip_prefix(b"http://"),
    };
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.written.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host<'_> {
        Host::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn loopback_names_and_the_listen_address_are_ours() {
        let listen: SocketAddr = "192.168.1.5:7860".parse().unwrap();
        for own in [
            "localhost",
            "LocalHost:7860",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:7860",
            "192.168.1.5",
            "x.localhost",
        ] {
            assert!(host(own).is_loopback_or(listen), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "xlocalhost",
            "192.168.1.6",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.01",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "localhost.",
            "127.0.0.1.",
        ] {
            assert!(!host(foreign).is_loopback_or(listen), "{foreign}");
        }
    }

    #[test]
    fn a_host_is_of_one_form() {
        for malformed in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:8 0",
            "a:80:80",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "user:pw@a",
            ".a",
            "a..b",
            "a..",
            "%6cocalhost",
            "[::1",
            "::1",
            "[::1%25lo]",
            "[::1]x",
            "[::1]:",
            "[127.0.0.1]",
            "[v1.x]",
            "l\u{f6}calhost",
            "a\\b",
            "*",
        ] {
            assert!(Host::parse(malformed.as_bytes()).is_none(), "{malformed}");
        }
        assert!(Host::parse("a".repeat(254).as_bytes()).is_none());
        for well_formed in ["a", "a.", "my_host:1", "xn--x:65535", "[fe80::1]", "1.2.3.4:80"] {
            assert!(Host::parse(well_formed.as_bytes()).is_some(), "{well_formed}");
        }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> RequestHead {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        RequestHead::from(&builder.body(()).unwrap())
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let from = |own: &str, headers: &[(&str, &str)]| {
            check_origin(&Look::at(&request("/", headers).fields), &host(own)).is_ok()
        };
        let own = "127.0.0.1:7860";
        for headers in [
            &[][..],
            &[("origin", "http://127.0.0.1:7860")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-mode", "cors")],
        ] {
            assert!(from(own, headers), "{headers:?}");
        }
        for headers in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://127.0.0.1:7861")],
            &[("origin", "http://127.0.0.1")],
            &[("origin", "http://localhost:7860")],
            &[("origin", "https://127.0.0.1:7860")],
            &[("origin", "HTTP://127.0.0.1:7860")],
            &[("origin", "http://127.0.0.1:7860/")],
            &[("origin", "http://127.0.0.1:7860 http://evil.example")],
            &[("origin", "http://127.0.0.1:7860"), ("origin", "http://127.0.0.1:7860")],
            &[("origin", "file://127.0.0.1:7860")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "")],
        ] {
            assert!(!from(own, headers), "{headers:?}");
        }
        // What ends TLS in front of the proxy may serve pages of its name.
        assert!(from("qcc.lan", &[("origin", "https://qcc.lan")]));
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let names_one = |uri: &str, headers: &[(&str, &str)]| {
            let request = request(uri, headers);
            host_of(&request, &Look::at(&request.fields)).is_ok()
        };
        assert!(names_one("/", &[("host", "a")]));
        assert!(names_one("http://A:1/", &[("host", "a:1")]));
        assert!(!names_one("/", &[]));
        assert!(!names_one("/", &[("host", "a"), ("host", "a")]));
        assert!(!names_one("http://b/", &[("host", "a")]));
        assert!(!names_one("http://a:1/", &[("host", "a:2")]));
        assert!(!names_one("http://user@a/", &[("host", "a")]));
        assert!(!names_one("/", &[("host", "user@a")]));
    }
}
