//! What a request asks for. It is forwarded byte for byte, so what an upstream could read in two ways is refused.

use hyper::Method;
use hyper::http::uri::{PathAndQuery, Scheme};

use super::answers::OwnAnswer;
use super::head::RequestHead;
use crate::charset::Charset;
use crate::upstream::TARGET_BYTES_MAX;

/// RFC 3986 §3.3: what paths are made of, with the slashes between segments and the percent signs of escapes.
static PATH_CHARS: Charset = Charset::alphanumeric_and(b"-._~!$&'()*+,;=:@%/");

/// Refuses a target that is no path, is too long, or that readers could take for different ones.
///
/// # Errors
/// The answer that says why.
pub fn check_target(request: &RequestHead) -> Result<(), OwnAnswer> {
    let uri = &request.uri;
    let is_of_http = uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let Some(target) = uri.path_and_query().filter(|_| is_of_http) else {
        return Err(OwnAnswer::bad_request("qcc: the target must be a path"));
    };
    if target.as_str().len() > TARGET_BYTES_MAX {
        return Err(OwnAnswer::target_too_long());
    }
    match is_plain(target) || is_whole_server(&request.method, target) {
        true => Ok(()),
        false => Err(OwnAnswer::bad_request(
            "qcc: the target must be a path without characters, dots, slashes or escapes that could be read in \
             two ways",
        )),
    }
}

/// RFC 9112 §3.2.4: `OPTIONS *` asks for the server itself.
fn is_whole_server(method: &Method, target: &PathAndQuery) -> bool {
    method == Method::OPTIONS && target.as_str() == "*"
}

fn is_plain(target: &PathAndQuery) -> bool {
    // A query has no structure that servers agree on: they keep it as it is, so visible characters will do.
    let query = target.query().unwrap_or_default();
    target.as_str().starts_with('/')
        && query.bytes().all(|byte| byte.is_ascii_graphic())
        && is_plain_path(target.path())
}

/// A path without what normalising, decoding (once or twice) or cutting off parameters would change.
fn is_plain_path(path: &str) -> bool {
    PATH_CHARS.has_all(path.as_bytes()) && (is_evidently_plain(path) || is_plain_in_each_segment(path))
}

/// Most paths: there is no escape, and each segment begins with what can be nothing else.
fn is_evidently_plain(path: &str) -> bool {
    let could_change = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.' | b';');
    !path.as_bytes().contains(&b'%') && !path.as_bytes().windows(2).any(could_change)
}

fn is_plain_in_each_segment(path: &str) -> bool {
    (!path.contains('%') || has_plain_escapes(path))
        && !path.contains("//")
        && path.split('/').skip(1).all(is_plain_segment)
}

/// Some servers cut off what follows a `;` before they look at the dots.
fn is_plain_segment(segment: &str) -> bool {
    let is_empty_but_for_parameters = segment.starts_with(';') || starts_with_escaped_semicolon(segment);
    let dots = segment.bytes().take_while(|&byte| byte == b'.').count();
    let rest = &segment[dots..];
    let is_dots = matches!(dots, 1 | 2)
        && (rest.is_empty() || rest.starts_with(';') || starts_with_escaped_semicolon(rest));
    !is_empty_but_for_parameters && !is_dots
}

fn starts_with_escaped_semicolon(text: &str) -> bool {
    text.as_bytes().get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"%3b"))
}

/// Whether every `%` begins an escape, and what they stand for are characters (no overlong UTF-8, RFC 3629 §3)
/// that are no delimiters, no dots and no controls.
fn has_plain_escapes(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let Some(byte) = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
        else {
            return false;
        };
        if byte.is_ascii_control() || b"./\\%#?".contains(&byte) {
            return false;
        }
        decoded.push(byte);
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use proptest::prelude::*;

    use super::*;

    fn request(method: &str, uri: &str) -> RequestHead {
        RequestHead::from(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for path in [
            "/v1/../admin",
            "/v1/..",
            "/v1/.",
            "/v1/./x",
            "/v1/%2e%2e/x",
            "/v1/.%2E/x",
            "/v1/%252e%252e/x",
            "/v1/%25",
            "/v1//messages",
            "//v1/messages",
            "/v1/a%2Fb",
            "/v1/a%5cb",
            "/v1/a\\b",
            "/v1/..;/x",
            "/v1/..;a=b/x",
            "/v1/.;/x",
            "/v1/..%3B/x",
            "/v1/;/x",
            "/v1/;a=b",
            "/v1/%3b/x",
            "/v1/a%00",
            "/v1/a%0d%0ab",
            "/v1/a%7f",
            "/v1/a%23b",
            "/v1/a%3Fb",
            "/v1/%c0%ae%c0%ae/x",
            "/v1/%e0%80%af",
            "/v1/%ff",
            "/v1/a%",
            "/v1/a%4",
            "/v1/a%zz",
            "/v1/%u002e",
            "/v1/%+1",
            "/v1/\u{fc}",
            "/v1/{x}",
            "/v1/x|y",
            "/v1/[x]",
            "/v1/messages?\u{fc}",
            "ftp://h/v1/messages",
            "h:80",
            "*",
        ] {
            assert!(check_target(&request("POST", path)).is_err(), "{path}");
        }
    }

    #[test]
    fn what_all_read_alike_may_pass() {
        for path in [
            "/",
            "/v1/messages?beta=true&x=..",
            "/v1/messages?a=//x&b=%2e%2e/%00&c=\\;[]{}",
            "/v1/messages?",
            "/v1/messages/",
            "/v1/models/claude.3",
            "/v1/models/...",
            "/v1/models/..x",
            "/v1/models/.well-known",
            "/v1/models/ft:gpt-4o:org::id@1",
            "/v1/files/a..b;c=1",
            "/v1/files/a%20b%C3%BC%3bc",
            "http://h/v1/messages",
        ] {
            assert!(check_target(&request("POST", path)).is_ok(), "{path}");
        }
        assert!(check_target(&request("OPTIONS", "*")).is_ok());
    }

    proptest! {
        #[test]
        fn a_path_that_is_evidently_plain_is_plain_in_each_segment(path in "(/[/.;%3bB2eE]{0,2}[a-c.;%]{0,3}){1,4}") {
            prop_assert!(!is_evidently_plain(&path) || is_plain_in_each_segment(&path));
        }
    }

    #[test]
    fn a_target_is_as_long_as_may_go_up_and_no_longer() {
        let of_length = |length: usize| format!("/v1/{}", "x".repeat(length - 4));
        assert!(check_target(&request("GET", &of_length(TARGET_BYTES_MAX))).is_ok());
        assert!(check_target(&request("GET", &of_length(TARGET_BYTES_MAX + 1))).is_err());
    }
}
