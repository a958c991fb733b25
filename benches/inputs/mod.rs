//! What the benchmarks read: a request, answers and streams as vendors and their clients write them.

#![allow(dead_code, reason = "each benchmark uses a part")]

use hyper::http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

const CODE_LINE: &str = "    let name = \"a text\\n\"; // and what it says\n";

fn code(bytes: usize) -> String {
    CODE_LINE.repeat(bytes / CODE_LINE.len())
}

/// A body of 200 KB as Claude Code sends it: 30 KB of system prompt, 50 KB of tools, the rest turns with code
/// in them.
pub fn claude_code_body() -> Vec<u8> {
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

/// A body of 2 KB: a short chat.
pub fn small_body() -> Vec<u8> {
    small_chat().to_string().into_bytes()
}

/// The same, which asks for a stream.
pub fn small_body_of_stream() -> Vec<u8> {
    let mut body = small_chat();
    body["stream"] = json!(true);
    body.to_string().into_bytes()
}

fn small_chat() -> Value {
    let turn = |role, text: String| json!({"role": role, "content": [{"type": "text", "text": text}]});
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "system": [{"type": "text", "text": "You are a coding assistant.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            turn("user", "What it says. ".repeat(107)),
            turn("assistant", "ok".to_owned()),
            turn("user", "What it says. ".repeat(12)),
        ],
    })
}

const SESSION: (&str, &str) = ("x-claude-code-session-id", "0f3a2b1c-7d4e-4a6f-9b8c-1d2e3f405162");

/// The headers of a request that names its session.
pub fn session_header() -> HeaderMap {
    headers(&[SESSION])
}

/// The headers of a request of Claude Code's, but for the length of its body.
pub fn claude_code_headers() -> HeaderMap {
    headers(&[
        ("host", "127.0.0.1:7860"),
        ("connection", "keep-alive"),
        ("accept", "application/json"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-timeout", "600"),
        ("x-stainless-lang", "js"),
        ("x-stainless-package-version", "0.60.0"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "node"),
        ("x-stainless-runtime-version", "v22.12.0"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("authorization", "Bearer client-token"),
        ("x-app", "cli"),
        ("user-agent", "claude-cli/2.0.14 (external, cli)"),
        ("content-type", "application/json"),
        ("accept-language", "*"),
        ("sec-fetch-mode", "cors"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        SESSION,
    ])
}

/// The headers of a request of a load generator's, but for the length of its body.
pub fn few_headers() -> HeaderMap {
    headers(&[
        ("host", "127.0.0.1:7860"),
        ("x-api-key", "client-token"),
        ("anthropic-version", "2023-06-01"),
        ("user-agent", "claude-cli/2.0.14 (external, cli)"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
    ])
}

/// The headers of a success that says no more than it must.
pub fn bare_headers() -> HeaderMap {
    headers(&[("content-type", "application/json"), ("content-length", "1024")])
}

/// The headers of a success of Anthropic's.
pub fn success_headers() -> HeaderMap {
    headers(&[
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:01Z"),
        ("anthropic-ratelimit-tokens-limit", "2000000"),
        ("anthropic-ratelimit-tokens-remaining", "1987000"),
        ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:02Z"),
        ("request-id", "req_018EeWyXxfu5pfWkrYcMdjWG"),
        ("server", "cloudflare"),
    ])
}

/// The headers of a refusal for its rate.
pub fn rate_limited_headers() -> HeaderMap {
    let mut refused = success_headers();
    refused.extend(headers(&[
        ("retry-after", "7"),
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:08Z"),
    ]));
    refused
}

/// A whole answer of 1 KB.
pub fn answer_body() -> Vec<u8> {
    let body = json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "What it says. ".repeat(52)}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 512, "output_tokens": 208, "cache_read_input_tokens": 0},
    });
    body.to_string().into_bytes()
}

/// An error's body.
pub fn error_body() -> Vec<u8> {
    let error = json!({"type": "rate_limit_error", "message": "This request would exceed your rate limit."});
    json!({"type": "error", "error": error}).to_string().into_bytes()
}

/// One of many events of a stream, of about 120 bytes.
pub const EVENT: &[u8] = b"event: content_block_delta\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"What\"}}\n\n";

/// The events of a whole stream, 50 in all.
pub fn events() -> Vec<Vec<u8>> {
    let begins = [
        json!({"type": "message_start", "message": {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message",
            "role": "assistant", "model": "claude-sonnet-4-5", "content": [], "stop_reason": null,
            "usage": {"input_tokens": 512, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    let ends = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 208}}),
        json!({"type": "message_stop"}),
    ];
    let named = |data: &Value| {
        let name = data["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {data}\n\n").into_bytes()
    };
    let deltas = vec![EVENT.to_vec(); 50 - begins.len() - ends.len()];
    begins.iter().map(named).chain(deltas).chain(ends.iter().map(named)).collect()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let typed = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(typed).collect()
}
