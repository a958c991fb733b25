//! "How an outcome counts": the rows that the body of a 200 decides, whole and up to a stream's content.

use super::bytes::gzip;
use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::support::{Answer, End};
use super::table::{Case, Client, FIRST_DOUBLING, Verdict, case, run};

const JSON: &str = "application/json";

fn ok(kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(200).header("content-type", kind).body(body)
}

/// A 200 that is none.
fn invalid(name: &str, protocol: Protocol, mode: Mode, kind: &'static str, body: String) -> Case {
    case(name, protocol, mode, move |_| ok(kind, body.clone()))
        .gives(Client::FromB, Verdict::Fails("invalid-response", 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_complete_answer_passes() {
    let mut cases = Vec::new();
    for (protocol, mode) in ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))) {
        let body = protocol.well_body(mode, "of-a");
        cases.push(
            case("a good answer", protocol, mode, move |_| protocol.well(mode, "of-a"))
                .gives(Client::FromA { status: 200, body }, Verdict::Passes),
        );
    }
    // A stream may end properly without any output.
    let events = Protocol::Messages.events(&[]);
    let body = events.concat().into_bytes();
    cases.push(
        case("a message of nothing", Protocol::Messages, Mode::Streamed, move |_| Answer::events(&events))
            .gives(Client::FromA { status: 200, body }, Verdict::Passes),
    );
    run(cases).await;
}

/// Some send empty lines for as long as the model works. Of more than is looked at nothing is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_behind_many_empty_lines_is_one() {
    let mut cases = Vec::new();
    for (protocol, lines) in ALL.into_iter().flat_map(|protocol| [10, 10_000].map(|lines| (protocol, lines)))
    {
        let lines = "\n".repeat(lines);
        let body = [lines.clone().into_bytes(), protocol.well_body(Mode::Whole, "of-a")].concat();
        let answer = protocol.answer("of-a").to_string();
        let posts = move |_: &_| {
            let begun = ok(JSON, Vec::new()).chunked().chunk(lines.as_str());
            begun.chunk(answer.as_str())
        };
        cases.push(
            case("behind empty lines", protocol, Mode::Whole, posts)
                .gives(Client::FromA { status: 200, body }, Verdict::Passes),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_200_that_is_no_answer_is_invalid_and_served_elsewhere() {
    let mut cases = Vec::new();
    for protocol in ALL {
        for (name, kind, body) in [
            ("an empty body", JSON, String::new()),
            ("white space", JSON, " \r\n\t ".into()),
            ("a page", "text/html", "<html><body>busy</body></html>".into()),
            ("a text", "text/plain", "ok".into()),
            ("an object of another shape", JSON, r#"{"ok":true,"detail":{"a":[1,2]}}"#.into()),
        ] {
            for mode in BOTH {
                cases.push(invalid(name, protocol, mode, kind, body.clone()));
            }
        }
        let whole = protocol.answer("whole though a stream was asked for").to_string();
        cases.push(invalid("a whole answer", protocol, Mode::Streamed, JSON, whole));
        let empty = "text/event-stream";
        cases.push(invalid("an empty stream", protocol, Mode::Streamed, empty, String::new()));
        cases.push(invalid("a stream of comments", protocol, Mode::Streamed, empty, ": hello\n\n".into()));
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_200_whose_body_is_an_error_is_invalid_and_served_elsewhere() {
    let mut cases = Vec::new();
    for (protocol, mode) in ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))) {
        let error = protocol.error("odd", "no such luck").to_string();
        cases.push(invalid("an error of no known type", protocol, mode, JSON, error));
        let word = r#"{"error":"upstream unavailable"}"#.to_owned();
        cases.push(invalid("an error of a word", protocol, mode, JSON, word));
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compressed_200_whose_body_is_an_error_is_none_either() {
    let mut cases = Vec::new();
    for (protocol, mode) in ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))) {
        let error = gzip(protocol.error("odd", "no such luck").to_string().as_bytes());
        cases.push(
            case("gzip", protocol, mode, move |_| ok(JSON, error.clone()).header("content-encoding", "gzip"))
                .gives(Client::FromB, Verdict::Fails("invalid-response", 1)),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_overload_in_a_200_is_a_cooldown() {
    let mut cases = Vec::new();
    for (protocol, mode) in ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode))) {
        let error = protocol.error(protocol.overload(), "busy").to_string();
        cases.push(
            case("an overload as the body", protocol, mode, move |_| ok(JSON, error.clone()))
                .gives(Client::FromB, Verdict::Cools(FIRST_DOUBLING)),
        );
    }
    run(cases).await;
}

/// An error event after `events` of a good stream.
fn error_event(protocol: Protocol, events: usize, kind: &'static str) -> Case {
    let mut sent = protocol.events(&["of-a"]);
    sent.truncate(events);
    sent.push(protocol.error_event(kind, "said by the upstream"));
    case(&format!("{kind} after {events} events"), protocol, Mode::Streamed, move |_| Answer::events(&sent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_event_before_content_counts_by_its_type() {
    let cools = || Verdict::Cools(FIRST_DOUBLING);
    let mut cases = Vec::new();
    for (kind, verdict) in [
        ("authentication_error", Verdict::Decides("auth")),
        ("permission_error", Verdict::Decides("auth")),
        ("billing_error", Verdict::Decides("quota")),
        ("rate_limit_error", cools()),
        ("overloaded_error", cools()),
        ("api_error", Verdict::Fails("server", 1)),
    ] {
        cases.push(error_event(Protocol::Messages, 1, kind).gives(Client::FromB, verdict));
    }
    for protocol in [Protocol::Chat, Protocol::Responses] {
        for (kind, verdict) in [
            ("invalid_api_key", Verdict::Decides("auth")),
            ("insufficient_quota", Verdict::Decides("quota")),
            ("credit_balance_exhausted", Verdict::Decides("quota")),
            ("rate_limit_exceeded", cools()),
            ("slow_down", cools()),
            ("server_is_overloaded", cools()),
            ("server_error", Verdict::Fails("server", 1)),
        ] {
            for events in [0, 1] {
                cases.push(error_event(protocol, events, kind).gives(Client::FromB, verdict.clone()));
            }
        }
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_event_of_the_type_of_a_504_counts_as_a_504() {
    let timeout = error_event(Protocol::Messages, 1, "timeout_error");
    run(vec![timeout.gives(Client::FromB, Verdict::Fails("server", 1))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_event_for_the_requests_fault_is_shown_and_not_moved_on() {
    let protocol = Protocol::Messages;
    let mut cases = Vec::new();
    for kind in ["invalid_request_error", "not_found_error", "request_too_large"] {
        let mut body = protocol.events(&["of-a"])[..1].concat();
        body += &protocol.error_event(kind, "said by the upstream");
        cases.push(
            error_event(protocol, 1, kind)
                .gives(Client::FromA { status: 200, body: body.into_bytes() }, Verdict::Neutral),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_whole_answer_that_is_cut_counts_as_a_stream_that_is() {
    let mut cases = Vec::new();
    for protocol in ALL {
        let whole = protocol.answer(&"of-a ".repeat(20_000)).to_string();
        let cut = whole.len() / 2;
        let shown = whole.as_bytes()[..cut].to_vec();
        cases.push(
            case("cut in its body", protocol, Mode::Whole, move |_| {
                ok(JSON, whole.clone()).cut_at(cut, End::Fin)
            })
            .gives(Client::Aborted { body: shown }, Verdict::Fails("stream", 1)),
        );
    }
    run(cases).await;
}
