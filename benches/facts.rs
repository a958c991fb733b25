//! What it costs to read a request's facts and its session, for a body of 200 KB as Claude Code sends it:
//! 30 KB of system prompt, 50 KB of tools, the rest turns with code in them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inputs::{claude_code_body, session_header};
use qcc::exchange::{RequestFacts, TopLevel};
use qcc::fields::Fields;

mod inputs;

fn reading(criterion: &mut Criterion) {
    let body = claude_code_body();
    let named = Fields::of_map(&session_header());
    let nameless = Fields::default();
    let mut group = criterion.benchmark_group(format!("facts of {} KB", body.len() / 1000));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("the walk over the body alone", |bencher| {
        bencher.iter(|| TopLevel::of(black_box(&body)).count());
    });
    for (name, fields) in [("session named by header", &named), ("session told by prompt", &nameless)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (facts, clues) = RequestFacts::with_clues(black_box(&body));
                (facts, clues.session(black_box(fields)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
