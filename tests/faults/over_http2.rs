//! The same over HTTP/2: the connection is cut at every byte of an answer's frames, and at each boundary of frames the
//! stream is reset or the upstream says goodbye. Bare frames (RFC 9113 §4.1), so that none is what a library makes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::kinds::Kind;
use super::rig::{Billing, earn_retries, well};
use super::support::client::{BodyEnd, raw_request};
use super::support::faults::Faulty;
use super::support::proxy::Home;
use super::support::tls::{TlsServer, authority_pem};
use super::support::{Cluster, Endpoint, Qcc, Raw, eventually};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 §7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// How the upstream ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closes the connection without a word of TLS's.
    Cut,
    /// Closes it with an end of TLS's.
    Close,
    ResetStream(u32),
    /// Says that the stream was taken and nothing after it will be, and closes.
    GoAway(u32),
}

/// The answer as its frames.
fn frames(kind: Kind, stream: u32) -> Vec<Vec<u8>> {
    let content_type: &[u8] = if kind.is_streamed() { b"text/event-stream" } else { b"application/json" };
    // `:status: 200`, and the name `content-type` with a value as it stands (RFC 7541 §6.1, §6.2.2, appendix A).
    let head = [&[0x88, 0x0f, 0x10, content_type.len() as u8], content_type].concat();
    let mut frames = vec![frame(HEADERS, END_HEADERS, stream, &head)];
    frames.extend(kind.pieces("a").iter().map(|piece| frame(DATA, 0, stream, piece.as_bytes())));
    frames.push(frame(DATA, END_STREAM, stream, &[]));
    frames
}

#[derive(Default)]
struct Orders {
    /// With how many bytes of its frames the next answer ends, and how.
    next: Mutex<Option<(usize, End)>>,
    accepted: AtomicUsize,
    /// Connections that were cut or closed.
    closed: AtomicUsize,
}

async fn serve(mut tls: TlsStream<TcpStream>, orders: Arc<Orders>) -> Option<()> {
    let mut preface = [0; 24];
    tls.read_exact(&mut preface).await.ok()?;
    tls.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        tls.read_exact(&mut payload).await.ok()?;
        match (head[3], head[4]) {
            (SETTINGS, 0) => tls.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?,
            (PING, 0) => tls.write_all(&frame(PING, ACK, 0, &payload)).await.ok()?,
            (DATA | HEADERS, flags) if flags & END_STREAM != 0 => answer(&mut tls, stream, &orders).await?,
            _ => {}
        }
        tls.flush().await.ok()?;
    }
}

/// None where the connection ends with it.
async fn answer(tls: &mut TlsStream<TcpStream>, stream: u32, orders: &Orders) -> Option<()> {
    orders.accepted.fetch_add(1, Ordering::SeqCst);
    let order = orders.next.lock().unwrap().take();
    let Some((order, end)) = order else {
        // Good enough for a list of models too.
        let body = br#"{"type":"message","content":[],"data":[{"id":"claude-1"}]}"#;
        let good = [frame(HEADERS, END_HEADERS, stream, &[0x88]), frame(DATA, END_STREAM, stream, body)];
        return tls.write_all(&good.concat()).await.ok();
    };
    let kind = if order >= STREAMED { Kind::MessagesStreamed } else { Kind::Messages };
    tls.write_all(&frames(kind, stream).concat()[..order % STREAMED]).await.ok()?;
    match end {
        End::Cut => {
            tls.flush().await.ok()?;
            None
        }
        End::Close => {
            tls.shutdown().await.ok()?;
            None
        }
        End::ResetStream(code) => {
            tls.write_all(&frame(RST_STREAM, 0, stream, &code.to_be_bytes())).await.ok()
        }
        End::GoAway(code) => {
            let payload = [stream.to_be_bytes(), code.to_be_bytes()].concat();
            tls.write_all(&frame(GOAWAY, 0, 0, &payload)).await.ok()?;
            tls.shutdown().await.ok()?;
            None
        }
    }
}

/// Added to the bytes of an answer that is a stream.
const STREAMED: usize = 1 << 20;

struct Rig {
    qcc: Qcc,
    orders: Arc<Orders>,
    b: Faulty,
    _server: TlsServer,
    billing: Billing,
}

impl Rig {
    fn start(billing: Billing) -> Self {
        let orders = Arc::<Orders>::default();
        let serving = orders.clone();
        let server = TlsServer::start(&["h2"], move |tls, _| {
            let serving = serving.clone();
            async move {
                serve(tls, serving.clone()).await.unwrap_or_default();
                serving.closed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let b = Faulty::start(well(super::rig::KINDS, "b"));
        let endpoints = [Endpoint::at("a", &server.url()), Endpoint::at("b", &b.url())];
        let endpoints = endpoints.map(|endpoint| match billing {
            Billing::PerToken => endpoint,
            Billing::PerRequest => endpoint.per_request(),
        });
        let cluster = Cluster::tiers(endpoints).health("failure_threshold = 15").line("ca_file = 'ca.pem'");
        let home = Home::new(&cluster.health("ratio_min_samples = 10000"));
        home.write_private("ca.pem", authority_pem());
        Self { qcc: home.start(), orders, b, _server: server, billing }
    }

    async fn ask(&self, kind: Kind, id: &str) -> super::support::client::RawReply {
        let mut raw = Raw::connect(self.qcc.address()).await;
        let x_kind = format!("x-kind: {}", kind.name());
        let target = format!("{}?shot={id}", kind.path());
        let headers = ["x-api-key: client-key", &x_kind];
        raw.send(raw_request("POST", &target, self.qcc.address(), &headers, kind.request().as_bytes())).await;
        raw.read_reply().await.expect("a reply")
    }

    async fn check(&self, kind: Kind, at: usize, end: End, number: usize) {
        earn_retries(&self.qcc, "/v1/embeddings", 1).await;
        assert_eq!(self.ask(Kind::Messages, "").await.head.header("x-qcc-endpoint"), Some("a"));
        let boundaries: Vec<usize> = frames(kind, 1)
            .iter()
            .scan(0, |sum, frame| {
                *sum += frame.len();
                Some(*sum)
            })
            .collect();
        let what =
            format!("{kind:?} {end:?} at {at} of frames that end at {boundaries:?}, {:?}", self.billing);
        let before = self.orders.accepted.load(Ordering::SeqCst);
        let closed_before = self.orders.closed.load(Ordering::SeqCst);
        let order = if kind.is_streamed() { at + STREAMED } else { at };
        *self.orders.next.lock().unwrap() = Some((order, end));
        let id = format!("cut-{number}");
        let reply = self.ask(kind, &id).await;
        // A whole answer may be here before its connection's end is: the next request would go out on it.
        if !matches!(end, End::ResetStream(_)) {
            let is_closed = || self.orders.closed.load(Ordering::SeqCst) > closed_before;
            eventually("its connection has ended", is_closed).await;
        }
        let header = |name| reply.head.header(name);
        // Content comes with the second event of a stream, and a whole answer is seen to be one by its first piece.
        let committed = if kind.is_streamed() { boundaries[2] } else { boundaries[1] };
        // A stream ends with its last event, a whole answer with its last frame.
        let complete = if kind.is_streamed() { boundaries[3] } else { *boundaries.last().unwrap() };
        let whole = kind.pieces("a").concat().into_bytes();
        let moved = match (at >= committed, at >= complete) {
            (true, is_complete) => {
                let told = (reply.status(), header("x-qcc-endpoint"), header("x-qcc-attempts"));
                assert_eq!(told, (200, Some("a"), Some("1")), "{what}");
                let end = if is_complete { BodyEnd::Clean } else { BodyEnd::Broken };
                assert_eq!(reply.end, end, "{what}");
                assert!(whole.starts_with(&reply.body), "{what}");
                assert!(!is_complete || reply.body == whole, "{what}");
                0
            }
            (false, _) => {
                assert_eq!(reply.end, BodyEnd::Clean, "{what}");
                match self.billing {
                    Billing::PerToken => {
                        let told = (reply.status(), header("x-qcc-endpoint"), header("x-qcc-attempts"));
                        assert_eq!(told, (200, Some("b"), Some("2")), "{what}");
                        assert_eq!(reply.body, kind.scene(kind.usual(), "b").body, "{what}");
                        1
                    }
                    Billing::PerRequest => {
                        let told = (reply.status(), header("x-qcc-error"));
                        assert_eq!(told, (502, Some("upstream_lost")), "{what}");
                        0
                    }
                }
            }
        };
        assert_eq!(self.orders.accepted.load(Ordering::SeqCst), before + 1, "{what}");
        assert_eq!(self.b.accepted(&id), moved, "{what}");
    }
}

const BOTH: [Kind; 2] = [Kind::Messages, Kind::MessagesStreamed];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_of_its_frames_is_served_elsewhere_or_never_looks_whole() {
    let rig = Rig::start(Billing::PerToken);
    let mut cuts = 0;
    for kind in BOTH {
        for end in [End::Cut, End::Close] {
            for at in 0..=frames(kind, 1).concat().len() {
                rig.check(kind, at, end, cuts).await;
                cuts += 1;
            }
        }
    }
    println!("HTTP/2: {cuts} cuts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_between_frames_is_served_elsewhere_or_never_looks_whole() {
    let ends = [
        End::Cut,
        End::ResetStream(NO_ERROR),
        End::ResetStream(INTERNAL_ERROR),
        End::ResetStream(CANCEL),
        End::GoAway(NO_ERROR),
        End::GoAway(INTERNAL_ERROR),
    ];
    let mut cuts = 0;
    for billing in [Billing::PerToken, Billing::PerRequest] {
        let rig = Rig::start(billing);
        for kind in BOTH {
            for end in ends {
                let mut at = 0;
                for frame in std::iter::once(Vec::new()).chain(frames(kind, 1)) {
                    at += frame.len();
                    rig.check(kind, at, end, cuts).await;
                    cuts += 1;
                }
            }
        }
    }
    println!("HTTP/2: {cuts} ends between frames");
}
