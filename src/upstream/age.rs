//! How long a connection is kept.

use std::time::Duration;

use crate::clock::Deadline;

/// How long a connection may lie idle: below the keep-alive time of common servers (60–75 s), so that
/// it is rarely the upstream that closes first.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(50);
/// How long a connection is given new requests: changes of the name's addresses are followed within it.
const LIFE_MAX: Duration = Duration::from_secs(10 * 60);
/// Connections that were opened together are not to end together: each loses up to this share of its life.
const JITTER: f64 = 0.2;

/// Until when a connection that is opened now is given new requests.
pub(super) fn end_of_life() -> Deadline {
    Deadline::after(LIFE_MAX.mul_f64(1.0 - JITTER * fastrand::f64()))
}

/// How long the connection of an answer may lie idle, by a `Keep-Alive: timeout=N` of the upstream's: a second less than
/// that (RFC 2068 §19.7.1.1; Node.js: 5 s), since its clock began to run before ours.
pub(super) fn idle_allowed(keep_alive: &[u8]) -> Option<Duration> {
    let parameters = std::str::from_utf8(keep_alive).ok()?.split(',');
    let mut parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let seconds: u32 = seconds.trim().trim_matches('"').parse().ok()?;
    Some(IDLE_MAX.min(Duration::from_secs(u64::from(seconds.saturating_sub(1)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_keep_alive_time_is_undercut_by_a_second_and_never_stretches_ours() {
        for (value, seconds) in [
            ("timeout=5", Some(4)),
            ("timeout=5, max=100", Some(4)),
            ("max=100,Timeout = \"7\"", Some(6)),
            ("timeout=1", Some(0)),
            ("timeout=0", Some(0)),
            ("timeout=600", Some(50)),
            ("timeout=x", None),
            ("max=3", None),
        ] {
            let allowed = idle_allowed(value.as_bytes());
            assert_eq!(allowed, seconds.map(Duration::from_secs), "{value}");
        }
    }
}
