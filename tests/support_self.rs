//! The tests' own tools, tested: a wrong recorder would make every other test say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::json;
use support::client::{BodyEnd, raw_request};
use support::faults::{Act, Ended, Faulty, json_answer, says};
use support::http::{Head, chunk, dechunk};
use support::recorded::next_arrival;
use support::{Answer, Client, End, Gate, Raw, Recorded, Step, Upstream, eventually, llm};

async fn connect(upstream: &Upstream) -> Raw<tokio::net::TcpStream> {
    Raw::connect(&upstream.address().to_string()).await
}

fn post(path: &str, body: &str) -> Vec<u8> {
    raw_request("POST", path, "upstream", &["X-One: 1", "x-one: 2"], body.as_bytes())
}

#[test]
fn a_head_is_parsed_only_when_complete() {
    assert!(Head::parse(b"GET / HTTP/1.1\r\nA: b\r\n").is_none());
    let (head, length) = Head::parse(b"GET / HTTP/1.1\r\nA:  b c \r\nEmpty:\r\n\r\nrest").unwrap();
    assert_eq!(length, 36);
    assert_eq!(head.headers, [("A".into(), "b c".into()), ("Empty".into(), String::new())]);
    assert_eq!(head.header("a"), Some("b c"));
}

proptest::proptest! {
    #[test]
    fn chunks_cut_anywhere_are_never_taken_for_a_clean_end(pieces: Vec<Vec<u8>>, cut: proptest::sample::Index) {
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let mut wire: Vec<u8> = pieces.iter().flat_map(|piece| chunk(piece)).collect();
        wire.extend_from_slice(b"0\r\n\r\n");
        let whole = dechunk(&wire);
        assert!(whole.complete && whole.consumed == wire.len() && whole.body == pieces.concat());
        let part = dechunk(&wire[..cut.index(wire.len())]);
        assert!(!part.complete && whole.body.starts_with(&part.body));
    }
}

#[tokio::test]
async fn an_upstream_records_requests_in_order_as_they_came() {
    let (one, two) = (Upstream::healthy(), Upstream::healthy());
    let before = next_arrival();
    let mut first = connect(&one).await;
    first.ask(post("/v1/messages?beta=true", "{\"a\": 1}")).await;
    connect(&two).await.ask(post("/v1/messages", "{}")).await;
    first.send("POST /v1/messages HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nqcc-\r\n4\r\nuser\r\n0\r\n\r\n").await;
    first.read_reply().await.unwrap();

    let (seen, other) = (one.requests(), two.requests());
    assert_eq!((seen.len(), other.len()), (2, 1));
    assert!(
        before <= seen[0].arrival && seen[0].arrival < other[0].arrival && other[0].arrival < seen[1].arrival
    );
    assert_eq!(seen[0].target, "/v1/messages?beta=true");
    assert_eq!(seen[0].path(), "/v1/messages");
    assert_eq!(seen[0].header_all("X-ONE"), ["1", "2"]);
    assert_eq!(seen[0].body(), b"{\"a\": 1}");
    assert!(seen[0].is_chat_check() && seen[1].is_user());
    assert_eq!(seen[0].connection, seen[1].connection);
    assert_eq!(seen[1].body(), b"qcc-user");
    assert!(seen[0].was_answered() && !seen[0].was_abandoned());
}

#[tokio::test]
async fn a_request_counts_from_its_head_on() {
    let upstream = Upstream::healthy();
    let mut client = connect(&upstream).await;
    client.send("POST /v1/messages HTTP/1.1\r\ncontent-length: 5\r\n\r\nab").await;
    let seen = upstream.wait_for("the head", 1, |_| true).await;
    assert_eq!(seen[0].body(), b"");
    drop(client);
    support::eventually("the loss is seen", || seen[0].was_abandoned()).await;
}

#[tokio::test]
async fn gates_hold_answers_one_by_one() {
    let gate = Gate::new("answers");
    let held = gate.clone();
    let upstream = Upstream::start(move |request| llm::healthy(request).after(&held));
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = connect(&upstream).await;
        client.send(post("/v1/messages", "{}")).await;
        gate.arrived(number + 1).await;
        clients.push(client);
    }
    gate.release(1);
    assert_eq!(clients[0].read_reply().await.unwrap().status(), 200);
    assert!(!upstream.requests()[1].was_answered() && !upstream.requests()[2].was_answered());
    gate.open();
    for client in &mut clients[1..] {
        assert_eq!(client.read_reply().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_upstream_sees_its_peer_leave_while_it_holds_the_answer() {
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Answer::new(200).after(&held));
    let mut client = connect(&upstream).await;
    client.send(post("/v1/messages", "{}")).await;
    gate.arrived(1).await;
    drop(client);
    support::eventually("the leaving is seen", || upstream.requests()[0].was_abandoned()).await;
}

#[tokio::test]
async fn answers_end_as_they_are_told() {
    let events = llm::message_events(&["one", "two"]);
    for (answer, body, end) in [
        (Answer::new(204), String::new(), BodyEnd::Clean),
        (Answer::new(200).body("whole"), "whole".into(), BodyEnd::Clean),
        (Answer::new(200).body("whole").cut_at(3, End::Fin), "who".into(), BodyEnd::Broken),
        (Answer::events(&events[..]), events.concat(), BodyEnd::Clean),
        (Answer::events(&events[..2]).ending(End::Fin), events[..2].concat(), BodyEnd::Broken),
        (Answer::events(&events[..]).cut_at(9, End::Fin), events.concat()[..9].into(), BodyEnd::Broken),
    ] {
        let upstream = Upstream::healthy();
        let answer = std::sync::Mutex::new(Some(answer));
        upstream.set(move |_| answer.lock().unwrap().take().unwrap());
        let reply = connect(&upstream).await.ask(post("/", "")).await;
        assert_eq!((String::from_utf8_lossy(&reply.body).into_owned(), reply.end), (body, end));
    }
    for end in [End::Fin, End::Reset] {
        let upstream = Upstream::start(move |_| Answer::nothing(end));
        let mut client = connect(&upstream).await;
        client.send(post("/", "")).await;
        assert!(client.read_reply().await.is_none());
    }
}

#[tokio::test]
async fn a_stopped_upstream_refuses_and_comes_back_on_its_port() {
    let upstream = Upstream::healthy();
    let mut open = connect(&upstream).await;
    open.ask(post("/v1/messages", "{}")).await;
    upstream.stop();
    open.expect_closed().await;
    assert!(tokio::net::TcpStream::connect(upstream.address()).await.is_err());
    upstream.restart();
    assert_eq!(connect(&upstream).await.ask(post("/v1/messages", "{}")).await.status(), 200);
    let never = Upstream::stopped(llm::healthy);
    assert!(tokio::net::TcpStream::connect(never.address()).await.is_err());
}

#[tokio::test]
async fn a_healthy_upstream_speaks_each_protocol() {
    let upstream = Upstream::healthy();
    let mut client = connect(&upstream).await;
    let models = client.ask(raw_request("GET", "/v1/models?limit=5", "u", &[], b"")).await;
    assert_eq!(models.json()["data"][0]["id"], "claude-test-1");
    for (path, body, whole, last) in [
        ("/v1/messages", llm::message("m"), "/content/0/text", "message_stop"),
        ("/v1/chat/completions", llm::chat("m"), "/choices/0/message/content", "[DONE]"),
        ("/v1/responses", llm::response("m"), "/output/0/content/0/text", "response.completed"),
    ] {
        let reply = client.ask(post(path, &body.to_string())).await;
        assert_eq!(reply.json().pointer(whole).unwrap(), "hello");
        let reply = client.ask(post(path, &llm::streamed(body).to_string())).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains("hello") && text.split("\n\n").any(|event| event.contains(last)), "{text}");
        assert_eq!(reply.head.header("content-type"), Some("text/event-stream"));
    }
    assert_eq!(client.ask(post("/v1/elsewhere", "{}")).await.status(), 404);
}

#[tokio::test]
async fn a_chat_check_gets_its_code_back_in_each_protocol() {
    let upstream = Upstream::healthy();
    let mut client = connect(&upstream).await;
    let text = "Say AB12Z9, and nothing else. NOT THESE: abc123, TOOLONG";
    let blocks = json!([{"type": "text", "text": "system"}, {"type": "text", "text": text}]);
    for (path, body, found) in [
        ("/v1/messages", json!({"messages": [{"role": "user", "content": blocks}]}), "/content/0/text"),
        ("/v1/messages", json!({"messages": [{"role": "user", "content": text}]}), "/content/0/text"),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": text}]}),
            "/choices/0/message/content",
        ),
        ("/v1/responses", json!({"input": text}), "/output/0/content/0/text"),
        (
            "/v1/responses",
            json!({"input": [{"role": "user", "content": blocks}]}),
            "/output/0/content/0/text",
        ),
    ] {
        let reply = client.ask(post(path, &body.to_string())).await;
        let answer = reply.json().pointer(found).unwrap().as_str().unwrap().to_owned();
        assert!(answer.contains("AB12Z9") && !answer.contains("abc123"), "{path}: {answer}");
    }
    assert!(upstream.requests().iter().all(|request| request.is_chat_check()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_tell_a_whole_answer_from_a_broken_one() {
    let gate = Gate::new("held");
    let held = gate.clone();
    let upstream = Upstream::start(llm::on_post(move |request| match () {
        () if request.says("fin") => Answer::new(200).body("whole").cut_at(3, End::Fin),
        () if request.says("chunks") => Answer::events(["one", "two"]).ending(End::Fin),
        () if request.says("held") => Answer::new(200).after(&held),
        () => llm::healthy(request),
    }));
    let client = Client::at(&upstream.url());
    assert!(client.ask("good").await.whole);
    let streamed = client.ask_streamed("good").await;
    assert_eq!((streamed.whole, streamed.text()), (true, llm::message_events(&["hello"]).concat()));
    let fin = client.ask("fin").await;
    assert_eq!((fin.whole, fin.text().as_str()), (false, "who"));
    assert!(!client.ask("chunks").await.whole);
    let asking = client.asking("held");
    gate.arrived(1).await;
    assert!(!asking.is_answered());
    asking.leave().await;
    support::eventually("the leaving is seen", || upstream.users().last().unwrap().was_abandoned()).await;
}

#[test]
fn a_configuration_is_written_as_told() {
    let cluster = support::Cluster::tiers([support::Endpoint::at("a", "http://x").line("weight = 5")])
        .health("check_interval = '1s'")
        .line("queue_timeout = '1s'")
        .timeouts("idle = '1s'");
    let text: toml::Table = cluster.render().parse().unwrap();
    let work = &text["clusters"]["work"];
    assert_eq!((work["queue_timeout"].as_str(), work["listen"].as_str()), (Some("1s"), Some("127.0.0.1:0")));
    assert_eq!(work["health"]["check_interval"].as_str(), Some("1s"));
    assert_eq!(work["timeouts"]["idle"].as_str(), Some("1s"));
    let endpoint = &work["endpoints"][0];
    assert_eq!((endpoint["priority"].as_integer(), endpoint["weight"].as_integer()), (Some(1), Some(5)));
    assert_eq!(endpoint["api_key"]["env"].as_str(), Some("QCC_TEST_KEY_A"));
    assert_eq!(cluster.environment(), [("QCC_TEST_KEY_A".into(), "sk-key-of-a-0123456789".into())]);
}

#[tokio::test]
async fn behaviour_changes_at_run_time_and_by_method() {
    let upstream = Upstream::start(llm::on_get(llm::always(401)));
    let mut client = connect(&upstream).await;
    assert_eq!(client.ask(raw_request("GET", "/v1/models", "u", &[], b"")).await.status(), 401);
    assert_eq!(client.ask(post("/v1/messages", "{}")).await.status(), 200);
    upstream.set(llm::on_post(llm::always(529)));
    assert_eq!(client.ask(raw_request("GET", "/v1/models", "u", &[], b"")).await.status(), 200);
    let reply = client.ask(post("/v1/messages", "{}")).await;
    assert_eq!((reply.status(), reply.json()["error"]["type"].as_str()), (529, Some("overloaded_error")));
    let seen: Vec<bool> =
        upstream.requests().iter().map(|request| Recorded::is_model_list(request)).collect();
    assert_eq!(seen, [true, false, true, false]);
}

#[tokio::test]
#[should_panic(expected = "2 arrivals at the gate `lonely`")]
async fn a_wait_that_fails_says_for_what() {
    let gate = Gate::new("lonely");
    tokio::time::pause();
    gate.arrived(2).await;
}

#[tokio::test]
async fn a_wire_answer_and_a_head_are_exact_to_the_byte() {
    let wire = b"HTTP/1.1 200 \xe9\r\nX-Odd:  caf\xe9\t\r\nx-odd: 2\r\n\r\nto the close".to_vec();
    let sent = wire.clone();
    let upstream = Upstream::start(move |_| Answer::wire([Step::Bytes(sent.clone()), Step::End(End::Fin)]));
    let mut raw = connect(&upstream).await;
    let request = b"GET / HTTP/1.1\r\nX-Value: \xff\r\n\r\n";
    raw.send(request).await;
    let head = raw.read_head().await.unwrap();
    assert_eq!(head.lines(), [("x-odd".into(), b"caf\xe9".to_vec()), ("x-odd".into(), b"2".to_vec())]);
    let (body, end) = raw.read_body(&head).await;
    assert_eq!([head.bytes.as_slice(), &body].concat(), wire);
    assert_eq!(end, BodyEnd::Clean, "without a length the close is the end");
    assert_eq!(upstream.requests()[0].head, request);
}

#[tokio::test]
async fn a_stopped_upstream_has_closed_what_it_had() {
    let upstream = Upstream::healthy();
    for _ in 0..20 {
        let mut raw = connect(&upstream).await;
        raw.ask(post("/v1/messages", "{}")).await;
        upstream.stop();
        raw.expect_closed().await;
        upstream.restart();
    }
}

#[tokio::test]
async fn a_body_is_awaited_without_being_taken() {
    let gate = Gate::new("the rest");
    let held = gate.clone();
    let upstream =
        Upstream::start(move |_| Answer::events(["one", "two"]).wait(&held).chunk("three").ending(End::Fin));
    let mut raw = connect(&upstream).await;
    raw.send(post("/v1/messages", "{}")).await;
    let head = raw.read_head().await.unwrap();
    assert!(raw.await_body(6).await);
    gate.open();
    assert!(!raw.await_body(12).await, "the connection ends first");
    let (body, end) = raw.read_body(&head).await;
    assert_eq!((body.as_slice(), end), (&b"onetwothree"[..], BodyEnd::Broken));
}

#[tokio::test]
async fn a_faulty_upstream_says_what_it_is_told_and_its_ledger_has_what_came() {
    let upstream = Faulty::start(|_| says(json_answer("{}")));
    let cut = json_answer(r#"{"whole":false}"#);
    upstream.script("cut", [Act::Read, Act::Send(cut[..cut.len() - 3].to_vec()), Act::Die]);
    upstream.script("unread", [Act::ReadTo(90), Act::Reset]);
    let connect = || async { Raw::connect(&upstream.address().to_string()).await };

    let mut raw = connect().await;
    for place in 0..2 {
        let reply = raw.ask(post("/v1/messages?shot=good", "x")).await;
        assert_eq!((reply.status(), reply.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(upstream.taken("good")[place].place, place);
    }
    assert_eq!((upstream.accepted("good"), upstream.accepted_twice()), (2, vec!["good".to_owned()]));

    let reply = raw.ask(post("/v1/messages?shot=cut", "x")).await;
    assert_eq!((reply.body.as_slice(), reply.end), (br#"{"whole":fal"#.as_slice(), BodyEnd::Broken));
    let connection = upstream.taken("cut")[0].connection.clone();
    assert_eq!(
        (connection.number, connection.bytes_sent()),
        (0, 2 * json_answer("{}").len() + cut.len() - 3)
    );
    eventually("its end", || connection.end().is_some_and(|(how, _)| how == Ended::Died)).await;

    let mut raw = connect().await;
    let head = post("/v1/messages?shot=unread", "");
    let request = post("/v1/messages?shot=unread", &"x".repeat(100));
    raw.send(&request[..head.len() + 10]).await;
    assert!(raw.read_reply().await.is_none());
    let taken = upstream.taken("unread");
    assert_eq!((taken.len(), taken[0].is_whole(), upstream.accepted("unread")), (1, false, 0));
    eventually("its end", || taken[0].connection.end().is_some_and(|(how, _)| how == Ended::Reset)).await;
}

#[tokio::test]
async fn before_a_request_a_faulty_upstream_does_what_it_is_told_for_its_place() {
    let upstream = Faulty::start(|_| says(json_answer("{}")));
    upstream.before(|_, place| if place == 1 { vec![Act::ReadTo(5), Act::Die] } else { Vec::new() });
    let mut raw = Raw::connect(&upstream.address().to_string()).await;
    assert_eq!(raw.ask(post("/?shot=first", "")).await.status(), 200);
    raw.send(b"POST ").await;
    assert!(raw.read_reply().await.is_none());
    let connection = &upstream.connections()[0];
    assert_eq!(connection.bytes_read(), post("/?shot=first", "").len() + 5);
    assert_eq!((upstream.accepted("first"), upstream.accepted_in_all()), (1, 1));
}
