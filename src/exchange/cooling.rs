//! How long a rate-limited or overloaded endpoint is left alone.

use std::time::Duration;

use jiff::Timestamp;
use qcc_fsm::Ticks;

use super::Call;
use super::limits::{announced_wait, exhausted_wait, is_exhausted, rate_limit_wait};
use crate::cluster::Endpoint;
use crate::fields::Fields;

/// The wait that an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cooling {
    /// A rate limit that said how long.
    Announced(Duration),
    /// An overload, or a rate limit that said nothing: 1 s, doubling with each one in a row, to 60 s; what
    /// was announced where that is longer.
    Doubling(Option<Duration>),
}

const DOUBLING_MS: u64 = 1_000;
const DOUBLING_MS_MAX: u64 = 60_000;
/// Of each wait a half is left to chance.
const WAIT_MIN: Duration = Duration::from_millis(DOUBLING_MS / 2);

impl Cooling {
    /// What a rate limit's headers say. `now` stands in where the answer has no `Date` of its own to
    /// compare a date with.
    pub fn of_rate_limit(fields: &Fields, now: Timestamp) -> Self {
        rate_limit_wait(fields, now).map_or(Self::Doubling(None), Self::Announced)
    }

    /// What an overload's headers say.
    pub fn of_overload(fields: &Fields, now: Timestamp) -> Self {
        Self::Doubling(announced_wait(fields, now))
    }

    /// What a success's headers say: that it was the last of its window. The limits of calls that don't
    /// make the endpoint work are their own.
    pub fn of_success(call: Call, fields: &Fields, now: impl FnOnce() -> Timestamp) -> Option<Self> {
        // Mostly it was not, and the time of day is not asked for.
        if !call.speaks_for_health() || !is_exhausted(fields) {
            return None;
        }
        let wait = exhausted_wait(fields, now())?;
        (wait > Duration::ZERO).then_some(Self::Announced(wait))
    }
}

/// Leaves an endpoint alone. The cooldown only grows.
pub fn apply_cooldown(endpoint: &Endpoint, cooling: Cooling, now: qcc_fsm::Tick) {
    let wait = match cooling {
        Cooling::Announced(wait) => wait,
        Cooling::Doubling(announced) => {
            let in_row = endpoint.vitals.count_overload(now, Ticks::from_duration(WAIT_MIN));
            let full = (DOUBLING_MS << in_row.min(6)).min(DOUBLING_MS_MAX);
            let doubled = Duration::from_millis(full / 2 + fastrand::u64(..=full / 2));
            doubled.max(announced.unwrap_or_default())
        }
    };
    endpoint.vitals.cooldown.raise(now + Ticks::from_duration(wait));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_rate_limit_that_says_nothing_doubles_and_one_that_speaks_is_heard() {
        let cooling = |pairs| Cooling::of_rate_limit(&headers(pairs), Timestamp::UNIX_EPOCH);
        assert_eq!(cooling(&[]), Cooling::Doubling(None));
        assert_eq!(cooling(&[("retry-after", "7")]), Cooling::Announced(Duration::from_secs(7)));
    }

    #[test]
    fn an_overload_doubles_beside_what_it_announces() {
        let three = Some(Duration::from_secs(3));
        let cooling = Cooling::of_overload(&headers(&[("retry-after", "3")]), Timestamp::UNIX_EPOCH);
        assert_eq!(cooling, Cooling::Doubling(three));
    }

    #[test]
    fn a_success_that_uses_up_its_window_cools_and_only_where_it_is_work() {
        let last = headers(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6s")]);
        let of_success = |call, headers| Cooling::of_success(call, headers, || Timestamp::UNIX_EPOCH);
        let six = Some(Cooling::Announced(Duration::from_secs(6)));
        assert_eq!(of_success(Call::ChatCompletions, &last), six);
        assert_eq!(of_success(Call::Models, &last), None);
        assert_eq!(of_success(Call::ChatCompletions, &headers(&[("retry-after", "6")])), None);
    }
}
