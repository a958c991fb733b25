//! Answers that are rare over HTTP/1.1, and those that come before the request is read.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::answer::{End, Step};
use crate::support::tls::TlsServer;
use crate::support::{Answer, Client, Cluster, Endpoint, Qcc, Recorded, Upstream, llm};
use crate::trusting;

fn wire(text: String, end: End) -> Answer {
    Answer::wire([Step::Bytes(text.into_bytes()), Step::End(end)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_the_same_after_informational_ones_in_http_1_0_and_at_the_end_of_its_connection() {
    let body = llm::message_answer("hello").to_string();
    let json = "content-type: application/json\r\n";
    let length = format!("content-length: {}\r\n", body.len());
    for (head, end) in [
        (format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{json}{length}"), End::Clean),
        (
            format!("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n{json}{length}"),
            End::Clean,
        ),
        (format!("HTTP/1.0 200 OK\r\n{json}"), End::Fin),
        (format!("HTTP/1.0 200 OK\r\n{json}{length}"), End::Fin),
        (format!("HTTP/1.1 200 OK\r\n{json}{length}connection: close\r\n"), End::Fin),
    ] {
        let said = format!("{head}\r\n{body}");
        let upstream = Upstream::start(llm::on_post(move |_: &Recorded| wire(said.clone(), end)));
        let qcc = Qcc::start(&Cluster::new("work").endpoint(Endpoint::new("a", &upstream)));
        let client = Client::of(&qcc);
        for round in 0..3 {
            let reply = client.ask(&format!("round {round}")).await.expect_from("a");
            assert_eq!((reply.text().as_str(), reply.attempts()), (body.as_str(), "1"), "{head}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_protocols_that_nobody_asked_for_is_no_answer() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let upstream = Upstream::start(llm::on_post(move |_: &Recorded| wire(switching.into(), End::Stall)));
    let fallback = Upstream::healthy();
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &upstream), Endpoint::new("b", &fallback)]));
    Client::of(&qcc).ask("one").await.expect_from("b");
    assert_eq!(qcc.endpoint("a")["requests"]["failed"], 1);
}

/// Answers once the head of a request is there, and closes without reading more.
async fn answer_hastily(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
    let mut read = Vec::new();
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
}

async fn counts_as_what_it_says(status: u16, scheme: &str) {
    let error = llm::anthropic_error("some_error", "said early").to_string();
    let length = error.len();
    let answer =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("http://{}", listener.local_addr().unwrap());
    let said = answer.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_hastily(stream, said.clone()));
        }
    });
    let secured = TlsServer::start(&["http/1.1"], move |stream, _| answer_hastily(stream, answer.clone()));
    let url = if scheme == "https" { secured.url() } else { plain };
    let fallback = Upstream::healthy();
    let (qcc, client) =
        trusting(Cluster::tiers([Endpoint::at("a", &url).per_request(), Endpoint::new("b", &fallback)]));
    let reply = client.ask(&"x".repeat(20 << 20)).await;
    let a = qcc.endpoint("a");
    match status {
        401 => assert_eq!((reply.status, &a["cause"]), (200, &"auth".into()), "{a:#}"),
        _ => assert_eq!((reply.status, reply.text().as_str()), (status, error.as_str()), "{a:#}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_request_is_read_counts_as_what_it_says() {
    for scheme in ["http", "https"] {
        for status in [401, 413] {
            counts_as_what_it_says(status, scheme).await;
        }
    }
}
