//! Compressed answers are looked into, and their bytes pass as they came.

use std::io::Write;

use super::support::{Answer, Upstream, exchange, llm};
use super::{Cluster, Endpoint, started, two};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
}

type Encode = fn(&str) -> Vec<u8>;
const CODINGS: [(&str, Encode); 3] = [("gzip", gzip), ("deflate", deflate), ("zstd", zstd)];

fn encoded(status: u16, coding: &str, body: Vec<u8>) -> Answer {
    Answer::new(status)
        .header("content-type", "application/json")
        .header("content-encoding", coding)
        .body(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_words_of_a_compressed_error_count() {
    let error = llm::anthropic_error("invalid_request_error", "Your credit balance is too low to go on.");
    for (coding, encode) in CODINGS {
        for status in [400, 200] {
            let body = encode(&error.to_string());
            let a = Upstream::start(llm::on_post(move |_| encoded(status, coding, body.clone())));
            let b = Upstream::healthy();
            let (qcc, client) = started(two(&a, &b));
            client.ask("unpaid").await.expect_from("b");
            let after = qcc.endpoint_in("a", "unhealthy").await;
            assert_eq!(after["cause"], "quota", "{status} {coding}");
            assert!(after["last_error"].as_str().unwrap().contains("credit balance"), "{after:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_page_or_nothing_is_no_answer() {
    for text in ["<html>busy</html>", "", r#"{"ok":true}"#] {
        let a = Upstream::start(llm::on_post(move |_| encoded(200, "gzip", gzip(text))));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        client.ask("answered").await.expect_from("b");
        qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_a_compressed_answer_or_error_pass_as_they_came() {
    let long = llm::message_answer(&"of some length, ".repeat(20_000)).to_string();
    let error = llm::anthropic_error("invalid_request_error", "wrong").to_string();
    for (status, text) in [(200, long), (400, error)] {
        for (coding, encode) in CODINGS {
            let body = encode(&text);
            let sent = body.clone();
            let a = Upstream::start(llm::on_post(move |_| encoded(status, coding, sent.clone())));
            let b = Upstream::healthy();
            let (qcc, client) = started(two(&a, &b));
            let reply = client.ask("as it came").await;
            assert_eq!((reply.status, reply.endpoint()), (status, "a"), "{coding}");
            assert!(reply.whole && reply.body == body, "{status} {coding}");
            assert_eq!(reply.header("content-encoding"), Some(coding));
            assert_eq!(qcc.endpoint("a")["failures"], 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_decoded_counts_as_what_its_status_says() {
    for (coding, body) in [("gzip", &b"\x1f\x8b\x08 damaged"[..]), ("snappy", b"??"), ("br", b"\xff\xff\xff")]
    {
        let a = Upstream::start(llm::on_post(move |_| encoded(200, coding, body.to_vec())));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        assert_eq!(client.ask("hidden").await.expect_from("a").body, body, "{coding}");
        assert_eq!(
            qcc.endpoint_when("a", "has passed", |a| a["requests"]["passed"] == 1).await["failures"],
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_names_itself_late_is_an_answer() {
    for padding in ["x".repeat(20_000), (0..20_000).map(|n| char::from(33 + (n * n % 90) as u8)).collect()] {
        let body = serde_json::json!({"metadata": {"padding": padding}, "object": "response", "status": "completed"});
        let body = body.to_string();
        for coding in ["identity", "gzip"] {
            let sent = if coding == "gzip" { gzip(&body) } else { body.clone().into_bytes() };
            let expected = sent.clone();
            let o = Upstream::start(llm::on_post(move |_| encoded(200, coding, sent.clone())));
            let (_qcc, client) = started(Cluster::tiers([Endpoint::new("o", &o).openai()]));
            let reply = exchange(client.post("/v1/responses", &llm::response("late"))).await.expect_from("o");
            assert!(reply.body == expected, "{coding}");
        }
    }
}
