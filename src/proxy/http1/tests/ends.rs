//! When a connection ends that nobody asked to: a stop of the process, and the limit on waiting for a head.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::scene::{Scene, all_at_rest, read_head};
use crate::clock::Stopwatch;

const ALIVE: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nalive\n";

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_connection_without_a_request_at_once() {
    // Empty lines before a request are none of it; old clients send one after a body.
    for (asked_before, sent) in [(false, ""), (false, "\r\n"), (true, ""), (true, "\r\n"), (true, "\r\n\r\n")]
    {
        let mut scene = Scene::begin("");
        if asked_before {
            scene.send(ALIVE).await;
            scene.head().await;
            assert_eq!(scene.body(6).await, "alive\n");
        }
        scene.send(sent).await;
        all_at_rest().await;
        let begun = Stopwatch::start();
        scene.stop();
        assert_eq!(scene.rest().await, "");
        assert_eq!(begun.elapsed(), Duration::ZERO, "{sent:?}");
        drop(scene.client.shutdown().await);
        scene.end().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_has_begun_when_the_stop_comes_is_served_and_its_answer_is_the_last() {
    for begun in [1, 20, ALIVE.len() - 1] {
        let mut scene = Scene::begin("");
        let (before, after) = ALIVE.split_at(begun);
        scene.send(before).await;
        all_at_rest().await;
        scene.stop();
        all_at_rest().await;
        scene.send(&format!("{after}{ALIVE}")).await;
        assert_eq!(scene.rest().await, CLOSED);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_begins_after_the_stop_says_that_it_is_the_last() {
    let mut scene = Scene::begin("");
    scene.send("GET /v1/files/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = scene.upstream().await;
    read_head(&mut upstream).await;
    scene.stop();
    all_at_rest().await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    let head = scene.head().await;
    assert!(head.ends_with("content-length: 5\r\nconnection: close\r\n\r\n"), "{head}");
    assert_eq!(scene.rest().await, "hello");
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_begun_when_the_stop_comes_is_whole_and_the_last() {
    let mut scene = Scene::begin("");
    scene.send("GET /v1/files/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = scene.upstream().await;
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
    assert!(!scene.head().await.contains("connection"));
    scene.stop();
    all_at_rest().await;
    upstream.write_all(b"llo").await.unwrap();
    assert_eq!(scene.rest().await, "hello");
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_has_so_much_time_from_where_it_is_waited_for_however_it_trickles() {
    let limit = Duration::from_secs(5);
    for (asked_before, sent) in
        [(0, ""), (0, "G"), (0, "GET /livez HTTP/1.1\r\nhost: "), (2, ""), (2, "GET /")]
    {
        let mut scene = Scene::begin("timeouts.client_header = '5s'");
        for _ in 0..asked_before {
            sleep(limit - Duration::from_millis(1)).await;
            scene.send(ALIVE).await;
            scene.head().await;
            assert_eq!(scene.body(6).await, "alive\n");
        }
        let begun = Stopwatch::start();
        for byte in sent.chars().take(4) {
            sleep(Duration::from_secs(1)).await;
            scene.send(byte.encode_utf8(&mut [0; 4])).await;
        }
        scene.send(sent.get(4..).unwrap_or_default()).await;
        assert_eq!(scene.rest().await, "", "{sent}");
        assert_eq!(begun.elapsed(), limit, "{sent}");
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_on_a_head_is_none_on_an_answer() {
    let mut scene = Scene::begin("timeouts.client_header = '5s'");
    scene.send("GET /v1/files/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = scene.upstream().await;
    read_head(&mut upstream).await;
    sleep(Duration::from_secs(20)).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
    sleep(Duration::from_secs(20)).await;
    upstream.write_all(b"llo").await.unwrap();
    scene.head().await;
    assert_eq!(scene.body(5).await, "hello");
}
