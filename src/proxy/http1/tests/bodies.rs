//! What a client sends while its request is in hand, and whether it stays for the answer.

use std::pin::pin;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::timeout;

use super::super::LINGER;
use super::scene::{HELD_BYTES_MAX, Scene, all_at_rest, read_head};
use crate::clock::Stopwatch;

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const POST: &str = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test(start_paused = true)]
async fn a_body_that_is_held_back_is_asked_for_where_it_is_wanted() {
    for framing in ["content-length: 5\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
        let mut scene = Scene::begin("");
        scene.send(&format!("{POST}expect: 100-Continue\r\n{framing}")).await;
        assert_eq!(scene.head().await, CONTINUE);
        assert!(!scene.asks_an_upstream(), "before the body has come");
        let is_chunked = framing.contains("chunked");
        scene.send(if is_chunked { "5\r\nhello\r\n0\r\n\r\n" } else { "hello" }).await;
        let mut upstream = scene.upstream().await;
        assert!(!read_head(&mut upstream).await.contains("expect"));
        upstream.read_exact(&mut [0; 5]).await.unwrap();
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert!(scene.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_wanted_or_not_held_back_is_not_asked_for() {
    for (head, status) in [
        // HTTP/1.0 has no expectations.
        ("POST /v1/files HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello", 200),
        ("POST /v1/files HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n", 200),
        ("POST /v1/files HTTP/1.1\r\nexpect: 100-continue\r\n\r\n", 200),
        ("POST /nowhere HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n", 404),
        ("POST /v1/files HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n", 413),
        ("POST /v1/files HTTP/1.1\r\nexpect: another\r\ncontent-length: 5\r\n\r\n", 417),
    ] {
        let mut scene = Scene::begin("max_body = '1 KiB'");
        scene.send(&head.replacen("\r\n", "\r\nhost: localhost\r\n", 1)).await;
        if status == 200 {
            let mut upstream = scene.upstream().await;
            read_head(&mut upstream).await;
            upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
        let answer = scene.head().await;
        assert!(answer[9..].starts_with(&status.to_string()), "{head}: {answer}");
        // The body of another request could be taken for that of this one.
        assert_eq!(
            answer.contains("connection: close"),
            status > 400 || head.contains("1.0"),
            "{head}: {answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_still_sending_is_listened_to_for_a_second_after_the_answer() {
    for refused in [
        "content-length: 5000\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n401\r\n",
        "transfer-encoding: chunked\r\n\r\nx",
        "content-length: x\r\n\r\n",
        "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        for client_ends in [false, true] {
            let mut scene = Scene::begin("max_body = '1 KiB'");
            let begun = Stopwatch::start();
            scene.send(&format!("{POST}{refused}{}", "x".repeat(1025))).await;
            let answer = scene.head().await;
            assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("connection: close\r\n"), "{answer}");
            assert!(scene.rest().await.ends_with('}'), "its end is seen");
            assert_eq!(begun.elapsed(), Duration::ZERO, "{refused}");
            // More than the network holds.
            scene.send(&"x".repeat(4 * HELD_BYTES_MAX)).await;
            if client_ends {
                scene.client.shutdown().await.unwrap();
            }
            scene.end().await;
            assert_eq!(begun.elapsed(), if client_ends { Duration::ZERO } else { LINGER }, "{refused}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_one_who_sends_no_more_ends_the_connection_at_once() {
    let (mut scene, begun) = (Scene::begin(""), Stopwatch::start());
    scene.send("GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    scene.end().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_at_once_whatever_it_sent_before() {
    let early =
        [String::new(), format!("{POST}\r\n"), format!("{POST}content-length: 9\r\n\r\nhe"), "\r\n".into()];
    for early in early {
        let (mut scene, begun) = (Scene::begin(""), Stopwatch::start());
        scene.send(&format!("{POST}content-length: 5\r\n\r\nhello{early}")).await;
        let mut upstream = scene.upstream().await;
        read_head(&mut upstream).await;
        let cluster = scene.cluster.clone();
        assert_eq!(scene.in_flight(), 1);
        scene.leave().await;
        assert_eq!(cluster.roster().endpoints()[0].vitals.in_flight(), 0);
        upstream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO, "{early:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_client_that_has_left_before_its_request_is_read_nothing_goes_up() {
    for sent in [format!("{POST}\r\n"), format!("{POST}content-length: 5\r\n\r\nhello")] {
        let mut scene = Scene::begin("");
        scene.send(&sent).await;
        scene.client.shutdown().await.unwrap();
        scene.end().await;
        assert!(!scene.asks_an_upstream(), "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_answer_comes_is_noticed_at_once() {
    let mut scene = Scene::begin("");
    scene.send(&format!("{POST}\r\n")).await;
    let mut upstream = scene.upstream().await;
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await.unwrap();
    scene.head().await;
    assert_eq!(scene.body(5).await, "hello");
    assert_eq!(scene.in_flight(), 1);
    let begun = Stopwatch::start();
    scene.leave().await;
    upstream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn of_a_client_that_leaves_within_its_body_nothing_goes_up() {
    for sent in ["content-length: 9\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n9\r\nhello"] {
        let (mut scene, begun) = (Scene::begin(""), Stopwatch::start());
        scene.send(&format!("{POST}{sent}")).await;
        all_at_rest().await;
        scene.client.shutdown().await.unwrap();
        assert!(scene.head().await.starts_with("HTTP/1.1 400 "));
        assert!(!scene.asks_an_upstream());
        scene.leave().await;
        assert!(begun.elapsed() < LINGER);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_before_it_has_its_answer_waits_and_is_held_up_to_a_limit() {
    let mut scene = Scene::begin("");
    scene.send(&format!("{POST}\r\n")).await;
    let mut upstream = scene.upstream().await;
    read_head(&mut upstream).await;
    let early = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(2000);
    let (mut reading, mut writing) = split(scene.client);
    let mut sending = pin!(writing.write_all(early.as_bytes()));
    assert!(timeout(Duration::from_secs(1), sending.as_mut()).await.is_err(), "all of it is taken");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answers = Vec::new();
    let answered = async {
        while memmem::find_iter(&answers, "alive\n").count() < 2000 {
            assert_ne!(reading.read_buf(&mut answers).await.unwrap(), 0);
        }
    };
    let (sent, ()) = tokio::join!(sending, answered);
    sent.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_a_head_without_an_end_no_more_is_taken_than_a_head_may_have() {
    let scene = Scene::begin("");
    let (mut reading, mut writing) = split(scene.client);
    let mut taken = 0;
    let answer = loop {
        tokio::select! {
            biased;
            answer = reading.read_u8() => break answer.unwrap(),
            sent = writing.write(&[b'x'; 1000]) => taken += sent.unwrap(),
        }
    };
    assert_eq!(answer, b'H');
    assert!(taken < 96 * 1024, "{taken}");
    let mut rest = String::new();
    reading.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("TTP/1.1 431 "), "{rest}");
}
