//! Answers that are small on the wire and would be huge if anybody unpacked them.

use std::io::{Read, Write};

use super::floods::peak_kib;
use super::support::client::raw_request;
use super::support::{Answer, Cluster, Endpoint, Qcc, Raw, Upstream, llm};

/// 256 MiB of spaces, as the encoder of brotli's authors has them.
const BROTLI: &str = "cfffff7ff82540e2b14020f7fe9ffffffff04b00c4610180eefd3fffffffe1970088c32200ddfb7ffeffffc32f0110870500baf7\
    fffcffff875f02200e0b0074effff9ffff0fbf04401c1600e8defff3ffff1f7e0980382c00d0bdffe7ffff3ffc1200715800a07bffcfffff7ff8\
    2500e2b00040f7fe9ffffffff04b00c4610180eefd3fffffffe1970088c30200ddfb7ffeffffc32f0110870500baf7fffcffff875f02200e0b00\
    74effff9ffff0fbf04401c1600e8defff3ffff1f7e0980382c00d0bdffcfffff7ffc1200715800a07bff0f";

fn brotli() -> Vec<u8> {
    let digits: Vec<u8> = BROTLI.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn gzip() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::repeat(b' ').take(64 << 20), &mut encoder).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

/// One frame with the largest window that all decoders take (8 MiB) and 2,000 blocks that each say 128 KiB in four
/// bytes (RFC 8878 §3.1.1).
fn zstd() -> Vec<u8> {
    let block =
        |is_last: u32| -> [u8; 4] { (1 << 1 | 0x20000 << 3 | is_last | u32::from(b' ') << 24).to_le_bytes() };
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    [&head[..], &block(0).repeat(1999), &block(1)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_answers_pass_as_they_are_and_are_never_unpacked_whole() {
    for (coding, bomb) in [("gzip", gzip()), ("br", brotli()), ("zstd", zstd())] {
        for (status, kind) in
            [(200, "application/json"), (200, "text/event-stream"), (400, "application/json")]
        {
            let sent = bomb.clone();
            let upstream = Upstream::start(llm::on_post(move |_| {
                let answer =
                    Answer::new(status).header("content-type", kind).header("content-encoding", coding);
                answer.body(sent.clone())
            }));
            let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &upstream)]).line("max_attempts = 1"));
            let body = llm::message("x").to_string();
            let before = peak_kib(&qcc);
            for _ in 0..5 {
                let mut raw = Raw::connect(qcc.address()).await;
                let reply =
                    raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes())).await;
                let is_same = (reply.status(), reply.body == bomb);
                assert_eq!(is_same, (status, true), "{coding} {status} {kind}");
            }
            let grown = peak_kib(&qcc) - before;
            println!("{coding} {status} {kind}: {} bytes on the wire, {grown} KiB more", bomb.len());
            // Brotli's decoder takes twice its window, which is 16 MiB at most.
            assert!(grown < 40 * 1024, "{coding} {status} {kind}: {grown} KiB more");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_request_is_not_unpacked_at_all() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a)]));
    let before = peak_kib(&qcc);
    for (coding, bomb) in [("gzip", gzip()), ("br", brotli()), ("zstd", zstd())] {
        let mut raw = Raw::connect(qcc.address()).await;
        let line = format!("content-encoding: {coding}");
        let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[&line], &bomb)).await;
        assert_eq!(reply.status(), 200, "{coding}");
        let seen = a.posts().pop().unwrap();
        assert_eq!((seen.body() == bomb, seen.header("content-encoding")), (true, Some(coding)));
    }
    let grown = peak_kib(&qcc) - before;
    assert!(grown < 8 * 1024, "{grown} KiB more");
}
