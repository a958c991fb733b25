//! The shapes the two protocols have on the wire, and an upstream that speaks them well.

use serde_json::{Value, json};

use super::answer::Answer;
use super::recorded::Recorded;

/// What tells a test's request from the program's own checks.
const MARK: &str = "qcc-user";

pub fn has_mark(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains(MARK)
}

/// A user's Anthropic request; `marker` tells it from the others.
pub fn message(marker: &str) -> Value {
    json!({"model": "claude-test-1", "max_tokens": 64,
           "messages": [{"role": "user", "content": format!("{MARK} {marker}")}]})
}

/// A user's OpenAI chat request.
pub fn chat(marker: &str) -> Value {
    json!({"model": "gpt-test-1", "messages": [{"role": "user", "content": format!("{MARK} {marker}")}]})
}

/// A user's OpenAI responses request.
pub fn response(marker: &str) -> Value {
    json!({"model": "gpt-test-1", "input": format!("{MARK} {marker}")})
}

pub fn streamed(mut request: Value) -> Value {
    request["stream"] = true.into();
    request
}

/// Answers everything well: model list, messages, chat, responses, streamed where asked; a request
/// to repeat a code gets its code.
pub fn healthy(request: &Recorded) -> Answer {
    if request.is_model_list() {
        return Answer::json(200, &model_list());
    }
    let body = request.json();
    let codes = codes_in(&last_user_text(&body));
    say(request, if codes.is_empty() { "hello" } else { &codes })
}

/// Answers a POST with `text`, in the shape its path and its `stream` ask for.
pub fn say(request: &Recorded, text: &str) -> Answer {
    let streams = request.json()["stream"] == true;
    let path = request.path();
    if path.ends_with("/count_tokens") {
        return Answer::json(200, &json!({"input_tokens": 7}));
    }
    if path.ends_with("/chat/completions") {
        return if streams {
            Answer::events(chat_events(&[text]))
        } else {
            Answer::json(200, &chat_answer(text))
        };
    }
    if path.ends_with("/responses") {
        return if streams {
            Answer::events(response_events(&[text]))
        } else {
            Answer::json(200, &response_answer(text))
        };
    }
    if path.ends_with("/messages") {
        return if streams {
            Answer::events(message_events(&[text]))
        } else {
            Answer::json(200, &message_answer(text))
        };
    }
    Answer::json(404, &anthropic_error("not_found_error", "no such path"))
}

/// GETs as `gets` says, every POST well.
pub fn on_get(gets: impl Fn(&Recorded) -> Answer) -> impl Fn(&Recorded) -> Answer {
    move |request| if request.is_post() { healthy(request) } else { gets(request) }
}

/// POSTs as `posts` says, the model list well.
pub fn on_post(posts: impl Fn(&Recorded) -> Answer) -> impl Fn(&Recorded) -> Answer {
    move |request| if request.is_post() { posts(request) } else { healthy(request) }
}

/// Every request gets this status with an error body of its kind.
pub fn always(status: u16) -> impl Fn(&Recorded) -> Answer {
    move |_| error(status)
}

/// The error an Anthropic upstream gives with a status.
pub fn error(status: u16) -> Answer {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    Answer::json(status, &anthropic_error(kind, &format!("upstream says {status}")))
}

pub fn anthropic_error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"})
}

pub fn model_list() -> Value {
    json!({"object": "list", "has_more": false, "first_id": "claude-test-1", "last_id": "gpt-test-1", "data": [
        {"id": "claude-test-1", "type": "model", "object": "model", "display_name": "Test", "created_at": "2026-01-01T00:00:00Z"},
        {"id": "gpt-test-1", "type": "model", "object": "model", "display_name": "Test", "created_at": "2026-01-01T00:00:00Z"},
    ]})
}

pub fn message_answer(text: &str) -> Value {
    message_of(json!([{"type": "text", "text": text}]))
}

/// As reasoning models and some relays answer: thinking first, though nobody asked for it.
pub fn thinking_answer(text: &str) -> Value {
    message_of(json!([
        {"type": "thinking", "thinking": "They want a code back.", "signature": "c2ln"},
        {"type": "text", "text": text},
    ]))
}

fn message_of(content: Value) -> Value {
    json!({"id": "msg_test", "type": "message", "role": "assistant", "model": "claude-test-1", "content": content,
           "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 3}})
}

/// An Anthropic stream as its events: `message_start`, `content_block_start`, `ping`, one delta a
/// piece, `content_block_stop`, `message_delta`, `message_stop`.
pub fn message_events(pieces: &[&str]) -> Vec<String> {
    let mut start = message_of(json!([]));
    start["stop_reason"] = Value::Null;
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    events.extend(pieces.iter().map(|piece| {
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
    }));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ]);
    events.iter().map(typed_event).collect()
}

/// Events before the first that carries output.
pub const EVENTS_BEFORE_CONTENT: usize = 3;

fn typed_event(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message"))
}

pub fn chat_answer(text: &str) -> Value {
    json!({"id": "chatcmpl-test", "object": "chat.completion", "created": 1, "model": "gpt-test-1",
           "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
}

pub fn chat_events(pieces: &[&str]) -> Vec<String> {
    let chunk = |delta: Value, reason: Value| {
        let body = json!({"id": "chatcmpl-test", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test-1",
                          "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        format!("data: {body}\n\n")
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(pieces.iter().map(|piece| chunk(json!({"content": piece}), Value::Null)));
    events.push(chunk(json!({}), "stop".into()));
    events.push("data: [DONE]\n\n".into());
    events
}

pub fn response_answer(text: &str) -> Value {
    json!({"id": "resp_test", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-test-1",
           "output": [{"id": "msg_test", "type": "message", "role": "assistant", "status": "completed",
                       "content": [{"type": "output_text", "text": text, "annotations": []}]}],
           "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}})
}

pub fn response_events(pieces: &[&str]) -> Vec<String> {
    let whole = pieces.concat();
    let mut begun = response_answer("");
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    let mut events = vec![json!({"type": "response.created", "response": begun})];
    events.extend(pieces.iter().map(|piece| {
        json!({"type": "response.output_text.delta", "item_id": "msg_test", "output_index": 0, "content_index": 0, "delta": piece})
    }));
    events.push(json!({"type": "response.completed", "response": response_answer(&whole)}));
    events.iter().map(typed_event).collect()
}

/// The text of the last user turn, whichever protocol the body is of.
pub fn last_user_text(body: &Value) -> String {
    let turns = if body["messages"].is_array() { &body["messages"] } else { &body["input"] };
    match turns.as_array() {
        Some(turns) => {
            let last = turns.iter().rev().find(|turn| turn["role"] == "user");
            last.map(|turn| text_of(&turn["content"])).unwrap_or_default()
        }
        None => text_of(turns),
    }
}

fn text_of(content: &Value) -> String {
    match content.as_array() {
        Some(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
            texts.join("\n")
        }
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}

/// Every word that looks like a verification code: six of A–Z and 0–9.
pub fn codes_in(text: &str) -> String {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric());
    let codes: Vec<&str> = words
        .filter(|word| word.len() == 6)
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
        .collect();
    codes.join(" ")
}
