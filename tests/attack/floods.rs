//! Connections that would cost without end, or never do anything. While they last, others are served.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::endpoint;
use super::support::client::raw_request;
use super::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, Said,
    WINDOW_UPDATE, block, frame,
};
use super::support::recorder::END;
use super::support::{Cluster, Qcc, Raw, Recorder, within};

fn impatient(recorder: &Recorder) -> Qcc {
    Qcc::start(&Cluster::tiers([endpoint(recorder)]).timeouts("client_header = '300ms'"))
}

fn get<'a>(host: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)]
}

async fn expect_served(qcc: &Qcc, recorder: &Recorder) {
    let body = [b"{}", END].concat();
    let mut raw = Raw::connect(qcc.address()).await;
    let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], &body)).await;
    assert_eq!(reply.status(), 200);
    recorder.take();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_on_which_no_request_comes_is_closed() {
    let recorder = Recorder::start();
    let qcc = impatient(&recorder);
    let head = block(get(qcc.address(), "/v1/models"));
    let settings = frame(SETTINGS, 0, 0, &[]);
    let half = frame(HEADERS, END_STREAM, 1, &head[..10]);
    for (what, sent) in [
        ("nothing", vec![]),
        ("half a method", b"PO".to_vec()),
        ("half a head", b"POST /v1/messages HTTP/1.1\r\nhost: ".to_vec()),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("a preface and settings", [PREFACE, &settings].concat()),
        ("half a frame", [PREFACE, &settings, &[0, 0]].concat()),
        ("half a head in a frame", [PREFACE, &settings, &half].concat()),
        (
            "half a head in two frames",
            [PREFACE, &settings, &half, &frame(CONTINUATION, 0, 1, &head[10..20])].concat(),
        ),
    ] {
        let mut stream = TcpStream::connect(qcc.address()).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        let mut said = Vec::new();
        // The limit of the support is 10 s; the default of the setting would be 30.
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said);
        let _ = within(what, ended).await;
    }
    assert_eq!(recorder.take(), b"");
    // After a request too: a kept connection on which nothing comes any more.
    let mut raw = Raw::connect(qcc.address()).await;
    assert_eq!(raw.ask(raw_request("GET", "/v1/models", qcc.address(), &[], b"")).await.status(), 200);
    raw.expect_closed().await;
    let mut frames = Frames::connect(qcc.address()).await;
    frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).await;
    assert_eq!(frames.said().await, Said::Status(200));
    assert_eq!(frames.end().await, Some(0), "it is said goodbye to");
    // A body that stops coming ends its stream, and with it the connection.
    let mut frames = Frames::connect(qcc.address()).await;
    let post = block([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", qcc.address()),
        (":path", "/v1/messages"),
    ]);
    frames.send(&frame(HEADERS, END_HEADERS, 1, &post)).await;
    assert_eq!(frames.said().await, Said::Status(408));
    frames.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_trickles_is_given_up_within_its_limit() {
    let recorder = Recorder::start();
    let qcc = impatient(&recorder);
    let mut stream = TcpStream::connect(qcc.address()).await.unwrap();
    let begun = Instant::now();
    let trickle = async {
        // A byte well within the limit on silence, each time.
        let head = b"GET /v1/models HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y'));
        for byte in head {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of the connection", trickle).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(recorder.take(), b"");
}

/// Writes again and again until the peer takes no more, or `times` are sent.
async fn flood(stream: &mut TcpStream, bytes: &[u8], times: usize) {
    for _ in 0..times {
        let written = tokio::time::timeout(Duration::from_millis(300), stream.write_all(bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// The most memory that the process ever had, in KiB.
pub fn peak_kib(qcc: &Qcc) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", qcc.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_cost_neither_memory_nor_others_their_turn() {
    let recorder = Recorder::start();
    let qcc = Qcc::start(&Cluster::tiers([endpoint(&recorder)]));
    expect_served(&qcc, &recorder).await;
    let before = peak_kib(&qcc);
    let head = block(get(qcc.address(), "/v1/models"));
    let open_head = frame(HEADERS, END_STREAM, 1, &head);
    let filler = block([("x".repeat(100), "y".repeat(1000))]);
    let ping = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(1000);
    let windows = frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(1000);
    for (what, first, again) in [
        // CVE-2024-27316.
        ("parts of one head", open_head.clone(), frame(CONTINUATION, 0, 1, &filler).repeat(10)),
        ("empty parts of one head", open_head, frame(CONTINUATION, 0, 1, &[]).repeat(1000)),
        // CVE-2019-9512, CVE-2019-9515.
        ("pings", vec![], ping),
        ("settings", vec![], settings),
        ("window updates", vec![], windows),
        ("empty frames of data", frame(HEADERS, END_HEADERS, 1, &head), frame(0, 0, 1, &[]).repeat(1000)),
    ] {
        let mut frames = Frames::connect(qcc.address()).await;
        frames.send(&first).await;
        flood(&mut frames.stream, &again, 500).await;
        expect_served(&qcc, &recorder).await;
        let grown = peak_kib(&qcc) - before;
        println!("{what}: {grown} KiB more");
        assert!(grown < 16 * 1024, "{what}: {grown} KiB more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_are_bounded_and_others_are_served() {
    let recorder = Recorder::start();
    let qcc = Qcc::start(&Cluster::tiers([endpoint(&recorder)]));
    expect_served(&qcc, &recorder).await;
    let before = peak_kib(&qcc);
    let head = block(get(qcc.address(), "/v1/models"));
    let mut frames = Frames::connect(qcc.address()).await;
    // CVE-2023-44487: all in one write, so that the resets come before anybody looks at the streams.
    let burst = |from: u32| -> Vec<u8> {
        let streams = (from..from + 1000).map(|number| 2 * number + 1);
        let pair = |stream| {
            let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
            [frame(HEADERS, END_STREAM | END_HEADERS, stream, &head), reset].concat()
        };
        streams.flat_map(pair).collect()
    };
    for round in 0..20 {
        frames.send(&burst(round * 1000)).await;
    }
    assert_eq!(frames.end().await, Some(11), "ENHANCE_YOUR_CALM");
    expect_served(&qcc, &recorder).await;
    let grown = peak_kib(&qcc) - before;
    println!("20,000 resets: {grown} KiB more, {} connections up", recorder.connections());
    assert!(grown < 16 * 1024, "{grown} KiB more");
    assert!(recorder.connections() < 300, "{} connections up", recorder.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_a_hundred_requests_under_way_and_no_more() {
    let recorder = Recorder::start();
    let qcc = Qcc::start(&Cluster::tiers([endpoint(&recorder)]));
    let post = block([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", qcc.address()),
        (":path", "/v1/messages"),
    ]);
    let mut frames = Frames::connect(qcc.address()).await;
    for stream in (1..=201).step_by(2) {
        frames.send(&frame(HEADERS, END_HEADERS, stream, &post)).await;
    }
    // REFUSED_STREAM, RFC 9113 §5.1.2.
    assert_eq!(frames.said().await, Said::Reset(7));
}
