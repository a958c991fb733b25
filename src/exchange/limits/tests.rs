use super::*;

/// Sent at 2026-01-01T00:00:00Z by the answer's own clock, which is not ours.
fn headers(pairs: &[(&str, &str)]) -> Fields {
    let date = ("date", "Thu, 01 Jan 2026 00:00:00 GMT");
    pairs.iter().copied().chain([date]).collect()
}

const SENT_SECS: i64 = 1_767_225_600;

fn refused(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
    rate_limit_wait(&headers(pairs), Timestamp::UNIX_EPOCH)
}

fn passed(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
    exhausted_wait(&headers(pairs), Timestamp::UNIX_EPOCH)
}

fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

#[test]
fn the_date_in_these_tests_is_the_one_in_seconds() {
    assert_eq!(http_date("Thu, 01 Jan 2026 00:00:00 GMT").unwrap().as_second(), SENT_SECS);
}

#[test]
fn seconds_milliseconds_and_dates_are_understood() {
    assert_eq!(refused(&[("retry-after", "7")]), secs(7));
    assert_eq!(refused(&[("retry-after-ms", "1500")]), Some(Duration::from_millis(1500)));
    assert_eq!(refused(&[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")]), secs(30));
}

#[test]
fn a_date_that_has_passed_is_no_wait() {
    assert_eq!(refused(&[("retry-after", "Wed, 31 Dec 2025 23:59:59 GMT")]), secs(0));
    let window = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767225500")];
    assert_eq!(passed(&window), secs(0));
}

#[test]
fn of_two_announcements_the_longer_counts() {
    assert_eq!(refused(&[("retry-after", "70"), ("retry-after-ms", "1500")]), secs(70));
    let short = [("retry-after", "1"), ("retry-after-ms", "1500")];
    assert_eq!(refused(&short), Some(Duration::from_millis(1500)));
    let window = ("anthropic-ratelimit-tokens-remaining", "0");
    let reset = ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:40Z");
    assert_eq!(refused(&[("retry-after", "7"), window, reset]), secs(40));
    assert_eq!(refused(&[("retry-after", "70"), window, reset]), secs(70));
}

#[test]
fn what_is_announced_is_believed_for_a_day_at_most() {
    assert_eq!(refused(&[("retry-after", "7999")]), secs(7999));
    assert_eq!(refused(&[("retry-after", "900000")]), secs(24 * 3600));
    let window = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2026h")];
    assert_eq!(passed(&window), secs(24 * 3600));
}

#[test]
fn nonsense_is_no_announcement() {
    for value in ["", "soon", "-3", "NaN", "inf", "1e400"] {
        assert_eq!(refused(&[("retry-after", value)]), None, "{value}");
    }
    for value in ["", "s", "6", "-6s", "6x", "1m 3s", "..s", "6ss", "NaNs", "9999999999999999999d"] {
        assert_eq!(go_span(value), None, "{value}");
    }
}

#[test]
fn spans_as_go_writes_them_are_understood() {
    for (value, ms) in [("6s", 6_000), ("1m30s", 90_000), ("20ms", 20), ("1h2m3.5s", 3_723_500), ("0s", 0)] {
        assert_eq!(go_span(value), Some(Duration::from_millis(ms)), "{value}");
    }
}

#[test]
fn of_several_windows_the_latest_that_is_used_up_counts() {
    let pairs = [
        ("anthropic-ratelimit-requests-remaining", "10"),
        ("anthropic-ratelimit-requests-reset", "2026-01-01T01:00:00Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:00:20Z"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-01-01T00:00:50+00:00"),
    ];
    assert_eq!(passed(&pairs), secs(50));
    assert_eq!(refused(&pairs), secs(50));
    let openai = [
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1h"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m30s"),
    ];
    assert_eq!(passed(&openai), secs(90));
}

#[test]
fn where_no_window_is_used_up_their_resets_are_a_guess_of_five_minutes_at_most() {
    let long = [("x-ratelimit-reset-tokens", "1h"), ("x-ratelimit-reset-requests", "2s")];
    assert_eq!(refused(&long), secs(300));
    assert_eq!(refused(&[("x-ratelimit-reset-tokens", "6s")]), secs(6));
    assert_eq!(
        refused(&[("x-ratelimit-remaining-tokens", "12"), ("x-ratelimit-reset-tokens", "33.5")]),
        Some(Duration::from_millis(33_500))
    );
    assert_eq!(passed(&long), None);
}

#[test]
fn beside_an_announcement_a_window_with_something_left_is_no_guess() {
    let reset = ("x-ratelimit-reset-tokens", "60s");
    assert_eq!(refused(&[("retry-after", "2"), reset]), secs(60));
    assert_eq!(refused(&[("retry-after", "2"), reset, ("x-ratelimit-remaining-tokens", "12")]), secs(2));
}

#[test]
fn the_windows_of_a_subscription_count_by_their_status() {
    let rejected = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1767229200"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", "1767229200"),
        ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-7d-reset", "1767657600"),
    ];
    assert_eq!(refused(&rejected), secs(3600));
    assert_eq!(passed(&rejected), secs(3600));
    let allowed = [
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("anthropic-ratelimit-unified-reset", "1767229200"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", "1767229200"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ("anthropic-ratelimit-unified-overage-reset", "1767657600"),
    ];
    assert_eq!(passed(&allowed), None);
    assert_eq!(passed(&allowed[2..]), secs(3600));
}

#[test]
fn nothing_left_without_a_reset_or_a_level_that_is_not_known_says_nothing() {
    assert_eq!(passed(&[("anthropic-ratelimit-requests-remaining", "0")]), None);
    assert_eq!(passed(&[("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "6s")]), None);
    assert_eq!(passed(&[("x-ratelimit-remaining-tokens", "?"), ("x-ratelimit-reset-tokens", "6s")]), None);
}

proptest::proptest! {
    #[test]
    fn a_figure_is_read_as_the_number_that_it_is(value in "[0-9]{1,30}|[0-9 .eE+\\-]{0,6}|nan|inf|-0") {
        let number = value.trim().parse::<f64>().ok().filter(|number| *number >= 0.0);
        let expected = number.map(|number| if number == 0.0 { Level::Nothing } else { Level::Something });
        assert_eq!(level_of_figure(value.as_bytes()), expected);
    }

    #[test]
    fn no_value_makes_it_fail_or_wait_more_than_a_day(
        value in "[0-9a-zA-Z:.+\\- ]{0,24}",
        name in proptest::sample::select(vec![
            "retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-reset",
            "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-unified-reset", "date",
        ]),
    ) {
        let mut fields = headers(&[
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-remaining", "0"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-unified-status", "rejected"),
        ]);
        fields.set(name, value.trim_ascii());
        assert!(rate_limit_wait(&fields, Timestamp::UNIX_EPOCH) <= Some(ANNOUNCED_MAX));
        assert!(exhausted_wait(&fields, Timestamp::UNIX_EPOCH) <= Some(ANNOUNCED_MAX));
    }
}
