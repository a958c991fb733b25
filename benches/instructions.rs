//! What `benches/instructions` counts: each step of a request a number of times, on one thread, with set-up and some
//! rounds before them outside of `counted`, at which the tool begins and ends to count.
//!
//! `instructions NAME…` runs the cases of these names, `instructions --list` prints each name and into how many parts
//! its count is to be divided, and without a name each case runs once.

use std::env;
use std::hint::black_box;
use std::time::Duration;

use clusters::{choose, cluster_of, sessions, wanted};
use hyper::StatusCode;
use hyper::http::header::HeaderMap;
use inputs::{
    EVENT, answer_body, claude_code_body, error_body, rate_limited_headers, session_header, small_body,
    success_headers,
};
use jiff::Timestamp;
use qcc::cluster::Session;
use qcc::exchange::{
    Beginning, Call, Cooling, ErrorText, Head, INSPECTED_BYTES_MAX, RequestFacts, Splitter, StreamWatch,
    shape_of_answer,
};
use qcc_fsm::{Billing, Cause, CheckMethod, Evidence, Failure, HealthCell, Policy, Tick, Verdict};
use rig::{Answer, Client, reset, runtime_out_of_time};

mod clusters;
mod inputs;
mod rig;

/// How many events are split at once.
const EVENTS: usize = 500;
/// Where the network cuts, in bytes.
const CUT_BYTES: usize = 100;
const NOW: Tick = Tick::from_secs(1_000);

struct Case {
    name: &'static str,
    /// How often it is counted.
    runs: usize,
    /// How many parts a run has.
    parts: usize,
    go: fn(usize),
}

const fn case(name: &'static str, go: fn(usize)) -> Case {
    Case { name, runs: 1_000, parts: 1, go }
}

const fn large(name: &'static str, go: fn(usize)) -> Case {
    Case { runs: 20, ..case(name, go) }
}

const fn of_events(name: &'static str, go: fn(usize)) -> Case {
    Case { parts: EVENTS, ..large(name, go) }
}

const fn exchange(name: &'static str, go: fn(usize)) -> Case {
    Case { runs: 200, ..case(name, go) }
}

const CASES: &[Case] = &[
    case("health cell: admit", admitting),
    case("health cell: report a pass", |runs| reporting(runs, Verdict::Pass(Evidence::Traffic))),
    case("health cell: report a failure", |runs| reporting(runs, FAILURE)),
    case("choose: 10 endpoints", |runs| choosing(runs, 10, None)),
    case("choose: 10 endpoints, session", |runs| choosing(runs, 10, sessions())),
    case("choose: 10,000 endpoints", |runs| choosing(runs, 10_000, None)),
    case("choose: 10,000 endpoints, session", |runs| choosing(runs, 10_000, sessions())),
    case("facts and session: 2 KB", |runs| reading(runs, &small_body(), &HeaderMap::new())),
    case("facts and session: 2 KB, named by header", |runs| reading(runs, &small_body(), &session_header())),
    large("facts and session: 200 KB", |runs| reading(runs, &claude_code_body(), &HeaderMap::new())),
    large("facts and session: 200 KB, named by header", |runs| {
        reading(runs, &claude_code_body(), &session_header());
    }),
    case("classify: a whole 200", classifying_success),
    case("classify: a 429 by its head", classifying_refusal),
    case("classify: an error by its words", classifying_error),
    of_events("split: an event that comes whole", |runs| splitting(runs, EVENT.len())),
    of_events("split: an event that is cut", |runs| splitting(runs, CUT_BYTES)),
    of_events("watch: an event that comes whole", |runs| watching(runs, EVENT.len())),
    of_events("watch: an event that is cut", |runs| watching(runs, CUT_BYTES)),
    exchange("exchange: 1 KB of JSON", |runs| exchanging(runs, Answer::whole())),
    exchange("exchange: 1 KB of JSON, bytes copied", |runs| copying(runs, &Answer::whole())),
    exchange("exchange: a stream of 50 events", |runs| exchanging(runs, Answer::stream())),
    exchange("exchange: a stream of 50 events, bytes copied", |runs| copying(runs, &Answer::stream())),
    exchange("exchange: refused, then served elsewhere", failing_over),
];

const FAILURE: Verdict = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));

fn main() {
    let mut arguments = env::args().skip(1);
    // What cargo adds of its own.
    let asked: Vec<_> = arguments.by_ref().filter(|word| word != "--bench").collect();
    if asked == ["--list"] {
        CASES.iter().for_each(|case| println!("{}\t{}", case.name, case.runs * case.parts));
        return;
    }
    // Each draws the same in every run, and is asked nothing by the time of the machine.
    let time = runtime_out_of_time();
    for case in CASES.iter().filter(|case| asked.is_empty() || asked.iter().any(|name| name == case.name)) {
        fastrand::seed(0);
        let _standing = time.enter();
        (case.go)(if asked.is_empty() { 1 } else { case.runs });
    }
}

/// What is counted, by the name of this function.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// Counts the work so often, after a tenth of that which is not counted. What it needs anew is prepared before.
fn each<T>(runs: usize, mut prepare: impl FnMut() -> T, mut work: impl FnMut(&mut T)) {
    for run in 0..runs + runs / 10 {
        let mut with = prepare();
        if run < runs / 10 {
            work(&mut with);
        } else {
            counted(&mut || work(&mut with));
        }
    }
}

fn admitting(runs: usize) {
    let cell = HealthCell::new();
    each(runs, || {}, |()| drop(black_box(black_box(&cell).admit(NOW))));
}

fn reporting(runs: usize, verdict: Verdict) {
    // A pass between two failures, so that it stays in service.
    let policy = Policy::new(Billing::PerToken).with_failure_threshold(2);
    let cell = HealthCell::new();
    let prepare = || {
        if let Some(mut ticket) = cell.admit(NOW) {
            cell.report(&mut ticket, Verdict::Pass(Evidence::Traffic), NOW, &policy);
        }
        cell.admit(NOW)
    };
    each(runs, prepare, |ticket| {
        if let Some(ticket) = ticket {
            black_box(black_box(&cell).report(ticket, black_box(verdict), NOW, &policy));
        }
    });
}

fn choosing(runs: usize, endpoints: usize, sessions: impl IntoIterator<Item = Session>) {
    let cluster = cluster_of(endpoints, "");
    let now = cluster.clock.now();
    let mut sessions = sessions.into_iter();
    let prepare = || {
        let mut wanted = wanted();
        wanted.session = sessions.next();
        wanted
    };
    each(runs, prepare, |wanted| choose(&cluster, wanted, &[], now));
}

fn reading(runs: usize, body: &[u8], headers: &HeaderMap) {
    each(
        runs,
        || {},
        |()| {
            let (facts, clues) = RequestFacts::with_clues(black_box(body));
            black_box((facts, clues.session(black_box(headers))));
        },
    );
}

fn head(status: StatusCode, headers: &HeaderMap) -> Head<'_> {
    Head { call: Call::Messages, method: CheckMethod::Chat, status, headers, now: Timestamp::UNIX_EPOCH }
}

fn classifying_success(runs: usize) {
    let (headers, body) = (success_headers(), answer_body());
    each(
        runs,
        || {},
        |()| {
            let head = head(StatusCode::OK, black_box(&headers));
            black_box((head.judge(), Cooling::of_success(head.call, head.headers, head.now)));
            let beginning = Beginning::of(black_box(&body[..]).into(), &headers);
            black_box(shape_of_answer(Call::Messages, &beginning));
        },
    );
}

fn classifying_refusal(runs: usize) {
    let headers = rate_limited_headers();
    each(
        runs,
        || {},
        |()| {
            black_box(head(StatusCode::TOO_MANY_REQUESTS, black_box(&headers)).judge_words(None));
        },
    );
}

fn classifying_error(runs: usize) {
    let (headers, body) = (rate_limited_headers(), error_body());
    each(
        runs,
        || {},
        |()| {
            let error = ErrorText::of(black_box(&body));
            black_box(head(StatusCode::TOO_MANY_REQUESTS, black_box(&headers)).judge_words(error.as_ref()));
        },
    );
}

fn splitting(runs: usize, chunk_bytes: usize) {
    let stream = EVENT.repeat(EVENTS);
    each(
        runs,
        || Splitter::new(INSPECTED_BYTES_MAX),
        |splitter| {
            for chunk in black_box(&stream).chunks(chunk_bytes) {
                splitter.push(chunk, |event| {
                    black_box(event.data.len());
                });
            }
        },
    );
}

fn watching(runs: usize, chunk_bytes: usize) {
    let stream = EVENT.repeat(EVENTS);
    each(
        runs,
        || StreamWatch::new(Call::Messages),
        |watch| {
            for chunk in black_box(&stream).chunks(chunk_bytes) {
                black_box(watch.push(chunk));
            }
        },
    );
}

fn exchanging(runs: usize, answer: Answer) {
    let (mut client, _cluster) = Client::of_proxy(runtime_out_of_time(), vec![answer]);
    each(runs, || {}, |()| client.exchange());
}

fn copying(runs: usize, answer: &Answer) {
    let mut client = Client::of_byte_copy(runtime_out_of_time(), answer);
    each(runs, || {}, |()| client.exchange());
}

fn failing_over(runs: usize) {
    let answers = vec![Answer::refusal(), Answer::whole()];
    let (mut client, cluster) = Client::of_proxy(runtime_out_of_time(), answers);
    each(runs, || reset(&cluster), |()| client.exchange());
}
