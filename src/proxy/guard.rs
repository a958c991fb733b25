//! The request guard: what may be forwarded at all, and for whom.

use hyper::{Method, Version};

use super::answers::OwnAnswer;
use super::head::RequestHead;
use super::host::{check_origin, host_of};
use super::look::{Look, Once};
use super::target::check_target;
use crate::config::{ClientToken, ClusterSettings};
use crate::fields::Fields;

/// What may be asked under `/v1/`. Of another method nobody here knows what its answer looks like, or whether it
/// may be repeated.
pub static METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Refuses what is not one well-formed request for this proxy; of others says how often an OPTIONS request may still
/// be forwarded, where it says so.
///
/// # Errors
/// The answer that says why.
pub fn check(request: &RequestHead, settings: &ClusterSettings) -> Result<Option<u64>, OwnAnswer> {
    if !METHODS.contains(&request.method) {
        return Err(OwnAnswer::method_not_allowed());
    }
    let look = Look::at(&request.fields);
    let host = host_of(request, &look)?;
    // With client tokens a page that rebinds a name to this address has no token to send.
    if settings.client_tokens.is_empty() && !host.is_own(settings) {
        return Err(OwnAnswer::misdirected(format!(
            "qcc: the Host {:?} is not this proxy's; use its address or localhost",
            host.as_str()
        )));
    }
    check_origin(&look, &host)?;
    check_target(request)?;
    let is_websocket = request.method == Method::GET && request.uri.path() == "/v1/responses";
    if look.asks_for_upgrade && !is_websocket {
        return Err(OwnAnswer::bad_request("qcc: no protocol can be upgraded to here"));
    }
    // RFC 9110 §10.1.1: HTTP/1.0 has no expectations.
    if look.expects_unknown && request.version != Version::HTTP_10 {
        return Err(OwnAnswer::expectation_failed());
    }
    let forwards_left = forwards_left(&request.method, look.max_forwards)?;
    if look.has_passed_here {
        return Err(OwnAnswer::looping());
    }
    Ok(forwards_left)
}

/// RFC 9110 §7.6.2: of other methods the header means nothing.
fn forwards_left(method: &Method, said: Once<'_>) -> Result<Option<u64>, OwnAnswer> {
    if method != Method::OPTIONS {
        return Ok(None);
    }
    let value = match said {
        Once::Absent => return Ok(None),
        Once::One(value) => std::str::from_utf8(value).ok(),
        Once::Several => None,
    };
    let digits = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let left = digits.and_then(|digits| digits.parse().ok());
    left.map(Some).ok_or_else(|| OwnAnswer::bad_request("qcc: Max-Forwards is not one number"))
}

/// The client token that a request came with, where the cluster has some. Clients present a credential as
/// `x-api-key`, as Bearer (RFC 6750 §2.1) or as both, and the two may differ, where a key of the user's own is set
/// beside the token: any right one is enough, and the first right one counts, `x-api-key` before Bearer.
///
/// # Errors
/// The answer to a request without a right one.
pub fn authorise<'s>(
    fields: &Fields,
    settings: &'s ClusterSettings,
) -> Result<Option<&'s ClientToken>, OwnAnswer> {
    if settings.client_tokens.is_empty() {
        return Ok(None);
    }
    let bare = fields.all("x-api-key");
    let bearer = fields.all("authorization").filter_map(bearer_token);
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
    use hyper::Request;

    use super::*;
    use crate::config::{Environment, parse_str};

    fn settings() -> ClusterSettings {
        let text = "[[clusters.a.endpoints]]\nname = 'x'\nbase_url = 'http://x'\napi_key = 'k'\n";
        let parsed = parse_str(text, "config.toml".as_ref(), &Environment::closed([])).unwrap();
        parsed.clusters["a"].clone()
    }

    fn request(method: &str, name: &str, values: &[&str]) -> RequestHead {
        let builder = Request::builder().method(method).uri("/v1/messages").header("host", "localhost");
        let request = values.iter().fold(builder, |builder, value| builder.header(name, *value)).body(());
        RequestHead::from(&request.unwrap())
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
            let mut request = request("POST", "expect", values);
            assert_eq!(check(&request, &settings()).is_ok(), is_met, "{values:?}");
            request.version = Version::HTTP_10;
            assert!(check(&request, &settings()).is_ok(), "{values:?}, in HTTP/1.0, which has none");
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
            let said = |method| check(&request(method, "max-forwards", values), &settings()).map_err(|_| ());
            assert_eq!(said("OPTIONS"), left, "{values:?}");
            assert_eq!(said("GET"), Ok(None), "{values:?}");
        }
    }
}
