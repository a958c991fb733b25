//! Upstreams that fall silent, each in another phase: each phase has its own limit, and nobody else waits.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::rig::{Billing, Rig, well};
use super::support::client::{BodyEnd, raw_request};
use super::support::faults::{Act, Blackhole, Faulty, says};
use super::support::http::chunk;
use super::support::{Client, Cluster, Endpoint, Gate, Qcc, Raw, eventually, exchange};

/// Only this one of the limits ends anything within a test.
fn limited(limit: &'static str) -> impl FnOnce(Cluster) -> Cluster {
    move |cluster| {
        let all = ["connect", "first_byte", "answer", "idle"];
        let cluster = all.iter().fold(cluster, |cluster, name| cluster.timeouts(&format!("{name} = '5m'")));
        let short = limit.split(' ').filter(|name| !name.is_empty());
        short
            .fold(cluster, |cluster, name| cluster.timeouts(&format!("{name} = '300ms'")))
            .health("failure_threshold = 1")
            .line("commit_after = '1m'")
    }
}

/// The head of a stream and so many of its events.
fn stream_until(event: usize) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let events = Kind::MessagesStreamed.pieces("a");
    let chunks = events.iter().take(event).map(|event| chunk(event.as_bytes()));
    chunks.fold(head.as_bytes().to_vec(), |bytes, chunk| [bytes, chunk].concat())
}

/// An answer that never gets beyond its beginning: what the client is told instead, and the cause.
async fn times_out(limit: &'static str, kind: Kind, acts: Vec<Act>, cause: &str) {
    let rig = Rig::start(false, Billing::PerToken, limited(limit));
    assert_eq!(rig.ask(Kind::Messages, "").await.status(), 200);
    rig.a.script("silent", acts);
    let reply = rig.ask(kind, "silent").await;
    let told = (reply.status(), reply.head.header("x-qcc-endpoint"), reply.end);
    assert_eq!(told, (200, Some("b"), BodyEnd::Clean), "{limit}, {kind:?}");
    assert_eq!(rig.status("a").await["cause"], cause, "{limit}, {kind:?}");
    let left = || rig.a.taken("silent")[0].connection.end().is_some();
    eventually("the silent connection is closed", left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_within_connect_is_a_failure_of_the_network() {
    let hole = Blackhole::open().await;
    let b = Faulty::start(well(&[Kind::Messages], "b"));
    let endpoints = [Endpoint::at("a", &hole.url()).per_request(), Endpoint::at("b", &b.url())];
    let qcc = Qcc::start(&limited("connect")(Cluster::tiers(endpoints)));
    let reply = exchange(Client::of(&qcc).post("/v1/messages?shot=1", &json!({"model": "claude-1"}))).await;
    assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (200, "b", "2"));
    let a = qcc.endpoint("a");
    assert_eq!((&a["cause"], &a["check_method"]), (&"network".into(), &"network".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_within_answer_or_first_byte_is_a_failure_of_time() {
    for (limit, kind) in [("answer", Kind::Messages), ("first_byte", Kind::MessagesStreamed)] {
        let silent = vec![Act::Read, Act::Hush];
        times_out(limit, kind, silent, "timeout").await;
        // A byte every now and then is no head.
        let slow = Act::Trickle(b"HTTP/1.1 200 OK\r\n".repeat(100), 1, std::time::Duration::from_millis(20));
        times_out(limit, kind, vec![Act::Read, slow], "timeout").await;
        let head = stream_until(0);
        times_out(limit, kind, vec![Act::Read, Act::Send(head), Act::Hush], "timeout").await;
    }
    let beginning = Act::Send(stream_until(1));
    times_out("first_byte", Kind::MessagesStreamed, vec![Act::Read, beginning.clone(), Act::Hush], "timeout")
        .await;
    // Neither a comment nor a ping is content.
    for ping in [": ping\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"] {
        let ping = chunk(ping.as_bytes());
        let pings = Act::Trickle(ping.repeat(1000), ping.len(), std::time::Duration::from_millis(20));
        times_out("first_byte", Kind::MessagesStreamed, vec![Act::Read, beginning.clone(), pings], "timeout")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_content_breaks_the_answer_off_within_idle() {
    let rig = Rig::start(false, Billing::PerToken, limited("idle"));
    assert_eq!(rig.ask(Kind::Messages, "").await.status(), 200);
    rig.a.script("silent", [Act::Read, Act::Send(stream_until(2)), Act::Hush]);
    let reply = rig.ask(Kind::MessagesStreamed, "silent").await;
    assert_eq!((reply.head.header("x-qcc-endpoint"), &reply.end), (Some("a"), &BodyEnd::Broken));
    assert_eq!(reply.body, Kind::MessagesStreamed.pieces("a")[..2].concat().into_bytes());
    assert_eq!(rig.status("a").await["cause"], "stream");
    assert_eq!(rig.b.accepted("silent"), 0);
}

/// What it doesn't read stays in the kernel's buffers, and then in the program's own hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_never_reads_a_request_is_left_within_answer() {
    let a = Faulty::start_with(Some(4096), well(&[Kind::Messages], "a"));
    a.script("unread", [Act::Stall]);
    let rig = Rig::over(a, false, Billing::PerToken, limited("answer"));
    let body = json!({"model": "claude-1", "messages": "x".repeat(16 << 20)}).to_string();
    let mut raw = Raw::connect(rig.qcc.address()).await;
    let headers = ["x-api-key: client-key", "x-kind: messages"];
    raw.send(raw_request("POST", "/v1/messages?shot=unread", rig.qcc.address(), &headers, body.as_bytes()))
        .await;
    let reply = raw.read_reply().await.expect("a reply");
    assert_eq!((reply.status(), reply.head.header("x-qcc-endpoint")), (200, Some("b")));
    assert_eq!((rig.status("a").await["cause"].clone(), rig.a.accepted("unread")), ("timeout".into(), 0));
    assert!(rig.a.taken("unread")[0].connection.bytes_read() < 1 << 20, "it was not read");
}

/// Many wait for an upstream that is silent in some phase; others are served meanwhile, all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_those_who_wait_for_a_silent_upstream() {
    const SILENT: usize = 40;
    let hole = Blackhole::open().await;
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let silent = Faulty::start(move |taken| {
        let wait = Act::Wait(held.clone());
        match taken.id.split('-').next().unwrap() {
            "head" => vec![Act::Read, wait],
            "content" => vec![Act::Read, Act::Send(stream_until(2)), wait],
            _ => says(Kind::Models.scene(Kind::Models.usual(), "silent").bytes),
        }
    });
    let good = Faulty::start(well(&[Kind::Messages], "good"));
    let endpoint = |name: &str, url: String| Endpoint::at(name, &url).line(&format!("models = ['{name}-*']"));
    let cluster = limited("")(Cluster::new("work"))
        .endpoint(endpoint("hole", hole.url()).per_request())
        .endpoint(endpoint("silent", silent.url()))
        .endpoint(endpoint("good", good.url()));
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    let ask = |model: &str, id: String, stream: bool| {
        let body = json!({"model": model, "stream": stream});
        client.post(&format!("/v1/messages?shot={id}"), &body).header("x-kind", "messages")
    };
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..SILENT {
        waiting.spawn(exchange(ask("hole-1", format!("hole-{number}"), false)));
        waiting.spawn(exchange(ask("silent-1", format!("head-{number}"), false)));
        waiting.spawn(exchange(ask("silent-1", format!("content-{number}"), true)));
    }
    gate.arrived(2 * SILENT).await;
    qcc.endpoint_when("hole", "is waited for", |hole| hole["in_flight"] == SILENT).await;
    for number in 0..100 {
        let reply = exchange(ask("good-1", format!("good-{number}"), false)).await;
        assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (200, "good", "1"));
    }
    assert!(waiting.try_join_next().is_none(), "they still wait");
    let failed = |name: &str| qcc.endpoint(name)["requests"]["failed"].clone();
    assert_eq!((failed("hole"), failed("silent")), (Value::from(0), Value::from(0)));
}
