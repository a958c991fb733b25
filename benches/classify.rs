//! What it costs to judge an answer: a success by its head and its beginning, an error by its words, a refusal
//! by its headers.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hyper::StatusCode;
use inputs::{answer_body, error_body, rate_limited_headers, success_headers};
use jiff::Timestamp;
use qcc::exchange::{Beginning, Call, Cooling, ErrorText, Head, shape_of_answer};
use qcc::fields::Fields;
use qcc_fsm::CheckMethod;

mod inputs;

fn head(status: StatusCode, fields: &Fields) -> Head<'_> {
    Head { call: Call::Messages, method: CheckMethod::Chat, status, fields, now: Timestamp::UNIX_EPOCH }
}

fn classifying(criterion: &mut Criterion) {
    let (success, refusal) = (Fields::of_map(&success_headers()), Fields::of_map(&rate_limited_headers()));
    let (answer, error) = (answer_body(), error_body());
    let mut group = criterion.benchmark_group("classify");
    group.bench_function("the head of a success", |bencher| {
        bencher.iter(|| {
            let head = head(StatusCode::OK, black_box(&success));
            (head.judge(), Cooling::of_success(head.call, head.fields, || head.now))
        });
    });
    group.bench_function("the beginning of a whole answer", |bencher| {
        bencher.iter(|| {
            let beginning = Beginning::of(black_box(&answer[..]).into(), &success);
            shape_of_answer(Call::Messages, &beginning)
        });
    });
    group.bench_function("an error by its words", |bencher| {
        bencher.iter(|| {
            let error = ErrorText::of(black_box(&error));
            head(StatusCode::TOO_MANY_REQUESTS, &refusal).judge_words(error.as_ref())
        });
    });
    group.bench_function("the head of a 429", |bencher| {
        bencher.iter(|| head(StatusCode::TOO_MANY_REQUESTS, black_box(&refusal)).judge_words(None));
    });
    group.finish();
}

criterion_group!(benches, classifying);
criterion_main!(benches);
