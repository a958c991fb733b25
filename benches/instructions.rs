//! What `benches/instructions` counts: each step of a request a number of times, on one thread, with set-up and some
//! rounds before them outside of `counted`, at which the tool begins and ends to count.
//!
//! `instructions NAME…` runs the cases of these names, `instructions --list` prints each name and into how many parts
//! its count is to be divided, and without a name each case runs once.

#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::env;
use std::hint::black_box;

use clusters::{choose, cluster_of, sessions, wanted};
use hyper::StatusCode;
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
use qcc::fields::Fields;
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
    case("facts and session: 2 KB", |runs| reading(runs, &small_body(), &Fields::default())),
    case("facts and session: 2 KB, named by header", |runs| {
        reading(runs, &small_body(), &Fields::of_map(&session_header()))
    }),
    large("facts and session: 200 KB", |runs| reading(runs, &claude_code_body(), &Fields::default())),
    large("facts and session: 200 KB, named by header", |runs| {
        reading(runs, &claude_code_body(), &Fields::of_map(&session_header()));
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
    exchange("exchange: 1 KB of JSON, few headers", exchanging_barely),
    exchange("exchange: a stream of 50 events", |runs| exchanging(runs, Answer::stream())),
    exchange("exchange: a stream of 50 events, bytes copied", |runs| copying(runs, &Answer::stream())),
    exchange("exchange: refused, then served elsewhere", failing_over),
];

const FAILURE: Verdict = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));

fn main() {
    // cargo adds one word of its own.
    let asked: Vec<_> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if asked == ["--list"] {
        CASES.iter().for_each(|case| println!("{}\t{}", case.name, case.runs * case.parts));
        return;
    }
    // What is drawn is the same in every run, and so is what the time says.
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

/// Counts the work so often, after a tenth of that which is not counted.
fn each<R>(runs: usize, mut work: impl FnMut() -> R) {
    each_with(runs, || {}, |()| work());
}

/// The same; what the work needs anew is prepared before it, uncounted.
fn each_with<T, R>(runs: usize, mut prepare: impl FnMut() -> T, mut work: impl FnMut(&mut T) -> R) {
    for run in 0..runs + runs / 10 {
        let mut with = prepare();
        let mut once = || {
            black_box(work(&mut with));
        };
        if run < runs / 10 { once() } else { counted(&mut once) }
    }
}

fn admitting(runs: usize) {
    let cell = HealthCell::new();
    each(runs, || black_box(&cell).admit(NOW));
}

/// On a cell that is in service and stays so: what went before is a pass.
fn reporting(runs: usize, verdict: Verdict) {
    let policy = Policy::new(Billing::PerToken).with_failure_threshold(2);
    let cell = HealthCell::new();
    let admit = || cell.admit(NOW).expect("in service");
    let prepare = || {
        let _ = cell.report(&mut admit(), Verdict::Pass(Evidence::Traffic), NOW, &policy);
        admit()
    };
    each_with(runs, prepare, |ticket| black_box(&cell).report(ticket, black_box(verdict), NOW, &policy));
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
    each_with(runs, prepare, |wanted| choose(&cluster, wanted, &[], now));
}

fn reading(runs: usize, body: &[u8], fields: &Fields) {
    each(runs, || {
        let (facts, clues) = RequestFacts::with_clues(black_box(body));
        (facts, clues.session(black_box(fields)))
    });
}

fn head(status: StatusCode, fields: &Fields) -> Head<'_> {
    Head { call: Call::Messages, method: CheckMethod::Chat, status, fields, now: Timestamp::UNIX_EPOCH }
}

fn classifying_success(runs: usize) {
    let (fields, body) = (Fields::of_map(&success_headers()), answer_body());
    each(runs, || {
        let head = head(StatusCode::OK, black_box(&fields));
        let judgement = (head.judge(), Cooling::of_success(head.call, head.fields, || head.now));
        let beginning = Beginning::of(black_box(&body[..]).into(), &fields);
        (judgement, shape_of_answer(Call::Messages, &beginning))
    });
}

fn classifying_refusal(runs: usize) {
    let fields = Fields::of_map(&rate_limited_headers());
    each(runs, || head(StatusCode::TOO_MANY_REQUESTS, black_box(&fields)).judge_words(None));
}

fn classifying_error(runs: usize) {
    let (fields, body) = (Fields::of_map(&rate_limited_headers()), error_body());
    each(runs, || {
        let error = ErrorText::of(black_box(&body));
        head(StatusCode::TOO_MANY_REQUESTS, black_box(&fields)).judge_words(error.as_ref())
    });
}

fn splitting(runs: usize, chunk_bytes: usize) {
    let stream = EVENT.repeat(EVENTS);
    let prepare = || Splitter::new(INSPECTED_BYTES_MAX);
    each_with(runs, prepare, |splitter| {
        let mut data_bytes = 0;
        for chunk in black_box(&stream).chunks(chunk_bytes) {
            splitter.push(chunk, |event| data_bytes += event.data.len());
        }
        data_bytes
    });
}

fn watching(runs: usize, chunk_bytes: usize) {
    let stream = EVENT.repeat(EVENTS);
    let prepare = || StreamWatch::new(Call::Messages);
    each_with(runs, prepare, |watch| {
        for chunk in black_box(&stream).chunks(chunk_bytes) {
            black_box(watch.push(chunk));
        }
    });
}

fn exchanging(runs: usize, answer: Answer) {
    let (mut client, _cluster) = Client::of_proxy(runtime_out_of_time(), vec![answer]);
    each(runs, || client.exchange());
}

fn exchanging_barely(runs: usize) {
    let (client, _cluster) = Client::of_proxy(runtime_out_of_time(), vec![Answer::bare()]);
    let mut client = client.with_few_headers();
    each(runs, || client.exchange());
}

fn copying(runs: usize, answer: &Answer) {
    let mut client = Client::of_byte_copy(runtime_out_of_time(), answer);
    each(runs, || client.exchange());
}

fn failing_over(runs: usize) {
    let answers = vec![Answer::refusal(), Answer::whole()];
    let (mut client, cluster) = Client::of_proxy(runtime_out_of_time(), answers);
    each_with(runs, || reset(&cluster), |()| client.exchange());
}
