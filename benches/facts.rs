//! What it costs to read a request's facts and its session, for a body of 200 KB as Claude Code sends it:
//! 30 KB of system prompt, 50 KB of tools, the rest turns with code in them.

#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hyper::http::header::{HeaderMap, HeaderValue};
use qcc::exchange::{RequestFacts, TopLevel};
use serde_json::json;

const CODE_LINE: &str = "    let name = \"a text\\n\"; // and what it says\n";

fn code(bytes: usize) -> String {
    CODE_LINE.repeat(bytes / CODE_LINE.len())
}

fn body() -> Vec<u8> {
    let tool = json!({"name": "read", "description": code(4000), "input_schema": {"type": "object"}});
    let turns: Vec<_> = (0..12)
        .map(|turn| {
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            json!({"role": role, "content": [{"type": "text", "text": code(8500)}]})
        })
        .collect();
    let body = json!({
        "model": "claude-sonnet-4-5",
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: n=1;"},
            {"type": "text", "text": "Prompt. ".repeat(3750), "cache_control": {"type": "ephemeral"}}],
        "tools": vec![tool; 10],
        "messages": turns,
        "stream": true,
    });
    body.to_string().into_bytes()
}

fn reading(criterion: &mut Criterion) {
    let body = body();
    let named = HeaderMap::from_iter([(
        "x-claude-code-session-id".parse().expect("a name"),
        HeaderValue::from_static("0f3a2b1c-7d4e-4a6f-9b8c-1d2e3f405162"),
    )]);
    let nameless = HeaderMap::new();
    let mut group = criterion.benchmark_group(format!("facts of {} KB", body.len() / 1000));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("the walk over the body alone", |bencher| {
        bencher.iter(|| TopLevel::of(black_box(&body)).count());
    });
    for (name, headers) in [("session named by header", &named), ("session told by prompt", &nameless)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (facts, clues) = RequestFacts::with_clues(black_box(&body));
                (facts, clues.session(black_box(headers)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
