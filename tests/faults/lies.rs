//! Upstreams that say what is no HTTP, or lie about lengths: what the client is told, the cause that the endpoint gets,
//! and that nothing of it reaches the next client.

use super::kinds::Kind;
use super::rig::{Billing, Rig};
use super::support::client::BodyEnd;
use super::support::faults::{Act, says};
use super::support::http::chunk;

/// What a client is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// The answer of `b`, and for this cause `a` is out of service.
    Moved(&'static str),
    /// A part of the answer, and no end.
    Cut,
    /// This.
    Whole(Vec<u8>),
}

struct Lie {
    name: String,
    kind: Kind,
    acts: Vec<Act>,
    told: Told,
}

impl Lie {
    fn new(name: &str, kind: Kind, bytes: impl Into<Vec<u8>>, told: Told) -> Self {
        Self { name: format!("{name}, {kind:?}"), kind, acts: says(bytes.into()), told }
    }

    fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    async fn check(self, rig: &Rig, number: usize) {
        let (what, id) = (&self.name, format!("lie-{number}"));
        rig.earn_retries(1).await;
        rig.a.script(&id, self.acts.clone());
        let reply = rig.ask(self.kind, &id).await;
        let header = |name| reply.head.header(name);
        let shown = String::from_utf8_lossy(&reply.body);
        let by = (reply.status(), header("x-qcc-endpoint"), header("x-qcc-attempts"));
        match &self.told {
            Told::Moved(cause) => {
                let well = self.kind.scene(self.kind.usual(), "b").body;
                assert_eq!(by, (200, Some("b"), Some("2")), "{what}");
                assert!(reply.body == well && reply.end == BodyEnd::Clean, "{what}: {shown}");
                assert_eq!(rig.status("a").await["cause"], *cause, "{what}");
            }
            Told::Cut => {
                assert_eq!(by, (200, Some("a"), Some("1")), "{what}");
                assert_eq!(reply.end, BodyEnd::Broken, "{what}: {shown}");
                let whole = self.kind.scene(self.kind.usual(), "a").body;
                assert!(whole.starts_with(&reply.body), "{what}: {shown}");
                assert_eq!(rig.status("a").await["cause"], "stream", "{what}");
            }
            Told::Whole(body) => {
                assert_eq!(by, (200, Some("a"), Some("1")), "{what}");
                assert!(reply.body == *body && reply.end == BodyEnd::Clean, "{what}: {shown}");
                assert_eq!(rig.status("a").await["state"], "healthy", "{what}");
            }
        }
        let lengths = reply.head.headers.iter().filter(|(name, _)| name == "content-length").count();
        let codings = reply.head.headers.iter().filter(|(name, _)| name == "transfer-encoding").count();
        assert_eq!(lengths + codings, 1, "one length, told once: {what}: {:?}", reply.head.headers);
        rig.reset("a").await;
        self.next_client_is_safe(rig, number).await;
    }
}

impl Lie {
    async fn next_client_is_safe(&self, rig: &Rig, number: usize) {
        let id = format!("next-{number}");
        let next = rig.ask(Kind::Messages, &id).await;
        let well = Kind::Messages.scene(Kind::Messages.usual(), "a").body;
        assert_eq!(next.head.header("x-qcc-attempts"), Some("1"), "{}", self.name);
        assert!(next.body == well && next.end == BodyEnd::Clean, "{}: {next:?}", self.name);
        let (lied, told) = (rig.a.taken(&format!("lie-{number}")), rig.a.taken(&id));
        assert_eq!((lied.len(), told.len()), (1, 1), "{}", self.name);
        assert_ne!(lied[0].connection.number, told[0].connection.number, "kept: {}", self.name);
    }
}

async fn check(lies: impl IntoIterator<Item = Lie>) {
    let rig = Rig::start(false, Billing::PerToken, |cluster| cluster.health("failure_threshold = 1"));
    assert_eq!(rig.ask(Kind::Messages, "").await.status(), 200);
    for (number, lie) in lies.into_iter().enumerate() {
        lie.check(&rig, number).await;
    }
    assert_eq!((rig.a.accepted_twice(), rig.b.accepted_twice()), (Vec::new(), Vec::new()));
}

const BOTH: [Kind; 2] = [Kind::Messages, Kind::MessagesStreamed];

fn kind_line(kind: Kind) -> &'static str {
    if kind.is_streamed() {
        "content-type: text/event-stream\r\n"
    } else {
        "content-type: application/json\r\n"
    }
}

fn body(kind: Kind) -> Vec<u8> {
    kind.scene(kind.usual(), "a").body
}

/// A head with these lines, and the body as it is.
fn with_lines(kind: Kind, start: &str, lines: &str) -> Vec<u8> {
    let mut bytes = format!("{start}\r\n{}{lines}\r\n", kind_line(kind)).into_bytes();
    bytes.extend(body(kind));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_head_is_no_answer_and_its_connection_is_not_kept() {
    let long = "x".repeat(1 << 20);
    let many = "x-header: y\r\n".repeat(200);
    let bombs = [format!("x-bomb: {long}\r\n"), many];
    let ok = "HTTP/1.1 200 OK";
    let mut lies = Vec::new();
    for kind in BOTH {
        let length = format!("content-length: {}\r\n", body(kind).len());
        let mut lie =
            |name: &str, bytes: Vec<u8>| lies.push(Lie::new(name, kind, bytes, Told::Moved("network")));
        for value in
            ["-1", "+5", "5 5", "5, 6", "0x10", "abc", "", "99999999999999999999", "18446744073709551615"]
        {
            lie(value, with_lines(kind, ok, &format!("content-length: {value}\r\n")));
        }
        lie("two lengths", with_lines(kind, ok, &format!("{length}content-length: 1\r\n")));
        lie("a coding in HTTP/1.0", with_lines(kind, "HTTP/1.0 200 OK", "transfer-encoding: chunked\r\n"));
        for start in
            ["HTTP/1.1 abc OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/2.0 200 OK", "ICY 200 OK", "\0\0"]
        {
            lie(start, with_lines(kind, start, &length));
        }
        for line in ["no colon\r\n", ": no name\r\n", "x-nul: \0\r\n", "x-space : y\r\n"] {
            lie(line, with_lines(kind, ok, &format!("{length}{line}")));
        }
        for bomb in &bombs {
            lie("a bomb", with_lines(kind, ok, &format!("{length}{bomb}")));
        }
        lie("HTTP/0.9", body(kind));
        lie("a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
        // SETTINGS (RFC 9113 §6.5), and a HEADERS that says 200.
        lie("frames of HTTP/2", b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88".to_vec());
        lie("a request", b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".to_vec());
        lie("TLS", b"\x15\x03\x03\0\x02\x02\x28".to_vec());
    }
    check(lies).await;
}

/// The next byte of the answer.
const NEXT: &str = "N";

/// The head and so many pieces as chunks.
fn chunks(kind: Kind, lines: &str, pieces: usize) -> Vec<u8> {
    let mut bytes = with_lines(kind, "HTTP/1.1 200 OK", &format!("{lines}transfer-encoding: chunked\r\n"));
    bytes.truncate(bytes.len() - body(kind).len());
    kind.pieces("a").iter().take(pieces).for_each(|piece| bytes.extend(chunk(piece.as_bytes())));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_none_break_an_answer_off_wherever_they_come() {
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(64 << 10));
    let trailers = format!("0\r\n{}\r\n", "x-trailer: y\r\n".repeat(10_000));
    let wrong = [
        "zz\r\n",
        "-1\r\n",
        "\r\n",
        "0x1\r\nx\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff1\r\n",
        "1 1\r\nx\r\n",
        "1\r\nNx\r\n",
        "1\nx\r\n",
        "1;\n\r\nx\r\n",
        &extension,
        &trailers,
    ];
    let mut lies = Vec::new();
    for kind in BOTH {
        let shown = if kind.is_streamed() { 2 } else { 1 };
        for lie in wrong {
            let said = |pieces: usize| {
                let next = &kind.pieces("a")[pieces][..1];
                [chunks(kind, "", pieces), lie.replace(NEXT, next).into_bytes()].concat()
            };
            let name = &lie[..lie.len().min(20)];
            lies.push(Lie::new(name, kind, said(0), Told::Moved("stream")));
            lies.push(Lie::new(name, kind, said(shown), Told::Cut));
        }
    }
    check(lies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_is_too_long_is_a_cut() {
    let mut lies = Vec::new();
    for kind in BOTH {
        for more in [1, 1000, 1 << 40, 1 << 62] {
            let length = body(kind).len() + more;
            let bytes = with_lines(kind, "HTTP/1.1 200 OK", &format!("content-length: {length}\r\n"));
            // The last event of a stream has come: nothing is missing.
            let told = if kind.is_streamed() { Told::Whole(body(kind)) } else { Told::Cut };
            lies.push(Lie::new(&format!("{more} too long"), kind, bytes, told).then(Act::Die));
        }
    }
    check(lies).await;
}

/// Of a whole answer its own length is all that can be gone by, of a stream its last event is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_is_too_short_ends_a_whole_answer_breaks_a_stream_and_the_rest_reaches_nobody() {
    let mut lies = Vec::new();
    for kind in BOTH {
        let body = body(kind);
        for short in [1, 10] {
            let length = body.len() - short;
            let bytes = with_lines(kind, "HTTP/1.1 200 OK", &format!("content-length: {length}\r\n"));
            let told = if kind.is_streamed() { Told::Cut } else { Told::Whole(body[..length].to_vec()) };
            lies.push(Lie::new(&format!("{short} too short"), kind, bytes, told));
        }
    }
    check(lies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_chunks_is_dropped_and_the_same_one_twice_is_told_once() {
    let mut lies = Vec::new();
    for kind in BOTH {
        let all = kind.pieces("a").len();
        for length in [0, 5, body(kind).len(), 100_000] {
            for lines in [format!("content-length: {length}\r\n"), format!("content-length: {length}, 7\r\n")]
            {
                let bytes = [chunks(kind, &lines, all), b"0\r\n\r\n".to_vec()].concat();
                lies.push(Lie::new(&format!("chunks and {lines}"), kind, bytes, Told::Whole(body(kind))));
            }
        }
        let length = body(kind).len();
        for lines in [
            format!("content-length: {length}\r\ncontent-length: {length}\r\n"),
            format!("content-length: {length}, {length}\r\n"),
        ] {
            let bytes = with_lines(kind, "HTTP/1.1 200 OK", &lines);
            lies.push(Lie::new(&lines, kind, bytes, Told::Whole(body(kind))));
        }
    }
    check(lies).await;
}

/// A second answer that nobody asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let poison = Kind::Messages.scene(Kind::Messages.usual(), "POISON").bytes;
    let mut lies = Vec::new();
    for kind in BOTH {
        let all = kind.pieces("a").len();
        let framed = [chunks(kind, "", all), b"0\r\n\r\n".to_vec()].concat();
        let length = format!("content-length: {}\r\n", body(kind).len());
        for answer in [framed, with_lines(kind, "HTTP/1.1 200 OK", &length)] {
            for after in [poison.as_slice(), b"\r\n", b"x", b"HTTP/1.1 100 Continue\r\n\r\n"] {
                let told = || Told::Whole(body(kind));
                let together = [&answer, after].concat();
                lies.push(Lie::new("in one piece", kind, together, told()));
                let apart = Lie::new("in two pieces", kind, answer.clone(), told());
                lies.push(apart.then(Act::Send(after.to_vec())));
            }
        }
    }
    check(lies).await;
}

/// It closes its side and reads on: within an answer that is a cut, behind one the connection is of no more use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_connection_is_a_closed_one() {
    let mut lies = Vec::new();
    for kind in BOTH {
        let bytes = kind.scene(kind.usual(), "a").bytes;
        let cut = bytes[..bytes.len() - 40].to_vec();
        lies.push(Lie::new("closed within", kind, cut, Told::Cut).then(Act::HalfClose));
        lies.push(Lie::new("closed behind", kind, bytes, Told::Whole(body(kind))).then(Act::HalfClose));
    }
    check(lies).await;
}

/// What comes on a connection before its first request is an answer to that one, or to none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_before_any_request_reach_nobody_but_the_first_one_on_their_connection() {
    for early in [Kind::Messages.scene(Kind::Messages.usual(), "early").bytes, b"220 smtp ready\r\n".to_vec()]
    {
        let rig = Rig::start(false, Billing::PerToken, |cluster| cluster);
        assert_eq!(rig.ask(Kind::Messages, "warm").await.head.header("x-qcc-endpoint"), Some("a"));
        let said = early.clone();
        rig.a.before(move |_, place| if place == 0 { vec![Act::Send(said.clone())] } else { Vec::new() });
        rig.a.script(
            "last",
            says([b"HTTP/1.1 200 OK\r\nconnection: close\r\n", &b"content-length: 0\r\n\r\n"[..]].concat()),
        );
        rig.earn_retries(ROUNDS + 1).await;
        rig.ask(Kind::CountTokens, "last").await;
        for round in 0..ROUNDS {
            let id = format!("round-{round}");
            let reply = rig.ask(Kind::Messages, &id).await;
            let from = |name| Kind::Messages.scene(Kind::Messages.usual(), name).body;
            let own = reply.body == from("b") || reply.body == from("a");
            let was_early = reply.body == from("early");
            assert!(reply.status() == 200 && (own || was_early), "{id}: {reply:?}");
            // Whoever got it was the first on its connection.
            let taken = rig.a.taken(&id);
            assert!(!was_early || taken.iter().all(|taken| taken.place == 0), "{id}");
            assert!(rig.a.accepted(&id) + rig.b.accepted(&id) <= 2, "{id}");
        }
        assert_eq!((rig.a.accepted_twice(), rig.b.accepted_twice()), (Vec::new(), Vec::new()));
    }
}

const ROUNDS: usize = 10;

/// It was accepted, so that it may have been billed, whatever is said then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_billed_by_the_request_is_not_repeated_after_a_lie() {
    let rig = Rig::start(false, Billing::PerRequest, |cluster| cluster);
    assert_eq!(rig.ask(Kind::Messages, "").await.status(), 200);
    for kind in BOTH {
        for (number, bytes) in [
            with_lines(kind, "HTTP/1.1 200 OK", "content-length: -1\r\n"),
            with_lines(kind, "ICY 200 OK", ""),
            body(kind),
            [chunks(kind, "", 0), b"zz\r\n".to_vec()].concat(),
            [chunks(kind, "", 0), b"-1\r\n".to_vec()].concat(),
        ]
        .into_iter()
        .enumerate()
        {
            let id = format!("{kind:?}-{number}");
            rig.a.script(&id, says(bytes));
            let reply = rig.ask(kind, &id).await;
            assert_eq!(
                (reply.status(), reply.head.header("x-qcc-error")),
                (502, Some("upstream_lost")),
                "{id}"
            );
            assert_eq!((rig.a.accepted(&id), rig.b.accepted(&id)), (1, 0), "{id}");
            assert_eq!(rig.ask(Kind::Messages, "").await.head.header("x-qcc-endpoint"), Some("a"));
        }
    }
}

/// What is no success and says nothing is all that it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_without_a_body_that_ends_with_its_connection_is_passed_on() {
    let rig = Rig::start(false, Billing::PerToken, |cluster| cluster);
    assert_eq!(rig.ask(Kind::Messages, "").await.status(), 200);
    for (number, lines) in
        ["", "content-type: application/json\r\n", "connection: close\r\n"].into_iter().enumerate()
    {
        let id = number.to_string();
        let bytes = format!("HTTP/1.1 404 Not Found\r\n{lines}\r\n").into_bytes();
        rig.a.script(&id, [Act::Read, Act::Send(bytes), Act::Die]);
        let reply = rig.ask(Kind::Messages, &id).await;
        assert_eq!(
            (reply.status(), reply.body.as_slice(), &reply.end),
            (404, b"".as_slice(), &BodyEnd::Clean)
        );
        assert_eq!((rig.a.accepted(&id), rig.b.accepted(&id)), (1, 0));
    }
}
