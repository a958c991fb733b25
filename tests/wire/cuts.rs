//! A stream that ends too soon, at every boundary of its events and within each: before content another
//! endpoint serves it whole, after content the client gets what came and then no end.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;

use super::protocols::{ALL, Mode, Protocol};
use super::rig::{OF_B, Rig};
use super::support::client::{BodyEnd, RawReply, raw_request};
use super::support::http::chunk;
use super::support::{Answer, End, Gate, Raw, Recorded, Step, within};

/// How the body of a stream is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    ToTheClose,
}

/// A stream of `a` that ends too soon.
#[derive(Clone, Debug)]
struct Cut {
    framing: Framing,
    end: End,
    /// The bytes that come, and whether content is among them.
    sent: Vec<u8>,
    has_content: bool,
}

/// Every boundary and the middle of every event; the last boundary is the end.
fn prefixes(protocol: Protocol) -> Vec<(Vec<u8>, bool)> {
    let events = protocol.events(&["of-a", "more-of-a"]);
    let mut found = Vec::new();
    for index in 0..events.len() {
        let has_content = index > protocol.events_before_content();
        let before = events[..index].concat().into_bytes();
        let half = [before.as_slice(), &events[index].as_bytes()[..events[index].len() / 2]].concat();
        found.push((before, has_content));
        found.push((half, has_content));
    }
    found
}

/// What has content waits at `gate` before it ends: a reset would overtake what was sent before it.
fn answer(cut: &Cut, gate: &Gate) -> Answer {
    let coding = match cut.framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n",
        Framing::ToTheClose => "connection: close\r\n",
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{coding}\r\n");
    let body = match cut.framing {
        Framing::Chunked if cut.sent.is_empty() => Vec::new(),
        Framing::Chunked => chunk(&cut.sent),
        Framing::ToTheClose => cut.sent.clone(),
    };
    let mut steps = vec![Step::Bytes(head.into_bytes()), Step::Bytes(body)];
    if cut.has_content {
        steps.push(Step::Wait(gate.clone()));
    }
    match (cut.framing, cut.end) {
        (Framing::Chunked, End::Clean) => {
            steps.extend([Step::Bytes(b"0\r\n\r\n".to_vec()), Step::End(End::Clean)]);
        }
        (Framing::ToTheClose, End::Clean) => steps.push(Step::End(End::Fin)),
        (Framing::Chunked | Framing::ToTheClose, end) => steps.push(Step::End(end)),
    }
    Answer::wire(steps)
}

/// One program, in front of an endpoint whose next stream is cut as the test says.
struct Shears {
    rig: Rig,
    next: Arc<Mutex<Option<(Cut, Gate)>>>,
}

impl Shears {
    fn start(protocol: Protocol, timeouts: &[&str]) -> Self {
        let next: Arc<Mutex<Option<(Cut, Gate)>>> = Arc::default();
        let armed = Arc::clone(&next);
        let posts = move |request: &Recorded| match armed.lock().unwrap().take() {
            Some((cut, gate)) if Mode::of(request) == Mode::Streamed => answer(&cut, &gate),
            Some(_) | None => protocol.well(Mode::of(request), "of-a"),
        };
        let rig = Rig::start(protocol, posts, |cluster| {
            let cluster = cluster.health("failure_threshold = 1");
            timeouts.iter().fold(cluster, |cluster, line| cluster.timeouts(line))
        });
        Self { rig, next }
    }

    async fn cut(&self, cut: &Cut) -> RawReply {
        let gate = Gate::new("the cut");
        *self.next.lock().unwrap() = Some((cut.clone(), gate.clone()));
        let mut raw = self.rig.send("cut", Mode::Streamed).await;
        let head = raw.read_head().await.expect("a head");
        if cut.has_content {
            assert!(raw.await_body(cut.sent.len()).await, "what came is forwarded at once: {cut:?}");
        }
        gate.open();
        let (body, end) = raw.read_body(&head).await;
        RawReply { head, body, end }
    }

    /// The cause for which `a` is out of service now; it is in service again afterwards.
    async fn cause(&self, what: &str) -> String {
        let after = self.rig.status_when("a", "has its verdict", |a| a["in_flight"] == 0).await;
        assert_eq!(
            (&after["state"], &after["check_method"]),
            (&"unhealthy".into(), &"chat".into()),
            "{what}"
        );
        let cause = after["cause"].as_str().expect("a cause").to_owned();
        self.rig.reset("a").await;
        // Repeated requests are a small part of all, as they are in use.
        for _ in 0..6 {
            let good = self.rig.ask("good", Mode::Whole).await;
            assert_eq!((good.status(), good.head.header("x-qcc-endpoint")), (200, Some("a")), "{what}");
        }
        cause
    }

    async fn check(&self, cut: &Cut) {
        let protocol = self.rig.protocol;
        let what = format!("{protocol:?} {cut:?} {:?}", String::from_utf8_lossy(&cut.sent));
        let at_b = self.rig.b.users().len();
        let reply = self.cut(cut).await;
        let header = |name| reply.head.header(name);
        assert_eq!(reply.status(), 200, "{what}");
        if cut.has_content {
            assert_eq!(reply.end, BodyEnd::Broken, "a cut must not look like an end: {what}");
            assert!(reply.body == cut.sent, "{what}: {:?}", String::from_utf8_lossy(&reply.body));
            assert_eq!((header("x-qcc-endpoint"), header("x-qcc-attempts")), (Some("a"), Some("1")));
            assert_eq!(self.rig.b.users().len(), at_b, "{what}");
        } else {
            let expected = protocol.well_body(Mode::Streamed, OF_B);
            assert_eq!(reply.end, BodyEnd::Clean, "{what}");
            assert!(reply.body == expected, "{what}: {:?}", String::from_utf8_lossy(&reply.body));
            assert_eq!((header("x-qcc-endpoint"), header("x-qcc-attempts")), (Some("b"), Some("2")));
            assert_eq!(self.rig.b.users().len(), at_b + 1, "{what}");
        }
        let cause = self.cause(&what).await;
        let expected: &[&str] = match (cut.end, cut.has_content) {
            (_, true) => &["stream"],
            // Nothing came but an end.
            (End::Clean, false) if cut.sent.is_empty() => &["invalid-response"],
            (End::Fin, false) if cut.sent.is_empty() && cut.framing == Framing::ToTheClose => {
                &["invalid-response"]
            }
            (End::Clean, false) => &["invalid-response", "stream"],
            // Without a length or chunks a close is an end.
            (End::Fin, false) if cut.framing == Framing::ToTheClose => &["invalid-response", "stream"],
            (End::Fin, false) => &["stream"],
            // A reset may overtake the head.
            (End::Reset, false) => &["stream", "network"],
            (End::Stall, false) => &["timeout"],
        };
        assert!(expected.contains(&cause.as_str()), "{what}: {cause}, not {expected:?}");
    }
}

/// Each protocol at once, each cut point in turn.
async fn cut_everywhere(ends: &'static [End], framings: &'static [Framing]) {
    let mut running = tokio::task::JoinSet::new();
    for protocol in ALL {
        running.spawn(async move {
            let shears = Shears::start(protocol, &[]);
            for (sent, has_content) in prefixes(protocol) {
                for &framing in framings {
                    for &end in ends {
                        shears.check(&Cut { framing, end, sent: sent.clone(), has_content }).await;
                    }
                }
            }
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_at_any_byte_moves_on_before_content_and_aborts_after_it() {
    cut_everywhere(&[End::Fin, End::Reset], &[Framing::Chunked, Framing::ToTheClose]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clean_end_without_the_last_event_is_a_cut() {
    cut_everywhere(&[End::Clean], &[Framing::Chunked, Framing::ToTheClose]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn silence_before_content_moves_on_and_after_it_aborts() {
    let mut running = tokio::task::JoinSet::new();
    for protocol in ALL {
        running.spawn(async move {
            let shears = Shears::start(protocol, &["idle = '250ms'", "first_byte = '250ms'"]);
            let all = prefixes(protocol);
            let content = all.iter().position(|(_, has_content)| *has_content).expect("content");
            // The bare head, within and after an event before content, and the same after it.
            for index in [0, 1, 2, content, content + 1] {
                let (sent, has_content) = all[index].clone();
                let cut = Cut { framing: Framing::Chunked, end: End::Stall, sent, has_content };
                shears.check(&cut).await;
            }
        });
    }
    running.join_all().await;
}

/// The chunk is announced whole and cut within.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_within_a_chunk_shows_what_came_of_it_and_no_end() {
    for protocol in ALL {
        let events = protocol.events(&["of-a", "more-of-a"]);
        let shown = events[..=protocol.events_before_content()].concat();
        let half = &events[protocol.events_before_content() + 1];
        let whole = chunk(half.as_bytes());
        let cut = whole[..whole.len() / 2].to_vec();
        let first = chunk(shown.as_bytes());
        let gate = Gate::new("the cut");
        let held = gate.clone();
        let posts = move |_: &Recorded| {
            let head =
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            Answer::wire([
                Step::Bytes(head.to_vec()),
                Step::Bytes(first.clone()),
                Step::Bytes(cut.clone()),
                Step::Wait(held.clone()),
                Step::End(End::Fin),
            ])
        };
        let rig = Rig::start(protocol, posts, |cluster| cluster);
        let mut raw = rig.send("cut", Mode::Streamed).await;
        let head = raw.read_head().await.expect("a head");
        assert!(raw.await_body(shown.len()).await);
        gate.open();
        let (body, end) = raw.read_body(&head).await;
        let came = [shown.as_bytes(), half.as_bytes()].concat();
        assert_eq!(end, BodyEnd::Broken, "{protocol:?}");
        assert!(body.len() >= shown.len() && came.starts_with(&body), "{protocol:?}");
        let after = rig.settled("a", 1).await;
        assert_eq!((&after["requests"]["failed"], &after["failures"]), (&1.into(), &1.into()));
        assert_eq!(rig.b.users().len(), 0);
    }
}

/// Its last event has come, so that nothing is missing where its connection is cut, or says nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_is_cut_after_its_last_event_is_complete() {
    for protocol in ALL {
        for end in [End::Fin, End::Stall] {
            let sent = protocol.events(&["of-a", "more-of-a"]).concat().into_bytes();
            let shears = Shears::start(protocol, &["idle = '250ms'"]);
            let cut = Cut { framing: Framing::Chunked, end, sent, has_content: true };
            let reply = shears.cut(&cut).await;
            assert_eq!((&reply.body, &reply.end), (&cut.sent, &BodyEnd::Clean), "{protocol:?} {end:?}");
            let after = shears.rig.settled("a", 1).await;
            assert_eq!((&after["requests"]["passed"], &after["state"]), (&1.into(), &"healthy".into()));
        }
    }
}

/// All of its events come, and its end together with them: nothing is missing, whatever length was announced.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_announced_more_than_came_is_whole_with_its_last_event() {
    const TIMES: usize = 200;
    let protocol = Protocol::Messages;
    let piece = "of-a ".repeat(100);
    let sent = protocol.events(&vec![piece.as_str(); 100]).concat().into_bytes();
    let length = sent.len() + 7;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n");
    let wire = [head.as_bytes(), &sent].concat();
    let posts = move |_: &Recorded| Answer::wire([Step::Bytes(wire.clone()), Step::End(End::Fin)]);
    let rig = Rig::start(protocol, posts, |cluster| cluster);
    // What the connection's end overtakes is chance, so that one time would show little.
    for time in 0..TIMES {
        let mut raw = rig.send("announced more", Mode::Streamed).await;
        let reply = raw.read_reply().await.unwrap_or_else(|| panic!("time {time}: no head"));
        assert_eq!(reply.end, BodyEnd::Clean, "time {time}");
        assert_eq!(reply.body.len(), sent.len(), "time {time}");
    }
    let after = rig.settled("a", TIMES as u64).await;
    assert_eq!((&after["requests"]["passed"], &after["state"]), (&TIMES.into(), &"healthy".into()));
}

/// To HTTP/1.0 the end of the connection is the end of the answer (nginx asks so unless told otherwise), so a cut one
/// ends in a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_does_not_look_whole_to_a_client_that_knows_no_chunks() {
    let protocol = Protocol::Messages;
    let (streamed, whole) = (Mode::Streamed, Mode::Whole);
    for (mode, is_cut) in [(streamed, true), (streamed, false), (whole, true), (whole, false)] {
        let body = protocol.well_body(mode, "of-a");
        let kind = if mode == streamed { "text/event-stream" } else { "application/json" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        let mut wire = [head.as_bytes(), &chunk(&body[..body.len() - usize::from(is_cut)])].concat();
        if !is_cut {
            wire.extend_from_slice(b"0\r\n\r\n");
        }
        let posts = move |_: &Recorded| Answer::wire([Step::Bytes(wire.clone()), Step::End(End::Fin)]);
        let rig = Rig::start(protocol, posts, |cluster| cluster);
        let asked = protocol.request("old", mode).to_string();
        let headers = ["content-type: application/json", "x-api-key: client-key"];
        let request = raw_request("POST", protocol.path(), rig.qcc.address(), &headers, asked.as_bytes());
        let request = String::from_utf8(request).unwrap().replacen(" HTTP/1.1", " HTTP/1.0", 1);
        let mut raw = Raw::connect(rig.qcc.address()).await;
        raw.send(request.into_bytes()).await;
        let mut answer = Vec::new();
        let end = within("an end", raw.into_inner().read_to_end(&mut answer)).await;
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(end.is_err(), is_cut, "{mode:?}: {end:?}, {text}");
        assert!(is_cut || answer.ends_with(&body), "{mode:?}: {text}");
    }
}
