//! The request guard: what may be forwarded at all, and for whom.

use hyper::http::header::{AUTHORIZATION, EXPECT, HeaderMap, MAX_FORWARDS, UPGRADE};
use hyper::{Method, Request, Version};

use super::answers::OwnAnswer;
use super::host::{check_origin, host_of};
use super::target::check_target;
use crate::config::{ClientToken, ClusterSettings};
use crate::upstream::has_passed_here;

/// What may be asked under `/v1/`. Of another method nobody here knows what its answer looks like, or whether it
/// may be repeated.
pub static METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Refuses what is not one well-formed request for this proxy.
///
/// # Errors
/// The answer that says why.
pub fn check<B>(request: &Request<B>, settings: &ClusterSettings) -> Result<(), OwnAnswer> {
    if !METHODS.contains(request.method()) {
        return Err(OwnAnswer::method_not_allowed());
    }
    let host = host_of(request)?;
    // With client tokens a page that rebinds a name to this address has no token to send.
    if settings.client_tokens.is_empty() && !host.is_own(settings) {
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
    check_expectation(request)?;
    forwards_left(request)?;
    if has_passed_here(request.headers()) {
        return Err(OwnAnswer::looping());
    }
    Ok(())
}

/// RFC 9110 §10.1.1: there is one expectation, and HTTP/1.0 has none.
fn check_expectation<B>(request: &Request<B>) -> Result<(), OwnAnswer> {
    let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    let are_known = request.headers().get_all(EXPECT).iter().all(|value| is_known(value.as_bytes()));
    if are_known || request.version() == Version::HTTP_10 {
        return Ok(());
    }
    Err(OwnAnswer::expectation_failed())
}

/// How often an OPTIONS request may still be forwarded, where it says so (RFC 9110 §7.6.2; of other methods the
/// header means nothing).
///
/// # Errors
/// The answer to one that does not say it as one number.
pub fn forwards_left<B>(request: &Request<B>) -> Result<Option<u64>, OwnAnswer> {
    let mut said = request.headers().get_all(MAX_FORWARDS).iter();
    let (Some(value), is_options) = (said.next(), request.method() == Method::OPTIONS) else {
        return Ok(None);
    };
    if !is_options {
        return Ok(None);
    }
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), said.next()) {
        (Some(left), None) => Ok(Some(left)),
        (None, _) | (Some(_), Some(_)) => Err(OwnAnswer::bad_request("qcc: Max-Forwards is not one number")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn one_expectation_is_known() {
        for (values, is_met) in [
            (&[][..], true),
            (&["100-continue"], true),
            (&["100-Continue"], true),
            (&["100-continue", "100-continue"], true),
            (&["200-ok"], false),
            (&["100-continue, x"], false),
            (&["100-continue", "x"], false),
            (&[""], false),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("expect", *value)).collect();
            assert_eq!(check_expectation(&request("POST", &headers)).is_ok(), is_met, "{values:?}");
        }
    }

    #[test]
    fn how_often_a_request_may_be_forwarded_is_one_number() {
        for (values, left) in [
            (&[][..], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["010"], Ok(Some(10))),
            (&["1", "1"], Err(())),
            (&["-1"], Err(())),
            (&["+1"], Err(())),
            (&["1, 2"], Err(())),
            (&["x"], Err(())),
            (&[""], Err(())),
            (&["18446744073709551616"], Err(())),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("max-forwards", *value)).collect();
            let said = forwards_left(&request("OPTIONS", &headers)).map_err(|_| ());
            assert_eq!(said, left, "{values:?}");
            assert_eq!(forwards_left(&request("GET", &headers)).map_err(|_| ()), Ok(None), "{values:?}");
        }
    }
}
