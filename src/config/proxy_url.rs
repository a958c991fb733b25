//! The address of an HTTP proxy, with what it asks for.

use std::fmt;

use super::base_url::{check_host, split_port};
use super::error::Fault;
use super::secret::Secret;

/// `http://[user:password@]host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    host: String,
    port: u16,
    credentials: Option<Secret>,
}

impl ProxyUrl {
    /// # Errors
    /// Another scheme, no port, anything after the port, or a user name and password that are no text.
    /// The error never repeats the text, which may hold a password.
    pub(super) fn new(written: &str) -> Result<ProxyUrl, Fault> {
        let form = "as \"http://proxy.lan:3128\" or \"http://user:password@proxy.lan:3128\"";
        let (scheme, rest) = written.split_once("://").unwrap_or(("", written));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(
                Fault::new("must start with http://: only plain HTTP proxies are supported").help(form)
            );
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (userinfo, host_and_port) = match authority.rsplit_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, authority),
        };
        let (host, port) = split_port(host_and_port)?;
        let host = host.to_ascii_lowercase();
        check_host(&host)?;
        let port = port.ok_or_else(|| Fault::new("must name the proxy's port").help(form))?;
        let credentials = userinfo.map(basic_credentials).transpose()?;
        Ok(ProxyUrl { host: host.trim_matches(['[', ']']).to_owned(), port, credentials })
    }

    /// What to connect to: a name or an IP address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User name and password as the `Basic` scheme of `Proxy-Authorization` takes them (RFC 7617 §2).
    pub fn credentials(&self) -> Option<&Secret> {
        self.credentials.as_ref()
    }
}

impl fmt::Display for ProxyUrl {
    /// `host:port`, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

/// `user:password` as a URL has it (RFC 3986 §3.2.1), in base64.
fn basic_credentials(userinfo: &str) -> Result<Secret, Fault> {
    let fault = || {
        Fault::new("the user name and password are not well-formed")
            .help("write `%` and two hex digits for `@`, `/`, `:` and other special characters in them")
    };
    let is_plain = |b: u8| b.is_ascii_graphic() && !br#"/?#[]@"\<>^`{|}"#.contains(&b);
    if userinfo.is_empty() || !userinfo.bytes().all(is_plain) {
        return Err(fault());
    }
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    // Room for both at once: what grows leaves copies of itself behind.
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(userinfo.len() + 1));
    plain.extend_from_slice(&percent_decoded(user).ok_or_else(fault)?);
    if plain.contains(&b':') {
        return Err(Fault::new("the user name must not hold a colon"));
    }
    plain.push(b':');
    plain.extend_from_slice(&zeroize::Zeroizing::new(percent_decoded(password).ok_or_else(fault)?));
    if plain.iter().any(u8::is_ascii_control) {
        return Err(fault());
    }
    Secret::new(&zeroize::Zeroizing::new(base64(&plain)))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                (digit()? * 16 + digit()?) as u8
            }
            plain => plain,
        };
        decoded.push(byte);
    }
    Some(decoded)
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_falls_into_host_port_and_credentials() {
        let plain = ProxyUrl::new("http://Proxy.lan:3128").unwrap();
        assert_eq!((plain.host(), plain.port(), plain.credentials()), ("proxy.lan", 3128, None));
        let v6 = ProxyUrl::new("http://[::1]:8080/").unwrap();
        assert_eq!((v6.host(), v6.to_string()), ("::1", "[::1]:8080".into()));
        let guarded = ProxyUrl::new("http://Aladdin:open%20sesame@proxy.lan:3128").unwrap();
        // The example of RFC 7617 §2.
        assert_eq!(guarded.credentials().unwrap().expose(), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_password_is_shown_by_nothing() {
        let proxy = ProxyUrl::new("http://user:canary@proxy.lan:3128").unwrap();
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.lan:3128 ProxyUrl(proxy.lan:3128)");
        for text in [
            "https://user:canary@proxy.lan:1",
            "socks5://user:canary@proxy.lan:1",
            "http://user:canary@proxy.lan",
            "http://user:canary@proxy.lan:1/path",
            "http://user:canary@proxy.lan:1?x",
            "http://user:can%2@proxy.lan:1",
            "http://user:can%0aary@proxy.lan:1",
            "http://us%3Aer:canary@proxy.lan:1",
            "http://user:can ary@proxy.lan:1",
            "http://user:canary@:1",
            "user:canary@proxy.lan:1",
        ] {
            let shown = ProxyUrl::new(text).map(|_| ()).unwrap_err().to_string();
            assert!(!shown.contains("can"), "{text}: {shown}");
        }
    }

    #[test]
    fn another_scheme_is_told_what_is_supported() {
        for text in ["https://proxy.lan:3128", "socks5://proxy.lan:1080", "proxy.lan:3128", ""] {
            let shown = ProxyUrl::new(text).unwrap_err().to_string();
            assert!(shown.contains("only plain HTTP proxies are supported"), "{shown}");
        }
    }
}
