//! One request after another on a connection, and how each answer suits it.

use tokio::io::AsyncWriteExt;

use super::scene::{Scene, read_head};

const ALIVE: &str = "alive\n";

/// A request for what is answered here.
fn ask(version: &str, lines: &str) -> String {
    format!("GET /livez HTTP/{version}\r\nhost: localhost\r\n{lines}\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_as_long_as_its_client_says_and_is_told_what_becomes_of_it() {
    for (version, lines, said) in [
        ("1.1", "", None),
        ("1.1", "connection: keep-alive\r\n", None),
        ("1.1", "Connection: X, y\r\n", None),
        ("1.1", "connection: closed\r\n", None),
        ("1.1", "connection: close\r\n", Some("close")),
        ("1.1", "CONNECTION:CLOSE\r\n", Some("close")),
        ("1.1", "connection: keep-alive, close\r\n", Some("close")),
        ("1.1", "connection: x ,\tClose, ,y\r\n", Some("close")),
        ("1.1", "connection: keep-alive\r\nconnection: close\r\n", Some("close")),
        ("1.0", "", Some("close")),
        ("1.0", "connection: x\r\n", Some("close")),
        ("1.0", "connection: close\r\n", Some("close")),
        ("1.0", "connection: keep-alive, close\r\n", Some("close")),
        ("1.0", "connection: keep-alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: Keep-Alive\r\n", Some("keep-alive")),
        ("1.0", "connection: x\r\nconnection: y,KEEP-ALIVE\r\n", Some("keep-alive")),
    ] {
        let mut scene = Scene::begin("");
        scene.send(&ask(version, lines)).await;
        let shown = said.map_or(String::new(), |said| format!("connection: {said}\r\n"));
        let expected = format!("HTTP/{version} 200 OK\r\ncontent-length: 6\r\n{shown}\r\n");
        assert_eq!(scene.head().await, expected, "{version} {lines}");
        assert_eq!(scene.body(6).await, ALIVE);
        if said == Some("close") {
            assert_eq!(scene.rest().await, "", "{version} {lines}");
        } else {
            scene.send(&ask(version, "connection: close\r\n")).await;
            assert!(scene.rest().await.ends_with(ALIVE), "{version} {lines}");
        }
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_be_forwarded_is_the_last_on_its_connection() {
    for (request, status) in [
        ("GET /livez HTTP/1.1\r\nhost: elsewhere.example\r\n", "421"),
        ("GET /livez HTTP/1.1\r\n", "400"),
        ("TRACE /livez HTTP/1.1\r\nhost: localhost\r\n", "405"),
        ("GET /<x> HTTP/1.1\r\nhost: localhost\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nhost : localhost\r\n", "400"),
        ("GET /livez HTTP/1.2\r\nhost: localhost\r\n", "400"),
    ] {
        let mut scene = Scene::begin("");
        scene.send(&format!("{request}\r\n{}", ask("1.1", ""))).await;
        let answers = scene.rest().await;
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answers}");
        assert!(
            answers.contains("connection: close\r\n") && !answers.contains(ALIVE),
            "{request}: {answers}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_on_a_connection_are_answered_in_their_order_however_they_come() {
    let sent = [
        ask("1.1", ""),
        "HEAD /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "\r\nGET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        ask("1.0", "connection: keep-alive\r\n"),
        "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
    ]
    .concat();
    let mut whole = None;
    for length in [sent.len(), 1, 7, 100] {
        for begun in [0, 1, 30] {
            let (begun, rest) = sent.as_bytes().split_at(begun);
            let mut scene = Scene::with_begun("", begun);
            for piece in rest.chunks(length) {
                scene.client.write_all(piece).await.unwrap();
            }
            let answers = scene.rest().await;
            let statuses: Vec<_> =
                answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at..at + 12]).collect();
            assert_eq!(
                statuses,
                [
                    "HTTP/1.1 200",
                    "HTTP/1.1 200",
                    "HTTP/1.1 404",
                    "HTTP/1.1 204",
                    "HTTP/1.1 200",
                    "HTTP/1.0 200",
                    "HTTP/1.1 200",
                ],
                "{answers}"
            );
            assert_eq!(&answers, whole.get_or_insert(answers.clone()), "{length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_says_the_length_of_the_one_that_there_would_be_and_a_204_none() {
    let mut scene = Scene::begin("");
    for (request, head) in [
        ("HEAD /livez", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"),
        ("HEAD /", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (
            "OPTIONS *",
            "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n",
        ),
    ] {
        // What follows shows that there is no body.
        for _ in 0..2 {
            scene.send(&format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            assert_eq!(scene.head().await, head);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn how_an_upstream_ends_its_answer_is_told_in_the_words_of_the_clients_version() {
    let close = "connection: close\r\n";
    for (version, lines, upstream, end) in [
        ("1.1", "", "content-length: 5\r\n\r\nhello", "content-length: 5\r\n\r\nhello".to_owned()),
        (
            "1.1",
            "",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "1.1",
            close,
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            format!("transfer-encoding: chunked\r\n{close}\r\n5\r\nhello\r\n0\r\n\r\n"),
        ),
        ("1.0", "", "content-length: 5\r\n\r\nhello", format!("content-length: 5\r\n{close}\r\nhello")),
        (
            "1.0",
            "connection: keep-alive\r\n",
            "content-length: 5\r\n\r\nhello",
            "content-length: 5\r\nconnection: keep-alive\r\n\r\nhello".to_owned(),
        ),
        (
            "1.0",
            "connection: keep-alive\r\n",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            format!("{close}\r\nhello"),
        ),
    ] {
        let mut scene = Scene::begin("");
        scene.send(&format!("GET /v1/files/x HTTP/{version}\r\nhost: localhost\r\n{lines}\r\n")).await;
        let mut upstream_end = scene.upstream().await;
        assert!(read_head(&mut upstream_end).await.starts_with("GET /v1/files/x HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 200 Fine\r\ncontent-type: text/plain\r\n{upstream}");
        upstream_end.write_all(answer.as_bytes()).await.unwrap();
        let head = scene.head().await;
        assert!(head.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{head}");
        let body_length = end.len() - end.find("\r\n\r\n").unwrap() - 4;
        let read = head + &scene.body(body_length).await;
        assert!(read.ends_with(&end), "{version} {lines} {upstream}: {read}");
        assert_eq!(
            read.matches("content-length").count() + read.matches("chunked").count(),
            usize::from(!end.starts_with(close))
        );
        if end.contains(close) {
            assert_eq!(scene.rest().await, "");
        } else {
            scene.send(&ask("1.1", close)).await;
            assert!(scene.rest().await.ends_with(ALIVE));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_the_end_of_an_answer_and_never_of_one_that_is_cut() {
    for (version, upstream, end, cut, whole) in [
        ("1.1", "content-length: 10\r\n\r\nhello", "world", "hello", "helloworld"),
        (
            "1.1",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "0\r\n\r\n",
            "5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        ("1.0", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n", "hello", "hello"),
    ] {
        for (end, expected, is_ended) in [("", cut, false), (end, whole, true)] {
            let mut scene = Scene::begin("");
            let close = "connection: close\r\n";
            scene.send(&format!("GET /v1/files/x HTTP/{version}\r\nhost: localhost\r\n{close}\r\n")).await;
            let mut upstream_end = scene.upstream().await;
            read_head(&mut upstream_end).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{upstream}{end}");
            upstream_end.write_all(answer.as_bytes()).await.unwrap();
            drop(upstream_end);
            let _ = scene.head().await;
            let read = scene.rest().await;
            scene.end().await;
            assert_eq!((&*read, scene.is_ended()), (expected, is_ended), "{version} {upstream}{end}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_none_is_refused_as_its_version_and_method_ask() {
    for (method, version, has_text) in [("GET", "1.1", true), ("HEAD", "1.1", false), ("HEAD", "1.0", false)]
    {
        let mut scene = Scene::begin("");
        scene.send(&format!("{method} /v1/<> HTTP/{version}\r\nhost: localhost\r\n\r\n")).await;
        let head = scene.head().await;
        assert!(head.starts_with(&format!("HTTP/{version} 400 ")), "{head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!(!scene.rest().await.is_empty(), has_text, "{method}");
    }
}
