//! How long a connection is kept.

use std::time::Duration;

use hyper::http::HeaderMap;

use crate::clock::Stopwatch;

/// How long a connection may lie idle: below the keep-alive time of common servers (60–75 s), so that
/// it is rarely the upstream that closes first.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(50);
/// How long a connection is given new requests: changes of the name's addresses are followed within it.
const LIFE_MAX: Duration = Duration::from_secs(10 * 60);
/// Connections that were opened together are not to end together: each loses up to this share of its life.
const JITTER: f64 = 0.2;

/// The age of a connection, and the end of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    opened: Stopwatch,
    ends: Duration,
}

impl Age {
    pub fn new() -> Self {
        Self { opened: Stopwatch::start(), ends: LIFE_MAX.mul_f64(1.0 - JITTER * fastrand::f64()) }
    }

    /// Whether it is too old for another request.
    pub fn is_over(&self) -> bool {
        self.opened.elapsed() >= self.ends
    }
}

/// How long the connection of an answer may lie idle: a second less than the `Keep-Alive: timeout=N` that the
/// upstream announces (RFC 2068 §19.7.1.1; Node.js: 5 s), since its clock began to run before ours.
pub(super) fn idle_allowed(headers: &HeaderMap) -> Duration {
    let announced = headers
        .get_all("keep-alive")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u32>().ok());
    match announced {
        Some(seconds) => IDLE_MAX.min(Duration::from_secs(u64::from(seconds.saturating_sub(1)))),
        None => IDLE_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_keep_alive_time_is_undercut_by_a_second_and_never_stretches_ours() {
        for (value, seconds) in [
            ("timeout=5", 4),
            ("timeout=5, max=100", 4),
            ("max=100,Timeout = \"7\"", 6),
            ("timeout=1", 0),
            ("timeout=0", 0),
            ("timeout=600", 50),
            ("timeout=x", 50),
            ("max=3", 50),
        ] {
            let headers = HeaderMap::from_iter([("keep-alive".parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(idle_allowed(&headers), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(idle_allowed(&HeaderMap::new()), IDLE_MAX);
    }
}
