//! The race that started the project, forced into its order by gates: two requests are on the wire
//! at `a` when the first is refused. In each test both are there before either is answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use support::client::Asking;
use support::{Answer, Client, Cluster, Endpoint, Gate, Qcc, Recorded, Upstream, eventually, llm};

struct Race {
    a: Upstream,
    b: Upstream,
    qcc: Qcc,
    client: Client,
    first_answer: Gate,
    second_answer: Gate,
}

impl Race {
    /// `a` is used before `b`. It will refuse the first request and answer the second with `late`.
    fn start(late: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let (first_answer, second_answer) = (Gate::new("first answer"), Gate::new("second answer"));
        let (first, second) = (first_answer.clone(), second_answer.clone());
        let a = Upstream::start(llm::on_post(move |request| match () {
            () if request.says("first") => llm::error(401).after(&first),
            () if request.says("second") => late(request).after(&second),
            () => llm::healthy(request),
        }));
        let b = Upstream::healthy();
        let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]));
        let client = Client::of(&qcc);
        Self { a, b, qcc, client, first_answer, second_answer }
    }

    /// T1: both requests have reached `a`, and neither is answered.
    async fn both_on_the_wire(&self) -> (Asking, Asking) {
        let first = self.client.asking("first");
        self.first_answer.arrived(1).await;
        let second = self.client.asking("second");
        self.second_answer.arrived(1).await;
        (first, second)
    }

    /// T2: the first is refused. Gives `a` as it is from then on.
    async fn first_is_refused(&self, first: Asking) -> Value {
        self.first_answer.open();
        let reply = first.reply().await.expect_from("b");
        assert_eq!(reply.attempts(), "2");
        self.qcc.endpoint_in("a", "unhealthy").await
    }

    fn a_now(&self) -> Value {
        self.qcc.endpoint("a")
    }
}

/// What a verdict could have moved.
fn word(endpoint: &Value) -> [&Value; 6] {
    ["state", "epoch", "level", "failures", "cause", "check_method"].map(|field| &endpoint[field])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_two_requests_are_on_the_wire_at_the_first_endpoint() {
    let race = Race::start(llm::healthy);
    let _both = race.both_on_the_wire().await;
    assert_eq!((race.a.users().len(), race.b.users().len()), (2, 0));
    let a = race.a_now();
    assert_eq!((&a["state"], &a["in_flight"]), (&"healthy".into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_refused_key_benches_the_endpoint_and_its_client_is_served_by_another() {
    let race = Race::start(llm::healthy);
    let (first, _second) = race.both_on_the_wire().await;
    let a = race.first_is_refused(first).await;
    assert_eq!((&a["cause"], &a["check_method"]), (&"auth".into(), &"chat".into()));
    assert_eq!((&a["usable"], &a["level"], &a["requests"]["failed"]), (&false.into(), &1.into(), &1.into()));
    assert_eq!(race.b.users().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_no_later_request_reaches_the_refusing_endpoint() {
    let race = Race::start(llm::healthy);
    let (first, _second) = race.both_on_the_wire().await;
    race.first_is_refused(first).await;
    let later: Vec<_> = (0..50).map(|number| race.client.asking(&format!("later {number}"))).collect();
    for asking in later {
        assert_eq!(asking.reply().await.expect_from("b").attempts(), "1");
    }
    assert_eq!(race.a.posts().len(), 2, "only what was on the wire before the refusal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_second_refusal_that_comes_late_fails_over_and_moves_nothing() {
    let race = Race::start(llm::always(401));
    let (first, second) = race.both_on_the_wire().await;
    let before = race.first_is_refused(first).await;
    race.second_answer.open();
    assert_eq!(second.reply().await.expect_from("b").attempts(), "2");
    let after = race.qcc.endpoint_when("a", "has a stale verdict", |a| a["requests"]["stale"] == 1).await;
    assert_eq!(word(&after), word(&before));
    assert_eq!(after["next_check_at"], before["next_check_at"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t5_a_success_that_comes_late_does_not_revive_the_endpoint() {
    let race = Race::start(llm::healthy);
    let (first, second) = race.both_on_the_wire().await;
    let before = race.first_is_refused(first).await;
    race.second_answer.open();
    assert_eq!(second.reply().await.expect_from("a").attempts(), "1");
    let after = race.qcc.endpoint_when("a", "has a stale verdict", |a| a["requests"]["stale"] == 1).await;
    assert_eq!(word(&after), word(&before));
    race.client.ask("later").await.expect_from("b");
    assert_eq!(race.a.posts().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t6_a_refusal_from_before_the_recovery_does_not_bench_the_endpoint_again() {
    let race = Race::start(llm::always(401));
    let (first, second) = race.both_on_the_wire().await;
    race.first_is_refused(first).await;
    race.qcc.command("recheck", "a");
    let recovered = race.qcc.endpoint_in("a", "healthy").await;
    race.second_answer.open();
    assert_eq!(second.reply().await.expect_from("b").attempts(), "2");
    let after = race.qcc.endpoint_when("a", "has a stale verdict", |a| a["requests"]["stale"] == 1).await;
    assert_eq!(word(&after), word(&recovered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_a_recovered_endpoint_serves_again() {
    let race = Race::start(llm::healthy);
    let (first, _second) = race.both_on_the_wire().await;
    let benched = race.first_is_refused(first).await;
    race.qcc.command("recheck", "a");
    let recovered = race.qcc.endpoint_in("a", "healthy").await;
    assert_eq!(recovered["cause"], Value::Null);
    assert!(recovered["epoch"].as_u64() > benched["epoch"].as_u64());
    let checks = race.a.matching(Recorded::is_chat_check);
    assert_eq!(checks.len(), 1, "one chat check brought it back");
    // Slow start may give it only a part of the first requests.
    for _ in 0..200 {
        if race.client.ask("after").await.endpoint() == "a" {
            return;
        }
    }
    panic!("200 requests after its recovery, and none went to a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_began_before_the_refusal_runs_to_its_end() {
    let rest = Gate::new("rest of the stream");
    let held = rest.clone();
    let events = llm::message_events(&["one", "two"]);
    let whole = events.concat();
    let race = Race::start(move |_| {
        let (shown, rest) = events.split_at(llm::EVENTS_BEFORE_CONTENT + 1);
        rest.iter().fold(Answer::events(shown).wait(&held), |answer, event| answer.chunk(event.as_str()))
    });
    race.second_answer.open();
    let first = race.client.asking("first");
    race.first_answer.arrived(1).await;
    let client = race.client.clone();
    let streaming = tokio::spawn(async move { client.ask_streamed("second").await });
    rest.arrived(1).await;
    race.first_is_refused(first).await;
    rest.open();
    let reply = support::within("the stream's end", streaming).await.unwrap().expect_from("a");
    assert_eq!(reply.text(), whole);
    eventually("the answer is whole", || race.a.posts().iter().any(|request| request.was_answered())).await;
    assert_eq!(race.a_now()["state"], "unhealthy");
}
