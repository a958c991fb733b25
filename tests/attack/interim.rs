//! Answers before the answer: 100 (Continue) to clients, and what upstreams send.

use super::support::client::raw_request;
use super::support::{Answer, Cluster, End, Endpoint, Qcc, Raw, Step, Upstream, llm};

fn head(qcc: &Qcc, lines: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\n{lines}\r\n\r\n",
        qcc.address()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_asked_for_only_when_it_is_wanted() {
    let a = Upstream::healthy();
    let cluster = Cluster::tiers([Endpoint::new("a", &a)]).line("client_tokens = ['token-of-a-client']");
    let qcc = Qcc::start(&cluster.line("max_body = '4 KiB'"));
    let token = "x-api-key: token-of-a-client";
    for (lines, status) in [
        ("content-length: 2".to_owned(), 401),
        ("x-api-key: wrong\r\ncontent-length: 2".into(), 401),
        (format!("{token}\r\ncontent-length: 4097"), 413),
        (format!("{token}\r\norigin: null\r\ncontent-length: 2"), 403),
        (format!("{token}\r\ncontent-length: 2\r\ntransfer-encoding: chunked"), 400),
    ] {
        let mut raw = Raw::connect(qcc.address()).await;
        assert_eq!(raw.ask(head(&qcc, &lines)).await.status(), status, "{lines}");
    }
    let body = llm::message("wanted").to_string();
    let mut raw = Raw::connect(qcc.address()).await;
    raw.send(head(&qcc, &format!("{token}\r\ncontent-length: {}", body.len()))).await;
    assert_eq!(raw.read_head().await.expect("a word").status(), 100);
    assert_eq!(raw.ask(&body).await.status(), 200);
    assert_eq!(
        (a.posts().len(), a.posts()[0].header("expect")),
        (1, None),
        "the body is there when it goes up"
    );
}

fn answering(before: &'static str) -> Upstream {
    let body = llm::message_answer("hello").to_string();
    let last = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Upstream::start(llm::on_post(move |_| {
        Answer::wire([Step::Bytes(before.as_bytes().to_vec()), Step::Bytes(last.as_bytes().to_vec())])
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_interim_answers_are_not_taken_for_its_answer() {
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\nset-cookie: a=b\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n",
    ] {
        let a = answering(before);
        let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a)]));
        let mut raw = Raw::connect(qcc.address()).await;
        for _ in 0..2 {
            let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], b"{}")).await;
            assert_eq!((reply.status(), reply.head.header("link")), (200, None), "{before}");
            assert_eq!(reply.json()["type"], "message", "{before}");
        }
        assert_eq!(a.connections(), 1, "{before}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_without_an_end_count_as_none() {
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(200_000).into_bytes();
    let a = Upstream::start(llm::on_post(move |_| {
        Answer::wire([Step::Bytes(flood.clone()), Step::End(End::Stall)])
    }));
    let b = Upstream::healthy();
    let cluster =
        Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]).timeouts("answer = '500ms'");
    let qcc = Qcc::start(&cluster);
    let mut raw = Raw::connect(qcc.address()).await;
    let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], b"{}")).await;
    assert_eq!((reply.status(), reply.head.header("x-qcc-endpoint")), (200, Some("b")));
    assert_eq!(qcc.endpoint("a")["failures"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_an_answer_are_no_answer_to_the_next_request() {
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let body = llm::message_answer("hello").to_string();
    let two = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}{forged}", body.len());
    let a = Upstream::start(llm::on_post(move |_| Answer::wire([Step::Bytes(two.as_bytes().to_vec())])));
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a)]));
    for _ in 0..5 {
        let mut raw = Raw::connect(qcc.address()).await;
        let reply = raw.ask(raw_request("POST", "/v1/messages", qcc.address(), &[], b"{}")).await;
        assert_eq!((reply.status(), reply.body.as_slice()), (200, body.as_bytes()));
    }
}
