//! HTTP/2 to upstreams that offer it.

use h2::Reason;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::{Asked, Move, healthy, whole};
use crate::support::tls::TlsServer;
use crate::support::{
    Client, Cluster, Endpoint, Gate, Http2Upstream, Qcc, Reply, Upstream, eventually, exchange, llm, within,
};
use crate::trusting;

fn alone(upstream: &Http2Upstream) -> (Qcc, Client) {
    trusting(Cluster::new("work").endpoint(Endpoint::at("a", &upstream.tls.url()).per_request()))
}

/// What `first` says for the first POST, all else well.
fn at_first(first: impl Fn() -> Vec<Move> + Send + Sync + 'static) -> impl Fn(&Asked) -> Vec<Move> {
    move |asked| if asked.says("first") { first() } else { healthy(asked) }
}

fn served_once(reply: Reply, by: &str) {
    assert_eq!(reply.expect_from(by).attempts(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_arrives_as_it_was_sent_with_the_authority_in_its_own_place() {
    let upstream = Http2Upstream::healthy();
    let url = upstream.tls.url();
    let endpoint = Endpoint::at("a", &format!("{url}/relay")).key("sk-of-a");
    let (_qcc, client) = trusting(Cluster::new("work").endpoint(endpoint));
    let body = llm::message(&"x".repeat(300_000));
    let request = client.post("/v1/messages?beta=true", &body).header("anthropic-version", "2023-06-01");
    exchange(request.header("connection", "x-drop").header("x-drop", "1")).await.expect_from("a");
    let asked = upstream.post_that("the request", |_| true).await;
    assert_eq!(asked.uri.to_string(), format!("{url}/relay/v1/messages?beta=true"));
    assert_eq!(asked.body, serde_json::to_vec(&body).unwrap());
    for absent in ["host", "connection", "x-drop", "transfer-encoding", "keep-alive"] {
        assert!(!asked.headers.contains_key(absent), "{absent}");
    }
    assert_eq!(asked.headers["x-api-key"], "sk-of-a");
    assert_eq!(asked.headers["anthropic-version"], "2023-06-01");
    assert_eq!(asked.headers["content-length"], asked.body.len().to_string().as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_at_once_share_a_few_connections() {
    let gate = Gate::new("answer");
    let held = gate.clone();
    let upstream = Http2Upstream::start(move |asked| {
        std::iter::once(Move::Wait(held.clone())).chain(healthy(asked)).collect()
    });
    let (_qcc, client) = alone(&upstream);
    let asking: Vec<_> = (0..100).map(|number| client.asking(&format!("number {number}"))).collect();
    gate.arrived(100).await;
    gate.open();
    for asking in asking {
        served_once(asking.reply().await, "a");
    }
    assert!(upstream.tls.handshakes() <= 5, "{} connections", upstream.tls.handshakes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_that_comes_before_the_upstream_has_said_how_much_it_takes_is_served() {
    for at_once in [1, 4] {
        let told = Gate::new("settings");
        let upstream = Http2Upstream::taking(at_once, &told);
        let (qcc, client) = alone(&upstream);
        let asking: Vec<_> = (0..40).map(|number| client.asking(&format!("number {number}"))).collect();
        qcc.endpoint_when("a", "has all requests", |a| a["in_flight"] == 40).await;
        told.arrived(1).await;
        told.open();
        for asking in asking {
            served_once(asking.reply().await, "a");
        }
        let a = qcc.endpoint("a");
        assert_eq!((&a["state"], &a["requests"]["failed"]), (&"healthy".into(), &0.into()), "{at_once}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_a_connection_takes_do_not_wait_for_one_handshake_after_another() {
    let upstream = Http2Upstream::healthy();
    let (gate, to) = (Gate::new("handshakes"), upstream.tls.address());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let held = gate.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let held = held.clone();
            tokio::spawn(async move {
                held.pass().await;
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let (_qcc, client) = trusting(Cluster::new("work").endpoint(Endpoint::at("a", &url).per_request()));
    let asking: Vec<_> = (0..100).map(|number| client.asking(&format!("number {number}"))).collect();
    // 32 on each.
    gate.arrived(4).await;
    gate.open();
    for asking in asking {
        served_once(asking.reply().await, "a");
    }
    assert!(upstream.tls.handshakes() <= 5, "{} connections", upstream.tls.handshakes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_resets_its_stream_and_not_the_connection() {
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let upstream = Http2Upstream::start(at_first(move || vec![Move::Wait(held.clone())]));
    let (qcc, client) = alone(&upstream);
    let leaving = client.asking("first");
    gate.arrived(1).await;
    let staying = client.asking("second");
    served_once(staying.reply().await, "a");
    leaving.leave().await;
    eventually("the stream is reset", || upstream.posts().iter().any(|asked| asked.was_reset())).await;
    served_once(client.ask("third").await, "a");
    assert!(upstream.asked().iter().all(|asked| asked.connection == 0));
    let counts = qcc.endpoint_when("a", "is counted", |a| a["requests"]["neutral"] == 1).await;
    assert_eq!(counts["requests"]["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_within_a_stream_resets_it() {
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let upstream = Http2Upstream::start(move |_| {
        let shown = llm::message_events(&["one"]).into_iter().take(llm::EVENTS_BEFORE_CONTENT + 1);
        let mut moves = vec![Move::Head(200, "text/event-stream")];
        moves.extend(shown.map(|event| Move::Data(event.into_bytes())));
        moves.push(Move::Wait(held.clone()));
        moves
    });
    let (_qcc, client) = alone(&upstream);
    let request = client.post("/v1/messages", &llm::streamed(llm::message("one")));
    let mut response = within("a head", request.send()).await.unwrap();
    assert!(within("content", response.chunk()).await.unwrap().is_some());
    gate.arrived(1).await;
    drop((response, client));
    eventually("the stream is reset", || upstream.posts()[0].was_reset()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_refused_is_sent_again_without_counting() {
    let upstream = Http2Upstream::start({
        let refused = std::sync::atomic::AtomicBool::new(false);
        move |asked| match refused.swap(true, std::sync::atomic::Ordering::SeqCst) {
            false => vec![Move::Reset(Reason::REFUSED_STREAM)],
            true => healthy(asked),
        }
    });
    let (qcc, client) = alone(&upstream);
    served_once(client.ask("one").await, "a");
    assert_eq!(upstream.posts().len(), 2);
    assert_eq!(qcc.endpoint("a")["requests"]["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_refuses_every_stream_is_left_for_another() {
    let upstream = Http2Upstream::start(|_| vec![Move::Reset(Reason::REFUSED_STREAM)]);
    let fallback = Upstream::healthy();
    let (qcc, client) = trusting(Cluster::tiers([
        Endpoint::at("a", &upstream.tls.url()).per_request(),
        Endpoint::new("b", &fallback),
    ]));
    assert_eq!(client.ask("one").await.expect_from("b").attempts(), "2");
    assert!(upstream.posts().len() <= 3, "{} sends", upstream.posts().len());
    assert_eq!(qcc.endpoint("a")["cause"], "network");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_goodbye_what_runs_is_finished_and_what_comes_gets_a_new_connection() {
    let gate = Gate::new("first answer");
    let held = gate.clone();
    let upstream = Http2Upstream::start(move |asked| {
        let wait = asked.says("first").then(|| Move::Wait(held.clone()));
        wait.into_iter().chain(healthy(asked)).collect()
    });
    let (_qcc, client) = alone(&upstream);
    let first = client.asking("first");
    gate.arrived(1).await;
    upstream.say_goodbye();
    for round in 0..20 {
        served_once(client.ask(&format!("round {round}")).await, "a");
    }
    gate.open();
    served_once(first.reply().await, "a");
    assert_eq!(upstream.posts().len(), 21);
    assert_eq!(upstream.posts().last().unwrap().connection, 1);
}

/// The frames of RFC 9113 §6.5 and §6.8: SETTINGS without any, and a GOAWAY by which no stream was processed.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const NOTHING_WAS_PROCESSED: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_above_the_last_one_processed_is_sent_again_and_never_counted() {
    let goodbyes = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let said = goodbyes.clone();
    let goer = TlsServer::start(&["h2"], move |mut stream, _| {
        let said = said.clone();
        async move {
            // The preface, and frames up to the first HEADERS (type 1).
            let mut preface = [0; 24];
            if stream.read_exact(&mut preface).await.is_err() || stream.write_all(&SETTINGS).await.is_err() {
                return;
            }
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                let mut payload = vec![0; length];
                let _ = stream.read_exact(&mut payload).await;
                if head[3] == 1 {
                    said.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let _ = stream.write_all(&NOTHING_WAS_PROCESSED).await;
                    let _ = stream.flush().await;
                    // Until the peer closes, so that no reset overtakes the frame.
                    while stream.read(&mut payload).await.is_ok_and(|length| length > 0) {}
                    return;
                }
            }
        }
    });
    let fallback = Upstream::healthy();
    let (qcc, client) = trusting(Cluster::tiers([
        Endpoint::at("a", &goer.url()).per_request(),
        Endpoint::new("b", &fallback),
    ]));
    // Never counted as lost, which would be shown to the client where billing is by the request.
    assert_eq!(client.ask("one").await.expect_from("b").attempts(), "2");
    assert_eq!(goodbyes.load(std::sync::atomic::Ordering::SeqCst), 3);
    assert_eq!(qcc.endpoint("a")["cause"], "network");
}

/// Shows content, then stops the stream with `reason` once the gate lets it.
fn cut(asked: &Asked, gate: &Gate, reason: Reason) -> Vec<Move> {
    let mut moves: Vec<Move> = healthy(asked);
    moves.truncate(match asked.says("\"stream\":true") {
        true => 1 + llm::EVENTS_BEFORE_CONTENT + 1,
        false => 2,
    });
    moves.extend([Move::Wait(gate.clone()), Move::Reset(reason)]);
    moves
}

/// Whether the answer looks whole to its client. It is cut once its first bytes are there.
async fn looks_whole(client: &Client, body: &Value, gate: &Gate) -> bool {
    within("an answer and its end", async {
        let mut response = client.post("/v1/messages", body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.chunk().await.unwrap().is_some());
        gate.release(1);
        loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_never_looks_whole() {
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR, Reason::CANCEL, Reason::REFUSED_STREAM] {
        let gate = Gate::new("content is shown");
        let held = gate.clone();
        let upstream = Http2Upstream::start(move |asked| cut(asked, &held, reason));
        let (qcc, client) = alone(&upstream);
        assert!(!looks_whole(&client, &llm::streamed(llm::message("one")), &gate).await, "{reason:?}");
        assert!(!looks_whole(&client, &llm::message("two"), &gate).await, "{reason:?}");
        let endpoint = qcc.endpoint_when("a", "has failed twice", |a| a["requests"]["failed"] == 2).await;
        assert_eq!(endpoint["last_error"].as_str().map(|error| error.contains("broke off")), Some(true));
        assert_eq!(upstream.posts().len(), 2, "nothing is sent again after content");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_keeps_every_later_request_off_the_shared_connection() {
    let (first_answer, second_answer) = (Gate::new("first answer"), Gate::new("second answer"));
    let (first, second) = (first_answer.clone(), second_answer.clone());
    let upstream = Http2Upstream::start(move |asked| {
        let (gate, answer) = match asked.says("first") {
            true => (&first, whole(401, &llm::anthropic_error("authentication_error", "invalid x-api-key"))),
            false => (&second, healthy(asked)),
        };
        std::iter::once(Move::Wait(gate.clone())).chain(answer).collect()
    });
    let fallback = Upstream::healthy();
    let (qcc, client) = trusting(Cluster::tiers([
        Endpoint::at("a", &upstream.tls.url()).per_request(),
        Endpoint::new("b", &fallback),
    ]));
    let refused = client.asking("first");
    first_answer.arrived(1).await;
    let late = client.asking("second");
    second_answer.arrived(1).await;
    first_answer.open();
    assert_eq!(refused.reply().await.expect_from("b").attempts(), "2");
    let later: Vec<_> = (0..50).map(|number| client.asking(&format!("later {number}"))).collect();
    for asking in later {
        served_once(asking.reply().await, "b");
    }
    second_answer.open();
    served_once(late.reply().await, "a");
    assert_eq!(upstream.streams(), 2, "only what was on the wire before the refusal");
    assert_eq!(qcc.endpoint("a")["cause"], Value::from("auth"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_that_comes_before_the_request_is_read_is_whole() {
    let hasty = TlsServer::start(&["h2"], |stream, _| async move {
        let Ok(mut server) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = server.accept().await {
            let head = hyper::Response::builder().status(413).body(()).unwrap();
            let mut answer = respond.send_response(head, false).unwrap();
            answer.send_data(bytes::Bytes::from_static(b"said early"), true).unwrap();
            // Unread, so its stream is reset with NO_ERROR once the answer is out (RFC 9113 §8.1).
            drop(request);
        }
    });
    let endpoint = Endpoint::at("a", &hasty.url()).per_request();
    let (qcc, client) = trusting(Cluster::new("work").endpoint(endpoint));
    for _ in 0..20 {
        let reply = client.ask(&"x".repeat(1 << 20)).await;
        assert_eq!((reply.status, reply.text().as_str()), (413, "said early"));
    }
    assert_eq!(qcc.endpoint("a")["requests"]["failed"], 0);
}
