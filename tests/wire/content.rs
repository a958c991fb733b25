//! Where content begins: what precedes it may still be moved, whatever carries output may not.

use serde_json::{Value, json};

use super::bytes::gzip;
use super::protocols::{Mode, Protocol};
use super::support::{Answer, End};
use super::table::{Case, Client, Verdict, case, run};

/// An event with its type in a field of its own, as both vendors send it.
fn named(event: &Value) -> String {
    format!("event: {}\n{}", event["type"].as_str().unwrap_or("message"), unnamed(event))
}

/// With its type in the data only, as some relays send it.
fn unnamed(event: &Value) -> String {
    format!("data: {event}\n\n")
}

fn block_delta(delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

fn chat(choices: Value) -> String {
    unnamed(
        &json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}),
    )
}

fn chat_delta(delta: Value) -> String {
    chat(json!([{"index": 0, "delta": delta, "finish_reason": null}]))
}

/// A stream that is cut after its first event and this one.
fn cut_after(protocol: Protocol, event: &str) -> (Case, Vec<u8>) {
    let events = [protocol.events(&["never"])[0].clone(), event.to_owned()];
    let body = events.concat().into_bytes();
    let short: String = event.chars().take(120).collect();
    let cut = case(&format!("cut after {short:?}"), protocol, Mode::Streamed, move |_| {
        Answer::events(&events).ending(End::Fin)
    });
    (cut, body)
}

fn no_content() -> Vec<(Protocol, String)> {
    let tool = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let mut events = vec![
        (Protocol::Chat, chat(json!([]))),
        (Protocol::Chat, chat_delta(json!({}))),
        (Protocol::Chat, chat_delta(json!({"role": "assistant"}))),
        (Protocol::Chat, chat_delta(json!({"role": "assistant", "content": "", "refusal": null}))),
        (Protocol::Chat, chat_delta(json!({"content": null, "tool_calls": []}))),
        (Protocol::Chat, ": processing\n\n".into()),
    ];
    for event in [
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": tool}),
        json!({"type": "not.yet.known", "delta": {"text": "x"}}),
    ] {
        events.push((Protocol::Messages, named(&event)));
        events.push((Protocol::Messages, unnamed(&event)));
    }
    for event in [
        json!({"type": "response.in_progress", "response": {"error": null}}),
        json!({"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}}),
        json!({"type": "response.output_item.added", "item": {"type": "function_call", "arguments": ""}}),
    ] {
        events.push((Protocol::Responses, named(&event)));
        events.push((Protocol::Responses, unnamed(&event)));
    }
    events
}

fn content() -> Vec<(Protocol, String)> {
    let call =
        json!([{"index": 0, "id": "t", "type": "function", "function": {"name": "n", "arguments": ""}}]);
    let mut events = vec![
        (Protocol::Chat, chat_delta(json!({"content": " "}))),
        (Protocol::Chat, chat_delta(json!({"role": "assistant", "content": "x"}))),
        (Protocol::Chat, chat_delta(json!({"tool_calls": call}))),
        (Protocol::Chat, chat_delta(json!({"content": null, "reasoning_content": "x"}))),
        (Protocol::Chat, chat_delta(json!({"refusal": "no"}))),
        (Protocol::Chat, chat_delta(json!({"content": "x".repeat(20_000)}))),
    ];
    for delta in [
        json!({"type": "text_delta", "text": "x"}),
        json!({"type": "thinking_delta", "thinking": "x"}),
        json!({"type": "input_json_delta", "partial_json": ""}),
        // Words that are no error of anybody's.
        json!({"type": "text_delta", "text": "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}"}),
    ] {
        events.push((Protocol::Messages, named(&block_delta(delta.clone()))));
        events.push((Protocol::Messages, unnamed(&block_delta(delta))));
    }
    let long = json!({"type": "text_delta", "text": "x".repeat(20_000)});
    events.push((Protocol::Messages, named(&block_delta(long))));
    for event in [
        json!({"type": "response.output_text.delta", "delta": "x"}),
        json!({"type": "response.function_call_arguments.delta", "delta": "{"}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "x"}),
        json!({"type": "response.refusal.delta", "delta": "no"}),
    ] {
        events.push((Protocol::Responses, named(&event)));
        events.push((Protocol::Responses, unnamed(&event)));
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_carries_no_output_is_before_content() {
    let cases = no_content().into_iter().map(|(protocol, event)| {
        let (cut, _) = cut_after(protocol, &event);
        cut.gives(Client::FromB, Verdict::Fails("stream", 1))
    });
    run(cases.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_carries_output_is_content() {
    let cases = content().into_iter().map(|(protocol, event)| {
        let (cut, body) = cut_after(protocol, &event);
        cut.gives(Client::Aborted { body }, Verdict::Breaks(&["stream"]))
    });
    run(cases.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_may_end_in_each_way_that_its_protocol_has() {
    let mut cases = Vec::new();
    let incomplete =
        json!({"type": "response.incomplete", "response": {"status": "incomplete", "error": null}});
    let stop = json!({"type": "message_stop"});
    for (protocol, last) in [
        (Protocol::Responses, named(&incomplete)),
        (Protocol::Responses, unnamed(&incomplete)),
        (Protocol::Messages, named(&stop)),
        (Protocol::Messages, unnamed(&stop)),
        (Protocol::Chat, "data:[DONE]\n\n".into()),
        // As relays leave it out: nothing is missing after it.
        (Protocol::Chat, "data: [DONE]".into()),
    ] {
        let mut events = protocol.events(&["of-a"]);
        events.pop();
        events.push(last.clone());
        let body = events.concat().into_bytes();
        cases.push(
            case(&format!("ends in {last:?}"), protocol, Mode::Streamed, move |_| Answer::events(&events))
                .gives(Client::FromA { status: 200, body }, Verdict::Passes),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_last_event_that_names_its_type_last_is_the_end() {
    // A relay that writes JSON anew sorts its members, and drops the name of the event.
    let protocol = Protocol::Responses;
    let mut events = protocol.events(&[&"of-a ".repeat(400)]);
    let last = events.pop().expect("a last event");
    let (_, data) = last.split_once('\n').expect("its name in a line of its own");
    assert!(data.ends_with("\"type\":\"response.completed\"}\n\n"), "{data}");
    events.push(data.to_owned());
    let body = events.concat().into_bytes();
    let whole = case("its type last", protocol, Mode::Streamed, move |_| Answer::events(&events));
    run(vec![whole.gives(Client::FromA { status: 200, body }, Verdict::Passes)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compressed_stream_is_judged_by_its_framing() {
    let protocol = Protocol::Messages;
    let whole = gzip(protocol.events(&["of-a", "more-of-a"]).concat().as_bytes());
    let half = whole[..whole.len() / 2].to_vec();
    let compressed = |end: End, body: Vec<u8>| {
        let name = format!("{} bytes of gzip, {end:?}", body.len());
        case(&name, protocol, Mode::Streamed, move |_| {
            let answer = Answer::events([&body]).header("content-encoding", "gzip");
            answer.ending(end)
        })
    };
    run(vec![
        compressed(End::Clean, whole.clone())
            .gives(Client::FromA { status: 200, body: whole.clone() }, Verdict::Passes),
        compressed(End::Fin, half.clone())
            .gives(Client::Aborted { body: half }, Verdict::Breaks(&["stream"])),
        compressed(End::Clean, Vec::new()).gives(Client::FromB, Verdict::Fails("invalid-response", 1)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_event_of_a_response_counts_in_each_form() {
    let protocol = Protocol::Responses;
    let mut cases = Vec::new();
    for error in [
        json!({"type": "error", "code": "insufficient_quota", "message": "no money", "param": null}),
        json!({"type": "error", "error": {"code": "insufficient_quota", "message": "no money"}}),
    ] {
        for event in [named(&error), unnamed(&error)] {
            let events = [protocol.events(&["never"])[0].clone(), event];
            cases.push(
                case(&events[1].clone(), protocol, Mode::Streamed, move |_| Answer::events(&events))
                    .gives(Client::FromB, Verdict::Decides("quota")),
            );
        }
    }
    run(cases).await;
}
