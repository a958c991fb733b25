//! A rate-limited endpoint is left alone for as long as its headers say.

use serde_json::Value;

use super::support::{Answer, Qcc, Upstream, exchange, llm};
use super::{started, two};

type Headers = Vec<(&'static str, String)>;

fn with(headers: &Headers, answer: Answer) -> Answer {
    headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
}

/// Seconds until the end of the cooldown, by the clock of this machine.
fn cooldown_secs(endpoint: &Value) -> i64 {
    let until: jiff::Timestamp = endpoint["cooldown_until"].as_str().unwrap().parse().unwrap();
    until.duration_since(jiff::Timestamp::now()).as_secs()
}

/// `a` after one request that it answered so, and who served that.
async fn after(status: u16, headers: Headers) -> (Qcc, Value, String) {
    let a = Upstream::start(llm::on_post(move |request| match status {
        200 => with(&headers, llm::healthy(request)),
        _ => with(&headers, llm::error(status)),
    }));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let reply = client.ask("limited").await;
    assert_eq!(reply.status, 200);
    let after = qcc.endpoint_when("a", "is at rest", |a| a["in_flight"] == 0).await;
    assert_eq!((&after["state"], &after["failures"]), (&"healthy".into(), &0.into()), "{after:#}");
    (qcc, after, reply.endpoint().to_owned())
}

fn pairs(pairs: &[(&'static str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn in_secs(secs: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(secs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_is_left_alone_until_the_moment_that_its_headers_name() {
    let in_ten_minutes = in_secs(600).to_string();
    let epoch = in_secs(7_000).as_second().to_string();
    for (headers, secs) in [
        (pairs(&[("retry-after", "7999")]), 7_999),
        (pairs(&[("retry-after-ms", "90000")]), 90),
        (pairs(&[("retry-after", "100000")]), 86_400),
        (
            pairs(&[
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", &in_ten_minutes),
                ("retry-after", "3"),
            ]),
            600,
        ),
        (
            pairs(&[
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", &epoch),
            ]),
            7_000,
        ),
        (pairs(&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m3.5s")]), 3_723),
        // Which window refused is not said: a guess.
        (pairs(&[("x-ratelimit-reset-requests", "1h")]), 300),
        (pairs(&[("x-ratelimit-reset-requests", "1m30s")]), 90),
    ] {
        let (_qcc, a, served) = after(429, headers.clone()).await;
        let left = cooldown_secs(&a);
        assert!((secs - 20..=secs).contains(&left), "{left} s left of {secs}: {headers:?}");
        assert_eq!(served, "b");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_that_was_the_last_of_its_window_passes_and_the_next_goes_elsewhere() {
    let headers = pairs(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2m")]);
    let a = Upstream::start(llm::on_post(move |request| with(&headers, llm::healthy(request))));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    client.ask_streamed("the last").await.expect_from("a");
    client.ask("one more").await.expect_from("b");
    let after = qcc.endpoint_when("a", "has passed", |a| a["requests"]["passed"] == 1).await;
    assert!((100..=120).contains(&cooldown_secs(&after)), "{after:#}");
    qcc.command("reset", "a");
    client.ask("after a reset").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_with_something_left_cools_nothing() {
    for headers in [
        pairs(&[("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "2m")]),
        pairs(&[("anthropic-ratelimit-requests-remaining", "0")]),
        pairs(&[
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("anthropic-ratelimit-unified-reset", "99999999999"),
            ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ]),
        pairs(&[("retry-after", "60")]),
    ] {
        let (_qcc, a, served) = after(200, headers.clone()).await;
        assert_eq!((&a["cooldown_until"], served.as_str()), (&Value::Null, "a"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_tokens_has_limits_of_its_own() {
    let headers = pairs(&[
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2999-01-01T00:00:00Z"),
    ]);
    let a = Upstream::start(llm::on_post(move |request| with(&headers, llm::healthy(request))));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let request = client.post("/v1/messages/count_tokens", &llm::message("counted"));
    exchange(request).await.expect_from("a");
    assert_eq!(qcc.endpoint("a")["cooldown_until"], Value::Null);
}
