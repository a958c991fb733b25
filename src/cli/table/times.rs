//! Times as people say them.

use std::time::Duration;

use jiff::Timestamp;

/// `3m ago`
pub fn ago(at: &str, now: Timestamp) -> String {
    match span(at, |at| now.duration_since(at)) {
        Some(Duration::ZERO) => "now".to_owned(),
        Some(span) => format!("{} ago", rounded(span)),
        None => "?".to_owned(),
    }
}

/// `in 12s`
pub fn ahead(at: &str, now: Timestamp) -> String {
    match span(at, |at| at.duration_since(now)) {
        Some(Duration::ZERO) => "now".to_owned(),
        Some(span) => format!("in {}", rounded(span)),
        None => "?".to_owned(),
    }
}

/// Whole seconds, and zero for what lies on the other side of now; none for what is no time.
fn span(at: &str, since: impl FnOnce(Timestamp) -> jiff::SignedDuration) -> Option<Duration> {
    let span = Duration::try_from(since(at.parse().ok()?)).unwrap_or_default();
    Some(Duration::from_secs(span.as_secs()))
}

/// In the largest unit that there is one of.
fn rounded(span: Duration) -> String {
    match span.as_secs() {
        secs @ ..60 => format!("{secs}s"),
        secs @ ..3_600 => format!("{}m", secs / 60),
        secs @ ..86_400 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (at, told) in [
            ("2026-03-01T12:00:00.4Z", "now"),
            ("2026-03-01T11:59:59.5Z", "now"),
            ("2026-03-01T11:59:18Z", "42s ago"),
            ("2026-03-01T11:57:00Z", "3m ago"),
            ("2026-03-01T09:30:00Z", "2h ago"),
            ("2026-02-24T12:00:00Z", "5d ago"),
            ("2026-03-01T13:00:00Z", "now"),
            ("yesterday", "?"),
        ] {
            assert_eq!(ago(at, now), told, "{at}");
        }
        assert_eq!(ahead("2026-03-01T12:00:12.9Z", now), "in 12s");
        assert_eq!(ahead("2026-03-01T11:00:00Z", now), "now");
    }
}
