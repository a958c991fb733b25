//! What the headers of an answer say of waiting: `retry-after` and its kin, and the vendors' rate-limit
//! windows.
//!
//! Sources: RFC 9110 §10.2.3; <https://platform.claude.com/docs/en/api/rate-limits>;
//! <https://platform.openai.com/docs/guides/rate-limits>; the `unified` windows of Anthropic's
//! subscriptions as they were observed.

use std::time::Duration;

use jiff::Timestamp;

use crate::fields::{Field, Fields};

const UNIFIED_STATUS: &str = "anthropic-ratelimit-unified-status";

/// The longest wait that is believed: the window of a subscription may be hours.
const ANNOUNCED_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest wait that is taken from windows of which none is known to be the one that refused.
const GUESSED_MAX: Duration = Duration::from_secs(5 * 60);
/// A number of seconds from here on is a date: it would be a wait of 31 years.
const EPOCH_SECS_MIN: f64 = 1e9;
/// A date from here on counts milliseconds.
const EPOCH_MS_MIN: f64 = 1e12;

/// The wait that `retry-after` or `retry-after-ms` announces, 24 h at most; of both the longer. `now`
/// stands in where the answer has no `Date` of its own.
pub fn announced_wait(fields: &Fields, now: Timestamp) -> Option<Duration> {
    retry_after_ms(fields).max(retry_after(fields, now)).map(|wait| wait.min(ANNOUNCED_MAX))
}

/// Whether nothing remains of some window.
pub fn is_exhausted(fields: &Fields) -> bool {
    fields.iter().any(|field| level(&field) == Some(Level::Nothing))
}

/// The wait until every window of which nothing remains is filled again, 24 h at most; none where all
/// have something left. It allocates nothing unless some window is used up.
pub fn exhausted_wait(fields: &Fields, now: Timestamp) -> Option<Duration> {
    let waits = fields.iter().filter(|field| level(field) == Some(Level::Nothing));
    let waits = waits.filter_map(|field| Window::of(&field)?.wait(fields, now));
    waits.max().map(|wait| wait.min(ANNOUNCED_MAX))
}

/// The wait that a refusal for its rate asks for. Where no window says that it is the one, their resets
/// are a guess, 5 min at most; beside an announcement only those count that don't say that they have
/// something left.
pub fn rate_limit_wait(fields: &Fields, now: Timestamp) -> Option<Duration> {
    let announced = announced_wait(fields, now);
    if let Some(exhausted) = exhausted_wait(fields, now) {
        return announced.max(Some(exhausted));
    }
    let may_be_it = |window: &Window<'_>| announced.is_none() || !window.has_something_left(fields);
    let windows = fields.iter().filter_map(|field| Window::of_reset(&field)).filter(may_be_it);
    let guessed = windows.filter_map(|window| window.wait(fields, now)).max();
    announced.max(guessed.map(|wait| wait.min(GUESSED_MAX)))
}

/// What a header says of how much its window has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Nothing,
    Something,
}

const ANTHROPIC: &str = "anthropic-ratelimit-";
const OPENAI: &str = "x-ratelimit-";

/// One window, by the part of its headers' names that tells it from others: `input-tokens`,
/// `unified-5h`, `requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window<'a> {
    /// `anthropic-ratelimit-WINDOW-reset`
    Anthropic(&'a str),
    /// `x-ratelimit-reset-WINDOW`, or with nothing after `reset`.
    OpenAi(&'a str),
}

fn level(field: &Field<'_>) -> Option<Level> {
    let Field { name, value, .. } = *field;
    let says_remaining = match name.strip_prefix(OPENAI.as_bytes()) {
        Some(rest) => rest.starts_with(b"remaining"),
        None => {
            let rest = name.strip_prefix(ANTHROPIC.as_bytes())?;
            if let Some(window) = rest.strip_suffix(b"-status") {
                // What is beyond the subscription is refused to most, whatever the subscription has left.
                let is_window = window.starts_with(b"unified") && window != b"unified-overage";
                return is_window
                    .then(|| if value == b"rejected" { Level::Nothing } else { Level::Something });
            }
            rest.ends_with(b"-remaining")
        }
    };
    if !says_remaining {
        return None;
    }
    level_of_figure(value)
}

fn level_of_figure(digits: &[u8]) -> Option<Level> {
    // Nearly all are whole numbers, of which no more is asked.
    let is_nothing = if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        digits.iter().all(|&digit| digit == b'0')
    } else {
        let remaining: f64 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
        // Some send -1 for "not known".
        if remaining.is_nan() || remaining < 0.0 {
            return None;
        }
        remaining == 0.0
    };
    Some(if is_nothing { Level::Nothing } else { Level::Something })
}

impl<'a> Window<'a> {
    /// The window that a header belongs to.
    fn of(field: &Field<'a>) -> Option<Self> {
        let name = std::str::from_utf8(field.name).ok()?;
        if let Some(rest) = name.strip_prefix(ANTHROPIC) {
            let (window, _) = rest.rsplit_once('-')?;
            return (window != "unified-overage").then_some(Self::Anthropic(window));
        }
        let rest = name.strip_prefix(OPENAI)?;
        Some(Self::OpenAi(rest.split_once('-').map_or("", |(_, window)| window)))
    }

    fn of_reset(field: &Field<'a>) -> Option<Self> {
        let text = std::str::from_utf8(field.name).ok()?;
        let is_reset = match text.strip_prefix(OPENAI) {
            Some(rest) => rest.starts_with("reset"),
            None => text.ends_with("-reset"),
        };
        if is_reset { Self::of(field) } else { None }
    }

    /// The time until it is filled again; none where it does not say, or where the subscription that it
    /// is a part of goes on without it.
    fn wait(self, fields: &Fields, now: Timestamp) -> Option<Duration> {
        if self.is_overruled(fields) {
            return None;
        }
        let (name, is_date) = match self {
            Self::Anthropic(window) => (format!("{ANTHROPIC}{window}-reset"), true),
            Self::OpenAi("") => (format!("{OPENAI}reset"), false),
            Self::OpenAi(window) => (format!("{OPENAI}reset-{window}"), false),
        };
        let value = text(fields, &name)?;
        if is_date { until_date(value, fields, now) } else { span(value, fields, now) }
    }

    fn has_something_left(self, fields: &'a Fields) -> bool {
        let mut levels = fields.iter().filter(|field| Self::of(field) == Some(self));
        self.is_overruled(fields) || levels.any(|field| level(&field) == Some(Level::Something))
    }

    /// Whether it is a window of a subscription that as a whole still serves.
    fn is_overruled(self, fields: &Fields) -> bool {
        matches!(self, Self::Anthropic(window) if window.starts_with("unified-"))
            && fields.first(UNIFIED_STATUS).is_some_and(|status| status != b"rejected")
    }
}

fn text<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a str> {
    fields.text(name).map(str::trim)
}

/// `retry-after-ms`, as OpenAI sends it.
fn retry_after_ms(fields: &Fields) -> Option<Duration> {
    let ms: f64 = text(fields, "retry-after-ms")?.parse().ok()?;
    Duration::try_from_secs_f64(ms / 1000.0).ok()
}

/// `Retry-After`: seconds, or an HTTP date.
fn retry_after(fields: &Fields, now: Timestamp) -> Option<Duration> {
    let value = text(fields, "retry-after")?;
    if let Ok(secs) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(secs).ok();
    }
    Some(until(http_date(value)?, fields, now))
}

/// The time from the answer's own `Date`, so that clocks that differ make no difference.
fn until(moment: Timestamp, fields: &Fields, now: Timestamp) -> Duration {
    let sent = text(fields, "date").and_then(http_date).unwrap_or(now);
    Duration::try_from(moment.duration_since(sent)).unwrap_or_default()
}

/// IMF-fixdate (RFC 9110 §5.6.7), which is an RFC 5322 date.
fn http_date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

/// The time until an RFC 3339 date, or one in seconds since 1970.
fn until_date(value: &str, fields: &Fields, now: Timestamp) -> Option<Duration> {
    let date = match value.parse::<f64>() {
        Ok(secs) => epoch(secs)?,
        Err(_) => value.parse().ok()?,
    };
    Some(until(date, fields, now))
}

fn epoch(secs: f64) -> Option<Timestamp> {
    let secs = if secs >= EPOCH_MS_MIN { secs / 1000.0 } else { secs };
    Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(secs).ok()?).ok()
}

/// A span as Go writes it (`1h2m3.5s`, `20ms`), or in seconds, or a date in seconds since 1970.
fn span(value: &str, fields: &Fields, now: Timestamp) -> Option<Duration> {
    match value.parse::<f64>() {
        Ok(secs) if secs >= EPOCH_SECS_MIN => Some(until(epoch(secs)?, fields, now)),
        Ok(secs) => Duration::try_from_secs_f64(secs).ok(),
        Err(_) => go_span(value),
    }
}

fn go_span(value: &str) -> Option<Duration> {
    let is_figure = |c: char| c.is_ascii_digit() || c == '.';
    let (mut rest, mut secs) = (value, 0.0);
    while !rest.is_empty() {
        let (figure, after) = rest.split_at(rest.find(|c| !is_figure(c))?);
        let (unit, after) = after.split_at(after.find(is_figure).unwrap_or(after.len()));
        let unit_secs = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        secs += figure.parse::<f64>().ok()? * unit_secs;
        rest = after;
    }
    if value.is_empty() { None } else { Duration::try_from_secs_f64(secs).ok() }
}

#[cfg(test)]
mod tests;
