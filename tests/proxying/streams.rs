//! Event streams: each event when it comes, failover before content only, and never a false end.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt;

use super::support::client::{BodyEnd, raw_request};
use super::support::llm::EVENTS_BEFORE_CONTENT;
use super::support::{
    Answer, Client, End, Gate, Qcc, Raw, Reply, Upstream, eventually, exchange, llm, within,
};
use super::{started, two};

type RawStream = Raw<tokio::net::TcpStream>;

/// A streamed request on a raw connection, so that what comes is seen when it comes.
async fn stream(qcc: &Qcc) -> RawStream {
    let mut raw = Raw::connect(qcc.address()).await;
    let body = llm::streamed(llm::message("streamed")).to_string();
    raw.send(raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes())).await;
    raw
}

/// Shows the events up to the first content, then waits at `gate` for the rest.
fn paused_after_content(
    gate: &Gate,
    pieces: &[&str],
) -> impl Fn(&super::support::Recorded) -> Answer + use<> {
    let (gate, events) = (gate.clone(), llm::message_events(pieces));
    move |_| {
        let (shown, rest) = events.split_at(EVENTS_BEFORE_CONTENT + 1);
        rest.iter().fold(Answer::events(shown).wait(&gate), |answer, event| answer.chunk(event.as_str()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_reaches_the_client_before_the_next_is_sent() {
    let pieces = ["piece-0", "piece-1", "piece-2"];
    let events = llm::message_events(&pieces);
    let whole = events.concat();
    let gates: Vec<Gate> = (0..events.len()).map(|number| Gate::new(&format!("event {number}"))).collect();
    let held = gates.clone();
    let a = Upstream::start(llm::on_post(move |_| {
        let empty = Answer::events::<&str>([]);
        events.iter().zip(&held).fold(empty, |answer, (event, gate)| answer.wait(gate).chunk(event.as_str()))
    }));
    let (qcc, _) = started(two(&a, &Upstream::healthy()));
    let mut raw = stream(&qcc).await;
    // Nothing has to be shown before content.
    for gate in &gates[..EVENTS_BEFORE_CONTENT] {
        gate.open();
    }
    for (gate, piece) in gates[EVENTS_BEFORE_CONTENT..].iter().zip(pieces) {
        gate.arrived(1).await;
        gate.open();
        assert!(raw.read_until(piece).await, "{piece} comes while the next event is held");
    }
    gates.iter().for_each(Gate::open);
    let reply = raw.read_reply().await.unwrap();
    assert_eq!((reply.status(), reply.end), (200, BodyEnd::Clean));
    assert_eq!(reply.head.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.head.header("x-qcc-endpoint"), Some("a"));
    assert_eq!(String::from_utf8_lossy(&reply.body), whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_each_protocol_pass_byte_for_byte() {
    let (a, o) = (Upstream::healthy(), Upstream::healthy());
    let endpoints = [super::Endpoint::new("a", &a), super::Endpoint::new("o", &o).openai()];
    let (_qcc, client) = started(super::Cluster::tiers(endpoints));
    for (path, request, events, from) in [
        ("/v1/messages", llm::message("m"), llm::message_events(&["hello"]), "a"),
        ("/v1/chat/completions", llm::chat("m"), llm::chat_events(&["hello"]), "o"),
        ("/v1/responses", llm::response("m"), llm::response_events(&["hello"]), "o"),
    ] {
        let reply = exchange(client.post(path, &llm::streamed(request))).await.expect_from(from);
        assert_eq!(reply.text(), events.concat(), "{path}");
    }
}

/// What `a` sends of a stream before it breaks, and what the client and the cluster make of it.
async fn broken_at(events: usize, end: End) -> (Reply, usize, Qcc, Client) {
    let all = llm::message_events(&["of-a", "more-of-a"]);
    let a = Upstream::start(llm::on_post(move |_| Answer::events(&all[..events]).ending(end)));
    let b = Upstream::start(llm::on_post(|_| Answer::events(llm::message_events(&["of-b"]))));
    let (qcc, client) = started(two(&a, &b));
    let reply = client.ask_streamed("broken").await;
    let at_b = b.posts().len();
    assert_eq!(a.posts().len(), 1);
    let after = qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
    assert_eq!((&after["failures"], &after["state"]), (&1.into(), &"healthy".into()), "{after:#}");
    (reply, at_b, qcc, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_before_content_is_begun_again_elsewhere() {
    for (events, end) in [(0, End::Fin), (1, End::Reset), (EVENTS_BEFORE_CONTENT, End::Fin)] {
        let (reply, at_b, _qcc, _client) = broken_at(events, end).await;
        let reply = reply.expect_from("b");
        assert_eq!(reply.text(), llm::message_events(&["of-b"]).concat(), "cut after {events}: {end:?}");
        assert_eq!((reply.attempts(), at_b), ("2", 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_after_content_is_aborted_and_never_spliced() {
    let all = llm::message_events(&["of-a", "more-of-a"]);
    for (events, end) in [(EVENTS_BEFORE_CONTENT + 1, End::Fin), (all.len() - 1, End::Fin)] {
        let (reply, at_b, _qcc, _client) = broken_at(events, end).await;
        assert_eq!((reply.status, reply.endpoint(), at_b), (200, "a", 0));
        assert!(!reply.whole, "a cut must not look like an end");
        assert_eq!(reply.text(), all[..events].concat(), "what came is forwarded, and nothing is added");
    }
    // A reset may overtake what was sent before it, so only the abort is certain.
    let (reply, at_b, _qcc, client) = broken_at(EVENTS_BEFORE_CONTENT + 1, End::Reset).await;
    assert!(at_b == 0 && !reply.whole || reply.endpoint() == "b", "{reply:?}");
    client.ask("the proxy goes on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_cut_in_its_body_never_looks_whole() {
    let body = llm::message_answer(&"long ".repeat(50_000)).to_string();
    let announced = body.clone();
    let a = Upstream::start(llm::on_post(move |_| {
        Answer::new(200).body(announced.clone()).cut_at(200_000, End::Fin)
    }));
    let b = Upstream::start(llm::on_post(|_| Answer::json(200, &llm::message_answer("of-b"))));
    let (_qcc, client) = started(two(&a, &b));
    let reply = client.ask("cut").await;
    // Nobody saw a byte if it was held back, so another endpoint may have served it.
    let served_whole = reply.whole && reply.endpoint() == "b" && !reply.text().contains("long");
    let aborted = !reply.whole && reply.endpoint() == "a" && body.starts_with(&reply.text());
    assert!(served_whole || aborted, "{} bytes from {}", reply.body.len(), reply.endpoint());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_silent_past_idle_is_aborted() {
    let gate = Gate::new("never opened");
    let a = Upstream::start(llm::on_post(paused_after_content(&gate, &["of-a", "never"])));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b).timeouts("idle = '300ms'"));
    let reply = client.ask_streamed("silent").await;
    assert_eq!((reply.endpoint(), reply.whole, b.posts().len()), ("a", false, 0));
    assert!(reply.text().contains("of-a"));
    qcc.endpoint_when("a", "has failed", |a| a["failures"] == 1).await;
    eventually("the upstream is let go", || a.posts()[0].was_abandoned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_mid_stream_is_nobodys_failure() {
    let gate = Gate::new("never opened");
    let a = Upstream::start(llm::on_post(paused_after_content(&gate, &["of-a", "never"])));
    let (qcc, _) = started(two(&a, &Upstream::healthy()));
    let before = qcc.endpoint("a");
    let mut raw = stream(&qcc).await;
    assert!(raw.read_until("of-a").await);
    drop(raw);
    eventually("the upstream sees it", || a.posts()[0].was_abandoned()).await;
    let after = qcc.endpoint_when("a", "has nothing in flight", |a| a["in_flight"] == 0).await;
    assert_eq!((&after["requests"]["failed"], &after["failures"]), (&0.into(), &0.into()));
    assert_eq!((&after["state"], &after["epoch"]), (&before["state"], &before["epoch"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_the_upstream_back_and_nobody_else() {
    let piece = "x".repeat(64 * 1024);
    let a = Upstream::start(llm::on_post(move |request| match request.says("streamed") {
        true => Answer::events(llm::message_events(&vec![piece.as_str(); 640])),
        false => llm::healthy(request),
    }));
    let (qcc, client) = started(two(&a, &Upstream::healthy()));
    let slow = stream(&qcc).await;
    a.wait_for("the stream's request", 1, |request| request.is_user()).await;
    for _ in 0..10 {
        client.ask("meanwhile").await.expect_from("a");
    }
    assert!(!a.users()[0].was_answered(), "40 MiB went somewhere while nobody read");
    drop(slow);
    eventually("the upstream is let go", || a.users()[0].was_abandoned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_a_body_is_given_up_whatever_the_head_says() {
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "gzip")] {
        let a = Upstream::start(llm::on_post(move |_| {
            let kind = if name == "content-type" { value } else { "text/event-stream" };
            let answer = Answer::new(200).header("content-type", kind).chunked().ending(End::Stall);
            if name == "content-type" { answer } else { answer.header(name, value) }
        }));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b).timeouts("first_byte = '300ms'"));
        client.ask_streamed("silent").await.expect_from("b");
        eventually("the silent exchange is closed", || a.posts()[0].was_abandoned()).await;
        let after = qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
        assert_eq!(after["failures"], 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_asked_for_in_an_encoded_body_is_a_stream() {
    let events = llm::message_events(&["of-a"]);
    let whole = events.concat();
    let a = Upstream::start(llm::on_post(move |_| Answer::events(&events)));
    let (qcc, client) = started(two(&a, &Upstream::healthy()));
    let request = client.http.post(format!("{}/v1/messages", client.base));
    let request = request.header("content-encoding", "zstd").body(&b"\x28\xb5\x2f\xfd not to be read"[..]);
    let reply = exchange(request).await.expect_from("a");
    assert_eq!(reply.text(), whole);
    assert_eq!(qcc.endpoint_when("a", "has passed", |a| a["requests"]["passed"] == 1).await["failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_after_content_is_not_counted_as_too_late() {
    let gate = Gate::new("the error");
    let held = gate.clone();
    let a = Upstream::start(llm::on_post(move |_| {
        let events = llm::message_events(&["of-a"]);
        let error = llm::anthropic_error("overloaded_error", "busy");
        let answer = Answer::events(&events[..EVENTS_BEFORE_CONTENT + 1]).wait(&held);
        answer.chunk(format!("event: error\ndata: {error}\n\n"))
    }));
    let (qcc, _) = started(two(&a, &Upstream::healthy()));
    let mut raw = stream(&qcc).await;
    assert!(raw.read_until("of-a").await);
    gate.open();
    let after = qcc
        .endpoint_when("a", "cools down", |a| a["cooldown_until"].is_string() && a["in_flight"] == 0)
        .await;
    let counted = (&after["requests"]["neutral"], &after["requests"]["stale"]);
    assert_eq!(counted, (&1.into(), &0.into()), "{after:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_event_after_content_that_says_nothing_is_a_broken_stream() {
    let a = Upstream::start(llm::on_post(|_| {
        let events = llm::message_events(&["of-a"]);
        let error = llm::anthropic_error("api_error", "Internal server error");
        Answer::events(&events[..EVENTS_BEFORE_CONTENT + 1]).chunk(format!("event: error\ndata: {error}\n\n"))
    }));
    let (qcc, client) = started(two(&a, &Upstream::healthy()));
    let reply = client.ask_streamed("broken").await;
    // Both may come at once, before anything was shown: then another endpoint serves.
    assert!(reply.endpoint() == "b" || !reply.whole, "{reply:?}");
    qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_relay_that_names_none_and_sorts_their_members_end_properly() {
    let sorted = |event: &str| {
        // serde_json's map is sorted, so that `type` comes after `response` and `delta`.
        let event: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
        format!("data: {}\n\n", serde_json::to_string(&event).unwrap())
    };
    let long = "long ".repeat(10_000);
    let events: Vec<String> = llm::response_events(&[&long]).iter().map(|event| sorted(event)).collect();
    let whole = events.concat();
    let o = Upstream::start(llm::on_post(move |_| Answer::events(&events)));
    let (qcc, client) = started(super::Cluster::tiers([super::Endpoint::new("o", &o).openai()]));
    let request = client.post("/v1/responses", &llm::streamed(llm::response("sorted")));
    assert_eq!(exchange(request).await.expect_from("o").text(), whole);
    let after = qcc.endpoint_when("o", "has passed", |o| o["requests"]["passed"] == 1).await;
    assert_eq!(after["failures"], 0);
}

/// Only its connection's end ends a stream in HTTP/1.0, as gateways in front of this one may speak it: a cut is told
/// by a reset. An end that is none would pass through them as a whole stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_in_http_1_0_is_reset_and_a_whole_one_ends() {
    for (end, is_whole) in [(End::Clean, true), (End::Fin, false), (End::Reset, false)] {
        let gate = Gate::new("the end");
        let held = gate.clone();
        let events = llm::message_events(&["shown"]);
        let shown = if is_whole { events.len() } else { EVENTS_BEFORE_CONTENT + 1 };
        let a =
            Upstream::start(llm::on_post(move |_| Answer::events(&events[..shown]).wait(&held).ending(end)));
        let (qcc, _) = started(two(&a, &Upstream::healthy()));
        let body = llm::streamed(llm::message("old")).to_string();
        let request = raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes());
        let mut raw = Raw::connect(qcc.address()).await;
        raw.send(String::from_utf8(request).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
        assert!(raw.read_until("shown").await);
        gate.open();
        let (mut stream, mut rest) = (raw.into_inner(), Vec::new());
        let ended = within("the end", stream.read_to_end(&mut rest)).await;
        assert_eq!(
            ended.map_err(|error| error.kind()).err(),
            (!is_whole).then_some(ErrorKind::ConnectionReset),
            "{end:?}"
        );
    }
}
