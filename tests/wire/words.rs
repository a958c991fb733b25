//! "How an outcome counts": the rows that an error's words, the headers of a limit or a model's name
//! decide.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::bytes::gzip;
use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::rig::Rig;
use super::support::Answer;
use super::table::{ABOUT_20_S, Case, Client, FIRST_DOUBLING, Verdict, case, run};

/// How a body comes.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Plain,
    Gzip,
}

fn coded(status: u16, body: &Value, coding: Coding) -> Answer {
    let body = body.to_string();
    let answer = Answer::new(status).header("content-type", "application/json");
    match coding {
        Coding::Plain => answer.body(body),
        Coding::Gzip => answer.header("content-encoding", "gzip").body(gzip(body.as_bytes())),
    }
}

fn money(protocol: Protocol, status: u16, error: Value, coding: Coding) -> Case {
    let name = format!("{status} {coding:?} {error}");
    case(&name, protocol, Mode::Whole, move |_| coded(status, &error, coding))
        .gives(Client::FromB, Verdict::Decides("quota"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_is_quota_under_whatever_status() {
    let (messages, chat) = (Protocol::Messages, Protocol::Chat);
    let mut cases = Vec::new();
    for coding in [Coding::Plain, Coding::Gzip] {
        let low = "Your credit balance is too low to access the API. Please go to Plans & Billing.";
        cases.push(money(messages, 400, messages.error("invalid_request_error", low), coding));
        let mut limit = messages.error("rate_limit_error", "This request would exceed your limit.");
        limit["error"]["details"] = json!({"error_code": "workspace_spend_limit_exceeded"});
        cases.push(money(messages, 429, limit.clone(), coding));
        cases.push(money(messages, 403, limit, coding));
        for (status, code) in [
            (429, "insufficient_quota"),
            (403, "insufficient_quota"),
            (400, "insufficient_quota"),
            (429, "credit_balance_exhausted"),
            (429, "organization_spend_limit_exceeded"),
        ] {
            cases.push(money(chat, status, chat.error(code, "said by the upstream"), coding));
        }
    }
    let responses = Protocol::Responses;
    for mode in BOTH {
        let error = responses.error("insufficient_quota", "You exceeded your current quota.");
        cases.push(
            case("429 insufficient_quota", responses, mode, move |_| Answer::json(429, &error))
                .gives(Client::FromB, Verdict::Decides("quota")),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn words_of_the_client_in_an_error_are_not_money() {
    // A client could otherwise take an endpoint out of service with the name of a tool.
    let message = "tools.0.custom.name: 'credit_quota_report' is longer than 64 characters";
    let error = Protocol::Messages.error("invalid_request_error", message);
    let body = error.to_string().into_bytes();
    run(vec![
        case("400 that quotes a name", Protocol::Messages, Mode::Whole, move |_| Answer::json(400, &error))
            .gives(Client::FromA { status: 400, body }, Verdict::Neutral),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compressed_error_is_read_and_passed_on_as_it_came() {
    let overload = Protocol::Messages.error("overloaded_error", "busy");
    let wrong = Protocol::Messages.error("invalid_request_error", "no such field");
    let body = gzip(wrong.to_string().as_bytes());
    run(vec![
        case("overload in a 200", Protocol::Messages, Mode::Whole, move |_| {
            coded(200, &overload, Coding::Gzip)
        })
        .gives(Client::FromB, Verdict::Cools(FIRST_DOUBLING)),
        case("400", Protocol::Messages, Mode::Whole, move |_| coded(400, &wrong, Coding::Gzip))
            .gives(Client::FromA { status: 400, body }, Verdict::Neutral),
    ])
    .await;
}

/// Headers of a limit, made when the answer is.
type Limits = fn() -> Vec<(&'static str, String)>;

fn in_secs(secs: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(secs)
}

fn limited(answer: Answer, limits: Limits) -> Answer {
    limits().iter().fold(answer, |answer, (name, value)| answer.header(name, value))
}

const ANTHROPIC: Limits = || {
    vec![
        ("anthropic-ratelimit-requests-limit", "50".into()),
        ("anthropic-ratelimit-requests-remaining", "0".into()),
        ("anthropic-ratelimit-requests-reset", format!("{:.0}", in_secs(20))),
    ]
};
const ANTHROPIC_TOKENS: Limits = || {
    vec![
        ("anthropic-ratelimit-input-tokens-remaining", "0".into()),
        ("anthropic-ratelimit-input-tokens-reset", format!("{:.0}", in_secs(20))),
    ]
};
const UNIFIED: Limits = || {
    vec![
        ("anthropic-ratelimit-unified-status", "rejected".into()),
        ("anthropic-ratelimit-unified-5h-status", "rejected".into()),
        ("anthropic-ratelimit-unified-5h-reset", in_secs(7200).as_second().to_string()),
    ]
};
const OPENAI: Limits = || {
    vec![
        ("x-ratelimit-limit-requests", "60".into()),
        ("x-ratelimit-remaining-requests", "0".into()),
        ("x-ratelimit-reset-requests", "20s".into()),
    ]
};
const OPENAI_TOKENS: Limits =
    || vec![("x-ratelimit-remaining-tokens", "0".into()), ("x-ratelimit-reset-tokens", "1m2.5s".into())];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rate_limit_lasts_as_long_as_its_reset_headers_say() {
    let (messages, chat) = (Protocol::Messages, Protocol::Chat);
    let mut cases = Vec::new();
    for (name, protocol, limits, range) in [
        ("requests, RFC 3339", messages, ANTHROPIC, ABOUT_20_S),
        ("input tokens, RFC 3339", messages, ANTHROPIC_TOKENS, ABOUT_20_S),
        ("a unified window, epoch seconds", messages, UNIFIED, 7180.0..=7200.0),
        ("requests, a duration", chat, OPENAI, ABOUT_20_S),
        ("tokens, a duration", chat, OPENAI_TOKENS, 50.0..=62.5),
    ] {
        let error = protocol.error("rate_limit_error", "said by the upstream");
        cases.push(
            case(name, protocol, Mode::Whole, move |_| limited(Answer::json(429, &error), limits))
                .gives(Client::FromB, Verdict::Cools(range)),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_says_that_nothing_remains_is_a_cooldown_too() {
    let mut cases = Vec::new();
    for mode in BOTH {
        for (protocol, limits) in [(Protocol::Messages, ANTHROPIC), (Protocol::Chat, OPENAI)] {
            let body = protocol.well_body(mode, "of-a");
            cases.push(
                case("nothing remains", protocol, mode, move |_| {
                    limited(protocol.well(mode, "of-a"), limits)
                })
                .gives(Client::FromA { status: 200, body }, Verdict::PassesAndCools(ABOUT_20_S)),
            );
        }
    }
    let some: Limits = || {
        vec![
            ("anthropic-ratelimit-requests-remaining", "3".into()),
            ("anthropic-ratelimit-requests-reset", format!("{:.0}", in_secs(20))),
        ]
    };
    let (messages, whole) = (Protocol::Messages, Mode::Whole);
    let body = messages.well_body(whole, "of-a");
    cases.push(
        case("some remain", messages, whole, move |_| limited(messages.well(whole, "of-a"), some))
            .gives(Client::FromA { status: 200, body }, Verdict::Passes),
    );
    run(cases).await;
}

fn unknown_model(protocol: Protocol) -> Value {
    match protocol {
        Protocol::Messages => protocol.error("not_found_error", "model: claude-test-1"),
        Protocol::Chat | Protocol::Responses => {
            protocol.error("model_not_found", "The model `gpt-test-1` does not exist.")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_model_that_an_endpoint_does_not_know_is_asked_for_elsewhere() {
    let mut cases = Vec::new();
    for (protocol, mode) in ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))) {
        for coding in [Coding::Plain, Coding::Gzip] {
            let error = unknown_model(protocol);
            cases.push(
                case(&format!("{coding:?}"), protocol, mode, move |_| coded(404, &error, coding))
                    .gives(Client::FromB, Verdict::Neutral),
            );
        }
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_model_is_not_asked_for_there_again_and_other_models_are() {
    let protocol = Protocol::Messages;
    let error = unknown_model(protocol);
    let rig = Rig::start(
        protocol,
        move |request| match request.says("claude-test-1") {
            true => Answer::json(404, &error),
            false => protocol.well(Mode::of(request), "of-a"),
        },
        |cluster| cluster,
    );
    for attempts in ["2", "1", "1"] {
        let reply = rig.ask("unknown at a", Mode::Whole).await;
        let header = |name| reply.head.header(name);
        assert_eq!((header("x-qcc-endpoint"), header("x-qcc-attempts")), (Some("b"), Some(attempts)));
    }
    let mut other = protocol.request("another model", Mode::Whole);
    other["model"] = "claude-test-2".into();
    let mut raw = rig.send_body(protocol.path(), other.to_string().as_bytes()).await;
    assert_eq!(raw.read_reply().await.unwrap().head.header("x-qcc-endpoint"), Some("a"));
    assert_eq!(rig.a.users().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_nobody_knows_gives_the_last_404_every_time() {
    let error = unknown_model(Protocol::Messages);
    let rig = {
        let error = error.clone();
        Rig::start(Protocol::Messages, move |_| Answer::json(404, &error), |cluster| cluster)
    };
    let again = error.clone();
    rig.b.set(super::support::llm::on_post(move |_| Answer::json(404, &again)));
    for _ in 0..2 {
        let reply = rig.ask("unknown everywhere", Mode::Whole).await;
        assert_eq!((reply.status(), reply.json()), (404, error.clone()));
        assert_eq!(reply.head.header("x-qcc-error"), None, "it is the upstream's own");
    }
}
