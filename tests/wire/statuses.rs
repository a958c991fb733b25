//! "How an outcome counts": the rows that a status decides.

use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::support::Answer;
use super::table::{ABOUT_20_S, Case, Client, FIRST_DOUBLING, Verdict, case, run};

/// An error of the vendor's shape with that status.
fn refusal_body(protocol: Protocol, status: u16) -> String {
    let kind = match (status, protocol.is_openai()) {
        (401, false) => "authentication_error",
        (401, true) => "invalid_api_key",
        (402, false) => "billing_error",
        (403, false) => "permission_error",
        (413, false) => "request_too_large",
        (429, false) => "rate_limit_error",
        (429, true) => "rate_limit_exceeded",
        (529, _) => protocol.overload(),
        (500.., false) => "api_error",
        (500.., true) => "server_error",
        (_, false) => "invalid_request_error",
        (_, true) => "invalid_value",
    };
    protocol.error(kind, "said by the upstream").to_string()
}

fn refusal(protocol: Protocol, status: u16) -> Answer {
    Answer::new(status).header("content-type", "application/json").body(refusal_body(protocol, status))
}

fn moves_on(protocol: Protocol, mode: Mode, status: u16, verdict: Verdict) -> Case {
    case(&format!("{status}"), protocol, mode, move |_| refusal(protocol, status))
        .gives(Client::FromB, verdict)
}

fn with_headers(
    protocol: Protocol,
    mode: Mode,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    verdict: Verdict,
) -> Case {
    let answer = move |_: &_| {
        headers.iter().fold(refusal(protocol, status), |answer, (name, value)| answer.header(name, value))
    };
    case(&format!("{status} with {headers:?}"), protocol, mode, answer).gives(Client::FromB, verdict)
}

/// Each protocol and mode meets each row; the other statuses of a row are tried once.
fn everywhere(one: impl Fn(Protocol, Mode) -> Case) -> Vec<Case> {
    ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))).map(|(p, m)| one(p, m)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_of_our_key_or_our_money_decides_alone_and_is_served_elsewhere() {
    let mut cases = Vec::new();
    for (status, cause) in [(401, "auth"), (403, "auth"), (402, "quota")] {
        cases.extend(everywhere(|protocol, mode| moves_on(protocol, mode, status, Verdict::Decides(cause))));
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rate_limit_or_an_overload_is_a_cooldown_and_no_failure() {
    let (messages, whole) = (Protocol::Messages, Mode::Whole);
    const SECONDS: &[(&str, &str)] = &[("retry-after", "20")];
    const MILLISECONDS: &[(&str, &str)] = &[("retry-after-ms", "20000")];
    const BOTH_FORMS: &[(&str, &str)] = &[("retry-after", "5"), ("retry-after-ms", "20000")];
    const DATE: &[(&str, &str)] =
        &[("date", "Sun, 06 Nov 1994 08:49:17 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
    const WINDOW: &[(&str, &str)] = &[("retry-after", "7999")];
    const TOO_LONG: &[(&str, &str)] = &[("retry-after", "900000")];
    let cools =
        |status, headers, range| with_headers(messages, whole, status, headers, Verdict::Cools(range));
    let mut cases = vec![
        cools(429, MILLISECONDS, ABOUT_20_S),
        cools(429, BOTH_FORMS, ABOUT_20_S),
        cools(429, DATE, ABOUT_20_S),
        cools(429, WINDOW, 7980.0..=7999.0),
        cools(429, TOO_LONG, 86_380.0..=86_400.0),
        cools(529, SECONDS, ABOUT_20_S),
        cools(529, DATE, ABOUT_20_S),
        moves_on(messages, whole, 529, Verdict::Cools(FIRST_DOUBLING)),
        moves_on(messages, whole, 429, Verdict::Cools(FIRST_DOUBLING)),
    ];
    for status in [429, 503, 529] {
        cases.extend(everywhere(|protocol, mode| {
            with_headers(protocol, mode, status, SECONDS, Verdict::Cools(ABOUT_20_S))
        }));
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_of_the_server_counts_one_and_is_served_elsewhere() {
    let (messages, whole) = (Protocol::Messages, Mode::Whole);
    let mut cases = Vec::new();
    for status in [502, 503, 504, 520, 301, 302, 303, 308] {
        cases.push(moves_on(messages, whole, status, Verdict::Fails("server", 1)));
    }
    for status in [500, 307] {
        cases.extend(everywhere(|protocol, mode| {
            moves_on(protocol, mode, status, Verdict::Fails("server", 1))
        }));
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_the_requests_fault_is_shown_unchanged_and_says_nothing_of_the_endpoint() {
    let shown = |protocol, mode, status| {
        let body = refusal_body(protocol, status).into_bytes();
        case(&format!("{status}"), protocol, mode, move |_| refusal(protocol, status))
            .gives(Client::FromA { status, body }, Verdict::Neutral)
    };
    let mut cases = Vec::new();
    for status in [404, 405, 409, 413, 422] {
        cases.push(shown(Protocol::Messages, Mode::Whole, status));
    }
    for status in [400, 422] {
        cases.extend(everywhere(|protocol, mode| shown(protocol, mode, status)));
    }
    run(cases).await;
}
