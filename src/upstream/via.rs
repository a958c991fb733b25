//! How a request that comes back is known.
//!
//! RFC 9110 §7.6.3 asks a gateway to name itself in `Via`. This one does so only where a request could come back,
//! which is where an endpoint is reached without TLS: vendors should see no difference to their own client, and
//! some servers (nginx, by its `gzip_proxied`) compress nothing for a request with a `Via`. A client's own `Via`
//! passes as it is.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use hyper::http::header::HeaderValue;
use memchr::memmem;

/// The pseudonym of this process: a random one, since a host name would tell who is there. It is drawn apart from
/// all other lots, which a simulation draws again.
static PSEUDONYM: LazyLock<String> =
    LazyLock::new(|| format!("qcc-{:016x}", RandomState::new().hash_one(())));

/// What this process adds to the `Via` of a request.
pub(super) fn mark() -> Option<&'static HeaderValue> {
    static MARK: LazyLock<Option<HeaderValue>> =
        LazyLock::new(|| HeaderValue::from_str(&format!("1.1 {}", *PSEUDONYM)).ok());
    MARK.as_ref()
}

/// Whether this process has forwarded the request with this `Via` already.
pub fn has_passed_here(via: &[u8]) -> bool {
    memmem::find(via, PSEUDONYM.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_back_is_known_among_others_in_its_way() {
        let others = "1.1 qcc-0123456789abcdef, 1.0 fred";
        assert!(!has_passed_here(others.as_bytes()));
        let ours = mark().unwrap().to_str().unwrap();
        assert!(has_passed_here(ours.as_bytes()));
        assert!(has_passed_here(format!("{others},{ours}, 1.1 nginx").as_bytes()));
    }
}
