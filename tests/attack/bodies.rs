//! Bodies that hold memory or time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::endpoint;
use super::support::client::raw_request;
use super::support::{
    Answer, Client, Cluster, End, Endpoint, Gate, Qcc, Raw, Recorder, Upstream, llm, within,
};

fn bounded(a: &Upstream) -> Cluster {
    let cluster =
        Cluster::tiers([Endpoint::new("a", a)]).line("max_body = '1 MiB'").line("max_bodies = '1 MiB'");
    cluster.line("queue_timeout = '300ms'")
}

fn long(marker: &str) -> String {
    marker.to_owned() + &"x".repeat(700_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_room_waits_and_is_then_told_to_come_back() {
    let gate = Gate::new("an answer");
    let holding = gate.clone();
    let a = Upstream::start(llm::on_post(move |request| {
        let answer = Answer::json(200, &llm::message_answer("hello"));
        if request.says("held") { answer.after(&holding) } else { answer }
    }));
    let qcc = Qcc::start(&bounded(&a));
    let client = Client::of(&qcc);
    let held = client.asking(&long("held"));
    a.wait_for("the first one", 1, |request| request.says("held")).await;
    // Its length alone is enough: no byte of the body is asked for.
    let mut raw = Raw::connect(qcc.address()).await;
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\n", qcc.address());
    let reply = raw.ask(format!("{head}content-length: 700000\r\n\r\n")).await;
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (529, Some("bodies_too_large")));
    assert_eq!(
        (reply.head.header("retry-after"), reply.head.header("x-should-retry")),
        (Some("1"), Some("true"))
    );
    assert_eq!(reply.json()["error"]["type"], "overloaded_error");
    // Without a length it shows as it comes.
    raw = Raw::connect(qcc.address()).await;
    raw.send(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\n", qcc.address())).await;
    let reply =
        raw.ask(format!("transfer-encoding: chunked\r\n\r\nAAE60\r\n{}\r\n", "x".repeat(700_000))).await;
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (503, Some("bodies_too_large")));
    // What is small finds its place.
    client.ask("small").await.expect_from("a");
    gate.open();
    assert_eq!(held.reply().await.status, 200);
    client.ask(&long("after it")).await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_free_again_when_the_answer_has_begun_and_when_the_client_has_left() {
    let gate = Gate::new("an answer");
    let holding = gate.clone();
    let a = Upstream::start(llm::on_post(move |request| match request.says("streamed") {
        true => {
            let events = llm::message_events(&["hello", "again"]);
            let (first, rest) = events.split_at(llm::EVENTS_BEFORE_CONTENT + 1);
            let held = Answer::events(first).wait(&holding);
            rest.iter().fold(held, |answer, event| answer.chunk(event.as_str()))
        }
        false if request.says("held") => Answer::nothing(End::Stall),
        false => Answer::json(200, &llm::message_answer("hello")),
    }));
    let qcc = Qcc::start(&bounded(&a).line("queue_timeout = '5s'"));
    let client = Client::of(&qcc);
    let mut raw = Raw::connect(qcc.address()).await;
    let body = llm::streamed(llm::message(&long("streamed"))).to_string();
    raw.send(raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes())).await;
    assert!(raw.read_until("content_block_delta").await, "its content has begun");
    client.ask(&long("beside it")).await.expect_from("a");
    gate.open();

    let left = client.asking(&long("held"));
    a.wait_for("the one that is held", 1, |request| request.says("held")).await;
    left.leave().await;
    client.ask(&long("behind it")).await.expect_from("a");

    // Half a body holds its place as well, until its client goes.
    let mut half = Raw::connect(qcc.address()).await;
    half.send(format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\ncontent-length: 900000\r\n\r\nx",
        qcc.address()
    ))
    .await;
    let waiting = client.asking(&long("behind half a body"));
    drop(half);
    assert_eq!(waiting.reply().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_given_up_within_its_limit() {
    let recorder = Recorder::start();
    let cluster = Cluster::tiers([endpoint(&recorder)]).timeouts("client_header = '500ms'");
    let qcc = Qcc::start(&cluster);
    let stream = within("a connection", TcpStream::connect(qcc.address())).await.unwrap();
    let (mut reading, mut sending) = stream.into_split();
    let begun = Instant::now();
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\n\r\n", qcc.address());
    sending.write_all(head.as_bytes()).await.unwrap();
    // A byte well within the limit on silence, each time.
    let trickle = tokio::spawn(async move {
        while sending.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut answer = String::new();
    within("an answer and its end", reading.read_to_string(&mut answer)).await.unwrap();
    trickle.abort();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-qcc-error: body_timeout"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(3));
    assert_eq!(recorder.take(), b"");
}
