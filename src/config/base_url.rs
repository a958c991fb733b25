//! The address of an endpoint, up to where the client's own path begins.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::Fault;

/// Longest address: short enough to leave room for a client's path behind it.
pub const BASE_URL_BYTES_MAX: usize = 2048;
/// Longest host name (RFC 1035 §2.3.4) and longest of its labels, in bytes.
const HOST_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

/// Ends of a path that repeat what the client's path has already.
const CLIENT_PATHS: [&str; 5] =
    ["/v1", "/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/models"];

/// `http://` or `https://`, a host, maybe a port, maybe a path prefix; nothing that could hold a
/// credential or change which host a request goes to.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    written: String,
    scheme: Scheme,
    host: String,
    port: u16,
    authority: String,
    path_prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl BaseUrl {
    /// # Errors
    /// Anything but scheme, host, port and path; a path with `..`, empty segments or escapes; a path
    /// that ends in `/v1`; more than [`BASE_URL_BYTES_MAX`]. The error never repeats the text, which may hold a password.
    pub(super) fn new(written: &str) -> Result<BaseUrl, Fault> {
        if written.len() > BASE_URL_BYTES_MAX {
            return Err(Fault::new(format!("must not be longer than {BASE_URL_BYTES_MAX} bytes")));
        }
        let (scheme, rest) = split_scheme(written)?;
        refuse_what_is_no_address(rest)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(
                Fault::new("must not hold a user name or password").help("the key belongs in api_key")
            );
        }
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        check_host(&host)?;
        let path_prefix = path.strip_suffix('/').unwrap_or(path);
        check_path(path_prefix)?;
        let port = port.unwrap_or(scheme.default_port());
        let authority = if port == scheme.default_port() { host.clone() } else { format!("{host}:{port}") };
        Ok(BaseUrl {
            written: written.to_owned(),
            scheme,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority,
            path_prefix: path_prefix.to_owned(),
        })
    }

    /// As the file has it.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// What to connect to and to verify: a name or an IP address, lower case, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to: 80 or 443 where the file has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For the `Host` header: IPv6 in brackets, the port only where it isn't the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What goes before the client's path: `""`, or as `"/anthropic"`, never with a slash at the end.
    pub fn path_prefix(&self) -> &str {
        &self.path_prefix
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), Fault> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok((Scheme::Https, rest)),
        "http" => Ok((Scheme::Http, rest)),
        _ => Err(Fault::new("must start with https:// or http://").help("as \"https://api.anthropic.com\"")),
    }
}

fn refuse_what_is_no_address(rest: &str) -> Result<(), Fault> {
    if rest.contains('?') {
        return Err(Fault::new("must not have a query (`?…`)"));
    }
    if rest.contains('#') {
        return Err(Fault::new("must not have a fragment (`#…`)"));
    }
    if !rest.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return Err(Fault::new("must be ASCII without spaces, control characters or backslashes")
            .help("write a name in another script in its xn-- form"));
    }
    Ok(())
}

/// Host (IPv6 still in its brackets) and port.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>), Fault> {
    let end_of_host = match authority.starts_with('[') {
        true => authority.find(']').map_or(authority.len(), |bracket| bracket + 1),
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end_of_host);
    if rest.is_empty() {
        return Ok((host, None));
    }
    rest.strip_prefix(':')
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|port| *port != 0)
        .map(|port| (host, Some(port)))
        .ok_or_else(|| {
            Fault::new("after the host only a port from 1 to 65535 and a path may follow")
                .help("an IPv6 address stands in brackets: \"http://[::1]:8080\"")
        })
}

pub(super) fn check_host(host: &str) -> Result<(), Fault> {
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let well_formed = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || is_dns_name(host),
    };
    if host.is_empty() {
        Err(Fault::new("must name a host").help("as \"https://api.anthropic.com\""))
    } else if !well_formed {
        Err(Fault::new("the host must be a DNS name, an IPv4 address or an IPv6 address in brackets"))
    } else {
        Ok(())
    }
}

/// `_` is allowed: names of containers have it. A last label of digits only would be read as a
/// short form of some IPv4 address.
fn is_dns_name(host: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=LABEL_MAX_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ends_in_number = host
        .rsplit('.')
        .next()
        .is_some_and(|label| label.starts_with("0x") || label.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= HOST_MAX_BYTES && host.split('.').all(label_ok) && !ends_in_number
}

fn check_path(prefix: &str) -> Result<(), Fault> {
    let segment_ok = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
    };
    let mut segments = prefix.split('/').skip(1);
    if !segments.all(segment_ok) {
        return Err(Fault::new(
            "the path must not have empty segments, `.`, `..`, `%` or other special characters",
        ));
    }
    match CLIENT_PATHS.iter().find(|end| prefix.ends_with(**end)) {
        Some(end) => Err(Fault::new(format!("must not end in {end}"))
            .help(format!("leave out {end}: it is in the path that the client sends"))),
        None => Ok(()),
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({})", self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        BaseUrl::new(text).map(|url| url.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn an_address_falls_into_its_parts() {
        for (text, host, port, authority, prefix) in [
            ("https://api.anthropic.com", "api.anthropic.com", 443, "api.anthropic.com", ""),
            ("https://API.Anthropic.com/", "api.anthropic.com", 443, "api.anthropic.com", ""),
            ("https://relay.example/anthropic/", "relay.example", 443, "relay.example", "/anthropic"),
            ("HTTP://127.0.0.1:8080/a/B", "127.0.0.1", 8080, "127.0.0.1:8080", "/a/B"),
            ("http://[::1]:80", "::1", 80, "[::1]", ""),
            ("https://[::1]:80", "::1", 80, "[::1]:80", ""),
            ("http://my_relay:3000", "my_relay", 3000, "my_relay:3000", ""),
            (
                "https://gateway.example/v1/team/anthropic",
                "gateway.example",
                443,
                "gateway.example",
                "/v1/team/anthropic",
            ),
        ] {
            let url = BaseUrl::new(text).unwrap();
            let parts = (url.host(), url.port(), url.authority(), url.path_prefix());
            assert_eq!(parts, (host, port, authority, prefix), "{text}");
            assert_eq!(url.as_str(), text);
            assert_eq!(url.is_https(), text.starts_with("https"), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        let words = "api.anthropic.com ftp://a https:/a https:// https:///x https://:443 https://a:0 https://a:65536 \
            https://a:+1 https://a: https://ä.de https://a\\b https://[::1 https://[::1]x https://[1.2.3.4] \
            https://::1 https://a..b https://-a https://a. https://127.1 https://0x7f000001 https://1.2.3.4.5 \
            https://a//b https://a/b// https://a/../b https://a/. https://a/%2e https://a/%2Fb https://a/[ https://a]";
        for text in words.split(' ').chain(["", "https://a b", "https://a\nb", " https://a", "https://a\0"]) {
            assert!(BaseUrl::new(text).is_err(), "{text}");
        }
        let of_length = |length: usize| format!("https://a/{}", "x".repeat(length - "https://a/".len()));
        assert!(BaseUrl::new(&of_length(BASE_URL_BYTES_MAX)).is_ok());
        assert!(BaseUrl::new(&of_length(BASE_URL_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_password_in_the_address_is_not_repeated() {
        for text in [
            "https://user:sk-canary@host/x",
            "https://sk-canary@host",
            "https://host?key=sk-canary",
            "https://h#sk-canary",
        ] {
            assert!(!fault(text).contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_path_that_the_client_sends_anyway_is_pointed_out() {
        for text in ["https://api.openai.com/v1", "https://openrouter.ai/api/v1/", "https://a/v1/messages"] {
            assert!(fault(text).contains("leave out /v1"), "{text}");
        }
        assert!(BaseUrl::new("https://a/xv1").is_ok());
    }
}
