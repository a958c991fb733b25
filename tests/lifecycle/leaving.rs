//! Clients that leave, in the phases and ways that `tests/wire/leaving.rs` does not show: reset connections and
//! streams; while a connection is made; while they send; while the answer is a trial.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::support::client::raw_request;
use super::support::proxy::named;
use super::support::under::descriptors;
use super::support::{
    Answer, Client, Endpoint, Gate, Http2Client, Qcc, Raw, Upstream, eventually, llm, within,
};
use super::{one, streams_with_a_pause, two};

/// Of the contract: how soon an exchange is closed whose client went away.
const CANCELLED_WITHIN: Duration = Duration::from_millis(250);

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// HTTP/1.1: the connection is closed.
    Fin,
    /// HTTP/1.1: the connection is reset.
    Rst,
    /// HTTP/2: the stream is reset, the connection stays.
    RstStream,
}

const WAYS: [Way; 3] = [Way::Fin, Way::Rst, Way::RstStream];

/// A request under way.
enum Asking {
    Http1(TcpStream),
    Http2(Http2Client, tokio::task::JoinHandle<()>),
}

impl Asking {
    async fn of(qcc: &Qcc, way: Way, body: &Value) -> Self {
        match way {
            Way::Fin | Way::Rst => {
                let stream = within("a connection", TcpStream::connect(qcc.address())).await.unwrap();
                if way == Way::Rst {
                    stream.set_zero_linger().unwrap();
                }
                let body = body.to_string();
                let headers = ["content-type: application/json", "x-api-key: client-key"];
                let request = raw_request("POST", "/v1/messages", qcc.address(), &headers, body.as_bytes());
                let mut raw = Raw::over(stream);
                raw.send(request).await;
                Self::Http1(raw.into_inner())
            }
            Way::RstStream => {
                let client = Http2Client::connect(qcc.address()).await;
                let (sending, body) = (client.clone(), body.clone());
                let asking = tokio::spawn(async move {
                    let answer = sending.send(&body).await;
                    // Held, so that the stream stays open, until this is aborted.
                    std::future::pending::<()>().await;
                    drop(answer);
                });
                Self::Http2(client, asking)
            }
        }
    }

    fn leave(self) -> Option<Http2Client> {
        match self {
            Self::Http1(stream) => {
                drop(stream);
                None
            }
            Self::Http2(client, asking) => {
                asking.abort();
                Some(client)
            }
        }
    }
}

/// The status from the socket itself: a command takes too long for a limit of 250 ms.
async fn endpoint(qcc: &Qcc, name: &str) -> Value {
    let mut raw = Raw::connect_unix(&qcc.home().socket_path()).await;
    named(&raw.ask(raw_request("GET", "/status", "qcc", &[], b"")).await.json(), name).unwrap()
}

async fn at_rest(qcc: &Qcc, name: &str) -> Value {
    within("nothing is in flight", async {
        loop {
            let endpoint = endpoint(qcc, name).await;
            if endpoint["in_flight"] == 0 {
                return endpoint;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

fn assert_untouched(after: &Value, before: &Value, what: &str) {
    for field in ["state", "cause", "failures", "epoch", "level", "cooldown_until", "last_error"] {
        assert_eq!(after[field], before[field], "{what}: {field}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_head_and_within_a_stream_each_way_of_leaving_cancels_within_250_ms() {
    let mut longest = Duration::ZERO;
    for way in WAYS {
        for is_streaming in [false, true] {
            let what = format!("{way:?}, streaming: {is_streaming}");
            let gate = Gate::new("never opened");
            let paused = streams_with_a_pause(&gate);
            let held = gate.clone();
            let a = Upstream::start(move |request| match is_streaming || !request.is_post() {
                true => paused(request),
                false => Answer::new(200).after(&held),
            });
            let qcc = Qcc::start(&one(&a));
            let before = endpoint(&qcc, "a").await;
            let asking = Asking::of(&qcc, way, &llm::streamed(llm::message("leaving"))).await;
            gate.arrived(1).await;
            if is_streaming {
                // Its content has been seen by the program, too.
                within("the pass", async {
                    while endpoint(&qcc, "a").await["latency_ms"].is_null() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                })
                .await;
            }
            let left = Instant::now();
            let client = asking.leave();
            eventually("the upstream sees it", || a.users()[0].was_abandoned()).await;
            let took = left.elapsed();
            assert!(took <= CANCELLED_WITHIN, "{what}: {took:?}");
            longest = longest.max(took);
            let after = at_rest(&qcc, "a").await;
            assert_untouched(&after, &before, &what);
            let counted = if is_streaming { "passed" } else { "neutral" };
            assert_eq!(
                (&after["requests"][counted], &after["requests"]["failed"]),
                (&1.into(), &0.into()),
                "{what}"
            );
            // A reset stream takes no other with it.
            if let Some(client) = client {
                a.set(llm::healthy);
                client.ask("on the same connection").await.expect_from("a");
            }
        }
    }
    println!("the slowest of 6 exchanges was cancelled after {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_connection_is_made_leaving_ends_the_attempt() {
    // A queue of one that is full: further connections are not answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&silent).listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    for way in WAYS {
        let b = Upstream::healthy();
        let silent = Endpoint::at("silent", &format!("http://{address}")).per_request();
        let cluster = super::support::Cluster::tiers([silent, Endpoint::new("b", &b)]);
        let qcc = Qcc::start(&cluster.timeouts("connect = '10m'"));
        let (before, files_before) = (endpoint(&qcc, "silent").await, descriptors(qcc.pid()));
        let asking = Asking::of(&qcc, way, &llm::message("leaving")).await;
        within("it connects", async {
            while endpoint(&qcc, "silent").await["in_flight"] != 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let left = Instant::now();
        let client = asking.leave();
        let after = at_rest(&qcc, "silent").await;
        let took = left.elapsed();
        assert!(took <= CANCELLED_WITHIN, "{way:?}: {took:?}");
        let kept = usize::from(client.is_some());
        eventually("its descriptors are given back", || descriptors(qcc.pid()) <= files_before + kept).await;
        assert_untouched(&after, &before, &format!("{way:?}"));
        assert_eq!(after["requests"], before["requests"], "nothing was sent: {way:?}");
        assert_eq!(b.users().len(), 0, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_sends_its_body_or_waits_for_an_endpoint_leaving_sends_nothing() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a));
    let files_at_start = descriptors(qcc.pid());
    for way in [Way::Fin, Way::Rst] {
        let stream = within("a connection", TcpStream::connect(qcc.address())).await.unwrap();
        if way == Way::Rst {
            stream.set_zero_linger().unwrap();
        }
        let mut raw = Raw::over(stream);
        let body = llm::message("half of it").to_string();
        let request = raw_request("POST", "/v1/messages", qcc.address(), &["x-api-key: k"], body.as_bytes());
        raw.send(&request[..request.len() - body.len() / 2]).await;
        drop(raw);
    }
    qcc.command("drain", "a");
    eventually("the two and the command are let go", || descriptors(qcc.pid()) <= files_at_start).await;
    let files_before = descriptors(qcc.pid());
    for way in WAYS {
        let asking = Asking::of(&qcc, way, &llm::message("waiting")).await;
        let kept = usize::from(way == Way::RstStream);
        let is_open = || descriptors(qcc.pid()) > files_before;
        eventually("it is accepted", is_open).await;
        let client = asking.leave();
        eventually("it is let go", || descriptors(qcc.pid()) <= files_before + kept).await;
        drop(client);
        eventually("nothing is left", || !is_open()).await;
    }
    qcc.command("enable", "a");
    Client::of(&qcc).ask("the one that stays").await.expect_from("a");
    assert_eq!(a.users().len(), 1);
    assert_eq!(at_rest(&qcc, "a").await["requests"]["sent"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_whose_client_leaves_is_there_for_the_next_request() {
    for way in WAYS {
        let a = Upstream::start(llm::on_post(llm::always(500)));
        let gate = Gate::new("never opened");
        let cluster = super::support::Cluster::tiers([Endpoint::new("a", &a).per_request()])
            .quick_recovery()
            .health("failure_threshold = 1");
        let qcc = Qcc::start(&cluster);
        let client = Client::of(&qcc);
        assert_eq!(client.ask("fails").await.status, 500);
        qcc.endpoint_in("a", "unhealthy").await;
        a.set(llm::on_post({
            let gate = gate.clone();
            move |request| llm::healthy(request).after(&gate)
        }));
        let asking = Asking::of(&qcc, way, &llm::message("the trial")).await;
        gate.arrived(1).await;
        assert_eq!(endpoint(&qcc, "a").await["state"], "recovering", "{way:?}");
        let _kept = asking.leave();
        let after = at_rest(&qcc, "a").await;
        assert_eq!((&after["state"], &after["level"]), (&"recovering".into(), &1.into()), "{way:?}");
        a.set(llm::healthy);
        client.ask("the next trial").await.expect_from("a");
        qcc.endpoint_in("a", "healthy").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_spend_nothing_of_the_retry_budget() {
    let gate = Gate::new("never opened");
    let held = gate.clone();
    let a = Upstream::start(llm::on_post(move |_| Answer::new(200).after(&held)));
    let b = Upstream::healthy();
    let qcc = Qcc::start(&two(&a, &b).health("failure_threshold = 15"));
    for number in 0..12 {
        let way = WAYS[number % WAYS.len()];
        let asking = Asking::of(&qcc, way, &llm::message("leaving")).await;
        gate.arrived(number + 1).await;
        let _kept = asking.leave();
        at_rest(&qcc, "a").await;
    }
    a.set(llm::on_post(llm::always(500)));
    // Three in ten seconds are always allowed.
    for _ in 0..3 {
        Client::of(&qcc).ask("fails at a").await.expect_from("b");
    }
}
