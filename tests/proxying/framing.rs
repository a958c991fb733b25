//! Requests whose framing is malformed: each is refused, and nothing of it goes up.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::started;
use super::support::client::raw_request;
use super::support::{Cluster, Endpoint, Raw, Upstream, llm, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_lines_and_versions_that_could_be_read_differently_go_nowhere() {
    let a = Upstream::healthy();
    let (qcc, _) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let host = qcc.address();
    for (what, head) in [
        ("a bare LF after the request line", format!("POST /v1/messages HTTP/1.1\nhost: {host}\r\n\r\n")),
        ("bare LFs only", format!("POST /v1/messages HTTP/1.1\nhost: {host}\n\n")),
        ("chunks in HTTP/1.0", "POST /v1/messages HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".into()),
        ("two spaces", format!("POST  /v1/messages HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        ("no version", "POST /v1/messages\r\n\r\n".into()),
        ("a version to come", format!("POST /v1/messages HTTP/1.2\r\nhost: {host}\r\n\r\n")),
        ("a greeting of TLS", "\u{16}\u{3}\u{1}".into()),
    ] {
        let mut raw = Raw::connect(host).await;
        let reply = raw.ask(head).await;
        assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (400, Some("bad_request")), "{what}");
        raw.expect_closed().await;
    }
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_is_refused_after_the_answer_to_the_one_before_it() {
    let a = Upstream::healthy();
    let (qcc, _) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let host = qcc.address();
    let good = raw_request("POST", "/v1/messages", host, &[], llm::message("good").to_string().as_bytes());
    let bad = format!("POST /v1/messages HTTP/1.1\r\nhost: {host}\r\ncontent-length : 5\r\n\r\nhello");
    let pipeline = [&good, &good, bad.as_bytes(), &good].concat();
    for length in [pipeline.len(), 100, 1] {
        let before = a.posts().len();
        let mut raw = Raw::connect(host).await;
        for piece in pipeline.chunks(length) {
            raw.send(piece).await;
        }
        for _ in 0..2 {
            assert_eq!(raw.read_reply().await.expect("an answer").status(), 200);
        }
        assert_eq!(raw.read_reply().await.expect("a refusal").status(), 400);
        raw.expect_closed().await;
        assert_eq!(a.posts().len() - before, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_whose_chunks_are_malformed_goes_nowhere() {
    let a = Upstream::healthy();
    let (qcc, _) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let host = qcc.address();
    for chunks in
        ["5\nhello\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "2;a\n\r\n{}\r\n0\r\n\r\n"]
    {
        let mut raw = Raw::connect(host).await;
        let head =
            format!("POST /v1/messages HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n");
        let reply = raw.ask(format!("{head}{chunks}{head}2\r\n{{}}\r\n0\r\n\r\n")).await;
        assert_eq!(
            (reply.status(), reply.head.header("x-qcc-error")),
            (400, Some("bad_request")),
            "{chunks:?}"
        );
        raw.expect_closed().await;
    }
    assert_eq!(a.posts().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_sending_reads_its_answer_and_an_orderly_end() {
    let a = Upstream::healthy();
    let (qcc, _) = started(Cluster::tiers([Endpoint::new("a", &a)]).line("max_body = '4 KiB'"));
    let request = format!("POST /v1/messages HTTP/1.1\r\nhost: {}\r\n", qcc.address());
    for (what, head, status) in [
        ("a malformed head", "content-length : 4194304", "400"),
        ("a body over the limit", "content-length: 4194304", "413"),
        ("chunks over the limit", "transfer-encoding: chunked\r\n\r\n400000", "413"),
    ] {
        let mut stream = within("a connection", TcpStream::connect(qcc.address())).await.unwrap();
        let mut answer = String::new();
        within("an answer", async {
            stream.write_all(format!("{request}{head}\r\n\r\n").as_bytes()).await.expect(what);
            for _ in 0..64 {
                stream.write_all(&[b'x'; 64 * 1024]).await.expect(what);
            }
            stream.read_to_string(&mut answer).await.expect(what);
        })
        .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    assert_eq!(a.posts().len(), 0);
}
