//! How long a rate-limited or overloaded endpoint is left alone.

use std::time::Duration;

use hyper::http::header::{self, HeaderMap};
use jiff::Timestamp;
use qcc_fsm::Ticks;

use crate::cluster::Endpoint;

/// The wait that an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cooling {
    /// A rate limit that said how long.
    Announced(Duration),
    /// An overload, or a rate limit that said nothing: 1 s, doubling with each one in a row, to 60 s; what
    /// was announced where that is longer.
    Doubling(Option<Duration>),
}

/// The longest wait that is believed: the window of a subscription may be hours.
const ANNOUNCED_MAX: Duration = Duration::from_secs(24 * 3600);
const DOUBLING_MS_MAX: u64 = 60_000;

impl Cooling {
    /// What a rate limit's headers say. `now` stands in where the answer has no `Date` of its own to
    /// compare a date with.
    pub fn of_rate_limit(headers: &HeaderMap, now: Timestamp) -> Self {
        announced(headers, now).map_or(Self::Doubling(None), Self::Announced)
    }

    /// What an overload's headers say.
    pub fn of_overload(headers: &HeaderMap, now: Timestamp) -> Self {
        Self::Doubling(announced(headers, now))
    }
}

/// Of two announcements the longer counts.
fn announced(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    retry_after_ms(headers).max(retry_after(headers, now)).map(|wait| wait.min(ANNOUNCED_MAX))
}

/// Leaves an endpoint alone. The cooldown only grows.
pub fn apply_cooldown(endpoint: &Endpoint, cooling: Cooling, now: qcc_fsm::Tick) {
    let wait = match cooling {
        Cooling::Announced(wait) => wait,
        Cooling::Doubling(announced) => {
            let full = (1_000u64 << endpoint.vitals.count_overload().min(6)).min(DOUBLING_MS_MAX);
            let doubled = Duration::from_millis(full / 2 + fastrand::u64(..=full / 2));
            doubled.max(announced.unwrap_or_default())
        }
    };
    endpoint.vitals.cooldown.raise(now + Ticks::from_duration(wait));
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `retry-after-ms`, as OpenAI sends it.
fn retry_after_ms(headers: &HeaderMap) -> Option<Duration> {
    let ms: f64 = text(headers, "retry-after-ms")?.parse().ok()?;
    Duration::try_from_secs_f64(ms / 1000.0).ok()
}

/// `Retry-After`: seconds, or an HTTP date (RFC 9110 §10.2.3), which is compared with the answer's own
/// `Date`, so that clocks that differ make no difference.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, "retry-after")?;
    if let Ok(secs) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(secs).ok();
    }
    let until = http_date(value)?;
    let sent = text(headers, header::DATE.as_str()).and_then(http_date).unwrap_or(now);
    Some(Duration::try_from(until.duration_since(sent)).unwrap_or_default())
}

/// IMF-fixdate (RFC 9110 §5.6.7), which is an RFC 5322 date.
fn http_date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cooling(pairs: &[(&'static str, &'static str)]) -> Cooling {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>();
        Cooling::of_rate_limit(&headers, Timestamp::UNIX_EPOCH)
    }

    fn secs(secs: u64) -> Cooling {
        Cooling::Announced(Duration::from_secs(secs))
    }

    #[test]
    fn seconds_milliseconds_and_dates_are_understood() {
        assert_eq!(cooling(&[("retry-after", "7")]), secs(7));
        assert_eq!(cooling(&[("retry-after-ms", "1500")]), Cooling::Announced(Duration::from_millis(1500)));
        let dates =
            [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")];
        assert_eq!(cooling(&dates), secs(30));
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait() {
        let dates =
            [("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")];
        assert_eq!(cooling(&dates), secs(0));
    }

    #[test]
    fn of_two_announcements_the_longer_counts() {
        assert_eq!(cooling(&[("retry-after", "70"), ("retry-after-ms", "1500")]), secs(70));
        assert_eq!(
            cooling(&[("retry-after", "1"), ("retry-after-ms", "1500")]),
            Cooling::Announced(Duration::from_millis(1500))
        );
    }

    #[test]
    fn what_is_announced_is_believed_for_a_day_at_most() {
        assert_eq!(cooling(&[("retry-after", "7999")]), secs(7999));
        assert_eq!(cooling(&[("retry-after", "900000")]), secs(24 * 3600));
    }

    #[test]
    fn an_overload_doubles_beside_what_it_announces() {
        let headers = HeaderMap::from_iter([("retry-after".parse().unwrap(), "3".parse().unwrap())]);
        let three = Some(Duration::from_secs(3));
        assert_eq!(Cooling::of_overload(&headers, Timestamp::UNIX_EPOCH), Cooling::Doubling(three));
    }

    #[test]
    fn nonsense_is_no_announcement() {
        for value in ["", "soon", "-3", "NaN", "inf", "1e400"] {
            assert_eq!(cooling(&[("retry-after", value)]), Cooling::Doubling(None), "{value}");
        }
    }
}
