//! Targets made of all that paths have been mistaken for.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::support::client::raw_request;
use super::support::recorder::END;
use super::support::{Cluster, Endpoint, Qcc, Raw, Recorder};

const PREFIX: &str = "/prefix/of/the-endpoint";

/// A path as a server reads that decodes it once more, takes `\` for `/`, cuts off parameters, and resolves dots
/// and empty segments (RFC 3986 §5.2.4).
fn read_leniently(path: &str) -> Vec<String> {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..2 {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut decoded = Vec::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let escaped = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
            if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                decoded.push(byte);
                rest = &rest[3..];
            } else {
                decoded.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let text = text.split(['?', '#', '\0']).next().unwrap();
    let mut segments = Vec::new();
    for segment in text.split('/').skip(1).map(|segment| segment.split(';').next().unwrap()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

fn target() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%", "%25", "%252e", "%00", "%23",
        "#", "%3f", "?", ";", "%3b", ";x=y", "a", "messages", "v1", "~", "@", ":", "&", "=", "+", "*", "!",
        "'", "(", ")", "%c0%ae", "%C3%BC", "\u{fc}", "%zz", "%u002e", "\"", "<", "{", "|", "^", "`", "[",
        "_", "-", ",", "$", "%20",
    ]);
    (prop::sample::select(vec!["/v1/", "/v1/", "/v1/", "/v1", "/", ""]), prop::collection::vec(piece, 0..8))
        .prop_map(|(start, pieces)| start.to_owned() + &pieces.concat())
        .prop_filter("a request line has a target", |target| !target.is_empty())
}

#[test]
fn a_target_goes_up_byte_for_byte_or_not_at_all() {
    let (plain, prefixed) = (Recorder::start(), Recorder::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let start = |base: String| Qcc::start(&Cluster::tiers([Endpoint::at("a", &base).per_request()]));
    let qccs =
        [(start(plain.url()), &plain, ""), (start(format!("{}{PREFIX}", prefixed.url())), &prefixed, PREFIX)];
    let body = [b"{}", END].concat();
    let (passed, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 3_000, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let check = |target: String| {
        for (qcc, recorder, prefix) in &qccs {
            let reply = runtime.block_on(async {
                let mut raw = Raw::connect(qcc.address()).await;
                raw.ask(raw_request("POST", &target, qcc.address(), &["connection: close"], &body)).await
            });
            let seen = String::from_utf8_lossy(&recorder.take()).into_owned();
            if reply.status() != 200 {
                prop_assert!(
                    (400..500).contains(&reply.status()) && seen.is_empty(),
                    "{}: {:?}",
                    target,
                    seen
                );
                refused.set(refused.get() + 1);
                continue;
            }
            passed.set(passed.get() + 1);
            let line = seen.split("\r\n").next().unwrap();
            prop_assert_eq!(line, format!("POST {prefix}{target} HTTP/1.1"));
            // However an upstream reads it, it is below /v1/ and names as many things.
            let path = target.split('?').next().unwrap();
            let read = read_leniently(path);
            let segments = path.split('/').filter(|segment| !segment.is_empty()).count();
            prop_assert_eq!(read.first().map(String::as_str), Some("v1"), "{}", &target);
            prop_assert_eq!(read.len(), segments, "{} is read as {:?}", &target, read);
        }
        Ok(())
    };
    let result = runner.run(&target(), check);
    if let Err(error) = result {
        panic!("{error}");
    }
    let (passed, refused) = (passed.get(), refused.get());
    assert!(passed > 500 && refused > 500, "{passed} passed, {refused} refused");
    println!("{passed} passed, {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_target_goes_up_whole_behind_the_longest_prefix() {
    let recorder = Recorder::start();
    let base = format!("{}/", recorder.url());
    let base = format!("{base}{}", "p".repeat(2048 - base.len()));
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::at("a", &base).per_request()]));
    let body = [b"{}", END].concat();
    for (length, status) in [(16 * 1024, 200), (16 * 1024 + 1, 414), (60_000, 414)] {
        let target = format!("/v1/messages?{}", "x".repeat(length - "/v1/messages?".len()));
        let mut raw = Raw::connect(qcc.address()).await;
        let reply = raw.ask(raw_request("POST", &target, qcc.address(), &[], &body)).await;
        assert_eq!(reply.status(), status, "{length} bytes");
        let seen = String::from_utf8_lossy(&recorder.take()).into_owned();
        let expected = format!("POST {}{target} HTTP/1.1\r\n", &base[recorder.url().len()..]);
        assert_eq!(seen.starts_with(&expected), status == 200, "{length} bytes");
        assert_eq!(seen.is_empty(), status != 200, "{length} bytes");
    }
}
