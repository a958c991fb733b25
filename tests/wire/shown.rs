//! "What the client gets when it can't be served", for each protocol.

use serde_json::{Value, json};

use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::rig::Rig;
use super::support::client::RawReply;
use super::support::{Answer, Recorded, llm};

/// Both endpoints answer so.
async fn asked(protocol: Protocol, mode: Mode, a: Answering, b: Answering) -> (Rig, RawReply) {
    let rig = Rig::start(protocol, a, |cluster| cluster.line("queue_timeout = '200ms'"));
    rig.b.set(llm::on_post(b));
    let reply = rig.ask("refused by both", mode).await;
    (rig, reply)
}

type Answering = fn(&Recorded) -> Answer;

fn each() -> impl Iterator<Item = (Protocol, Mode)> {
    ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode)))
}

fn retry_after(reply: &RawReply) -> u64 {
    reply.head.header("retry-after").expect("retry-after").parse().expect("seconds")
}

/// The shape of an error of the protocol, and its type and code.
#[track_caller]
fn assert_own(reply: &RawReply, protocol: Protocol, status: u16, code: &str, kind: &str) -> Value {
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (status, Some(code)), "{reply:?}");
    assert_eq!(reply.head.header("content-type"), Some("application/json"));
    let body = reply.json();
    match protocol.is_openai() {
        false => {
            assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}")
        }
        true => assert_eq!(body["error"]["code"], json!(kind), "{body}"),
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_of_an_upstream_comes_down_unchanged() {
    const LAST: &[u8] = b"{ \"error\" : {\"message\":\"as \\u0069t is \xff\"}}\n\n";
    for (protocol, mode) in each() {
        for status in [500, 502, 529] {
            let first: Answering = |_| Answer::new(500).body("not shown");
            let last: Answering = match status {
                500 => |_| Answer::new(500).header("x-of", "b").body(LAST),
                502 => |_| Answer::new(502).header("x-of", "b").body(LAST),
                _ => |_| Answer::new(529).header("x-of", "b").header("retry-after", "9").body(LAST),
            };
            let (_rig, reply) = asked(protocol, mode, first, last).await;
            assert_eq!((reply.status(), reply.body.as_slice()), (status, LAST), "{protocol:?} {mode:?}");
            let header = |name| reply.head.header(name);
            assert_eq!((header("x-of"), header("x-qcc-endpoint")), (Some("b"), Some("b")));
            assert_eq!((header("x-qcc-attempts"), header("x-qcc-error")), (Some("2"), None));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_rate_limit_carries_the_earliest_return_of_all() {
    for (protocol, mode) in each() {
        let a: Answering = |_| Answer::new(429).header("retry-after", "30").body("a");
        let b: Answering = |_| Answer::new(429).header("retry-after", "900").body("b waits longer");
        let (_rig, reply) = asked(protocol, mode, a, b).await;
        assert_eq!((reply.status(), reply.body.as_slice()), (429, &b"b waits longer"[..]));
        assert!((15..=30).contains(&retry_after(&reply)), "{reply:?}");
        assert_eq!(reply.head.header("x-qcc-error"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_keys_are_never_the_clients_401_and_waiting_is_no_use() {
    for (protocol, mode) in each() {
        for refusal in [401, 403] {
            let refuse: Answering = match refusal {
                401 => |_| llm::error(401),
                _ => |_| llm::error(403),
            };
            let (rig, first) = asked(protocol, mode, refuse, refuse).await;
            // With attempts made, and then with none.
            for reply in [first, rig.ask("again", mode).await] {
                let kind = if protocol.is_openai() { "no_endpoint" } else { "permission_error" };
                let body = assert_own(&reply, protocol, 403, "no_endpoint", kind);
                assert_eq!(reply.head.header("x-should-retry"), Some("false"), "{reply:?}");
                let message = body["error"]["message"].as_str().expect("a message");
                for part in ["a ", "b ", "key"] {
                    assert!(message.contains(part), "{part:?}: {message}");
                }
            }
            assert_eq!((rig.a.users().len(), rig.b.users().len()), (1, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_waiting_helps_the_answer_says_how_long() {
    for (protocol, mode) in each() {
        let a: Answering = |_| Answer::new(429).header("retry-after", "30");
        let b: Answering = |_| Answer::new(529).header("retry-after", "90");
        let (rig, _) = asked(protocol, mode, a, b).await;
        let reply = rig.ask("too early", mode).await;
        let (status, kind) = match protocol.is_openai() {
            false => (529, "overloaded_error"),
            true => (503, "server_is_overloaded"),
        };
        assert_own(&reply, protocol, status, "no_endpoint", kind);
        assert_eq!(reply.head.header("x-should-retry"), Some("true"), "{reply:?}");
        assert!((10..=30).contains(&retry_after(&reply)), "{reply:?}");
        assert_eq!((rig.a.users().len(), rig.b.users().len()), (1, 1), "cooldowns are respected");
    }
}
