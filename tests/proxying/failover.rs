//! The verdict table by status code, and by what happens before a head.

use serde_json::Value;

use super::support::client::raw_request;
use super::support::{
    Answer, Cluster, End, Endpoint, Gate, Raw, Upstream, eventually, exchange, llm, never_within,
};
use super::{started, two};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_endpoints_fault_is_served_by_another() {
    for (status, state, cause, failures) in [
        (401, "unhealthy", "auth".into(), None),
        (403, "unhealthy", "auth".into(), None),
        (402, "unhealthy", "quota".into(), None),
        (429, "healthy", Value::Null, Some(0)),
        (529, "healthy", Value::Null, Some(0)),
        (500, "healthy", Value::Null, Some(1)),
        (502, "healthy", Value::Null, Some(1)),
        (503, "healthy", Value::Null, Some(1)),
        (504, "healthy", Value::Null, Some(1)),
        (301, "healthy", Value::Null, Some(1)),
        (307, "healthy", Value::Null, Some(1)),
    ] {
        let (a, b) = (Upstream::start(llm::on_post(llm::always(status))), Upstream::healthy());
        let (qcc, client) = started(two(&a, &b));
        assert_eq!(client.ask("once").await.expect_from("b").attempts(), "2", "{status}");
        let after = qcc
            .endpoint_when("a", "has its verdict", |a| a["requests"]["sent"] == 1 && a["in_flight"] == 0)
            .await;
        assert_eq!((after["state"].as_str(), &after["cause"]), (Some(state), &cause), "{status}: {after:#}");
        if let Some(failures) = failures {
            assert_eq!(after["failures"], failures, "{status}: {after:#}");
        }
        assert_eq!((a.posts().len(), b.posts().len()), (1, 1), "{status}");
        let (first, second) = (a.posts()[0].clone(), b.posts()[0].clone());
        assert_eq!((first.body(), &first.target), (second.body(), &second.target), "{status}");
        assert_eq!(second.header("x-api-key"), Some("sk-key-of-b-0123456789"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_503_that_says_when_to_come_back_is_a_cooldown() {
    let a = Upstream::start(llm::on_post(|_| llm::error(503).header("retry-after", "20")));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    client.ask("overloaded").await.expect_from("b");
    let after = qcc.endpoint_when("a", "cools down", |a| a["cooldown_until"].is_string()).await;
    assert_eq!((&after["state"], &after["failures"]), (&"healthy".into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_requests_fault_is_shown_as_it_is_and_leaves_health_alone() {
    for status in [400, 404, 405, 409, 413, 422] {
        let (a, b) = (Upstream::start(llm::on_post(llm::always(status))), Upstream::healthy());
        let (qcc, client) = started(two(&a, &b));
        let before = qcc.endpoint("a");
        for _ in 0..4 {
            let reply = client.ask("wrong").await;
            assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (status, "a", "1"));
            assert_eq!(reply.json()["error"]["message"], format!("upstream says {status}"));
            assert_eq!(reply.own_error(), None);
        }
        let after = qcc.endpoint_when("a", "has its verdicts", |a| a["requests"]["neutral"] == 4).await;
        for field in ["state", "failures", "epoch", "level", "usable", "cooldown_until"] {
            assert_eq!(after[field], before[field], "{status} {field}");
        }
        assert_eq!(b.posts().len(), 0, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_neither_followed_nor_passed_on() {
    let elsewhere = Upstream::healthy();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/v1/messages", elsewhere.url());
        let a = Upstream::start(llm::on_post(move |_| {
            Answer::new(status).header("location", &location).body("moved")
        }));
        let (_qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
        let reply = client.ask("redirected").await;
        assert_eq!((reply.status, reply.header("location")), (status, None));
        assert_eq!(a.posts().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_lost_before_its_head_is_repeated_where_tokens_are_billed() {
    for end in [End::Fin, End::Reset] {
        let (a, b) = (Upstream::start(llm::on_post(move |_| Answer::nothing(end))), Upstream::healthy());
        let (qcc, client) = started(two(&a, &b));
        assert_eq!(client.ask("lost").await.expect_from("b").attempts(), "2");
        assert_eq!(a.posts().len(), 1, "no POST is sent twice to one endpoint");
        let after = qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
        assert!(after["failures"].as_u64() >= Some(1), "{after:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_lost_before_its_head_is_not_repeated_where_requests_are_billed() {
    let (p, b) = (Upstream::start(|_| Answer::nothing(End::Fin)), Upstream::healthy());
    let (_qcc, client) =
        started(Cluster::tiers([Endpoint::new("p", &p).per_request(), Endpoint::new("b", &b)]));
    let reply = client.ask("lost").await;
    assert_eq!((reply.status, reply.own_error()), (502, Some("upstream_lost")));
    assert_eq!(
        (reply.json()["type"].as_str(), reply.json()["error"]["type"].as_str()),
        (Some("error"), Some("api_error"))
    );
    assert!(reply.text().contains("billed"), "{}", reply.text());
    assert_eq!((p.posts().len(), b.posts().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_free_for_every_billing() {
    let (p, b) = (Upstream::stopped(llm::healthy), Upstream::healthy());
    let (_qcc, client) =
        started(Cluster::tiers([Endpoint::new("p", &p).per_request(), Endpoint::new("b", &b)]));
    assert_eq!(client.ask("refused").await.expect_from("b").attempts(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_a_head_in_time_is_given_up() {
    for (setting, request) in [
        ("first_byte = '300ms'", llm::streamed(llm::message("silent"))),
        ("answer = '300ms'", llm::message("silent")),
    ] {
        let (a, b) = (Upstream::start(llm::on_post(|_| Answer::nothing(End::Stall))), Upstream::healthy());
        let (qcc, client) = started(two(&a, &b).timeouts(setting));
        exchange(client.post("/v1/messages", &request)).await.expect_from("b");
        eventually("the silent exchange is closed", || a.posts()[0].was_abandoned()).await;
        let after = qcc.endpoint_when("a", "has failed", |a| a["requests"]["failed"] == 1).await;
        assert_eq!(after["failures"], 1, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_tried_at_most_max_attempts_times_and_once_at_each_endpoint() {
    for (setting, attempts) in [("max_attempts = 2", 2), ("max_attempts = 9", 3)] {
        let upstreams: Vec<_> = (0..3).map(|_| Upstream::start(llm::on_post(llm::always(529)))).collect();
        let names = ["a", "b", "c"];
        let endpoints = names.iter().zip(&upstreams).map(|(name, upstream)| Endpoint::new(name, upstream));
        let (_qcc, client) = started(Cluster::tiers(endpoints).line(setting));
        let reply = client.ask("everywhere").await;
        assert_eq!(
            (reply.status, reply.endpoint()),
            (529, names[attempts - 1]),
            "the last answer is the client's"
        );
        assert_eq!(reply.attempts(), attempts.to_string());
        let got: Vec<_> = upstreams.iter().map(|upstream| upstream.posts().len()).collect();
        assert_eq!(got, [1, 1, usize::from(attempts == 3)], "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_of_an_upstream_reaches_the_client_unchanged() {
    let (a, b) =
        (Upstream::start(llm::on_post(llm::always(500))), Upstream::start(llm::on_post(llm::always(502))));
    let (_qcc, client) = started(two(&a, &b));
    let reply = client.ask("failing").await;
    assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (502, "b", "2"));
    assert_eq!(reply.text(), llm::anthropic_error("api_error", "upstream says 502").to_string());
    assert_eq!(reply.own_error(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_head_is_nobodys_failure() {
    let gate = Gate::new("answer at a");
    let held = gate.clone();
    let a = Upstream::start(llm::on_post(move |request| llm::healthy(request).after(&held)));
    let b = Upstream::healthy();
    let (qcc, _client) = started(two(&a, &b));
    let before = qcc.endpoint("a");
    let mut raw = Raw::connect(qcc.address()).await;
    let body = llm::message("leaving").to_string();
    raw.send(raw_request("POST", "/v1/messages", qcc.address(), &[], body.as_bytes())).await;
    gate.arrived(1).await;
    drop(raw);
    eventually("the upstream sees it", || a.posts()[0].was_abandoned()).await;
    let after = qcc.endpoint_when("a", "has its verdict", |a| a["requests"]["neutral"] == 1).await;
    for field in ["state", "failures", "epoch", "level"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!((after["in_flight"].as_u64(), b.posts().len()), (Some(0), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_was_closed_costs_no_attempt() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let (qcc, client) = started(two(&a, &b));
    client.ask("opens a connection").await.expect_from("a");
    a.stop();
    a.restart();
    assert_eq!(client.ask("needs a new one").await.expect_from("a").attempts(), "1");
    assert_eq!((a.posts().len(), b.posts().len()), (2, 0));
    assert_eq!(qcc.endpoint("a")["requests"]["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_whose_body_is_cut_never_looks_whole() {
    for status in [400, 500] {
        let a = Upstream::start(llm::on_post(move |_| {
            let answer = Answer::new(status).header("content-type", "application/json").chunked();
            answer.chunk(r#"{"type":"error","#).ending(End::Fin)
        }));
        let (_qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
        let reply = client.ask("cut").await;
        assert_eq!((reply.status, reply.whole), (status, false), "a cut must not look like an end");
        assert_eq!(reply.text(), r#"{"type":"error","#, "what came is forwarded");
    }
}

/// A whole answer whose first bytes come alone; the rest waits at `gate`.
fn in_two_parts(gate: &Gate, first: &str, rest: &str) -> Answer {
    let answer = Answer::new(200).header("content-type", "application/json").chunked();
    answer.chunk(first).wait(gate).chunk(rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_first_bytes_say_little_is_waited_for() {
    let gate = Gate::new("the rest of the answer");
    let (held, body) = (gate.clone(), llm::message_answer("slowly").to_string());
    let whole = body.clone();
    let a = Upstream::start(llm::on_post(move |_| in_two_parts(&held, &body[..1], &body[1..])));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let asking = client.asking("slow");
    gate.arrived(1).await;
    never_within("a request at b", std::time::Duration::from_millis(300), || !b.posts().is_empty()).await;
    gate.open();
    assert_eq!(asking.reply().await.expect_from("a").text(), whole);
    assert_eq!(qcc.endpoint_when("a", "has passed", |a| a["requests"]["passed"] == 1).await["failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_a_200_is_one_however_its_bytes_are_cut() {
    let error = llm::anthropic_error("authentication_error", "no such key").to_string();
    for cut in [1, 10, error.len() / 2, error.len() - 2] {
        let gate = Gate::new("the rest of the error");
        let (held, error) = (gate.clone(), error.clone());
        let a = Upstream::start(llm::on_post(move |_| in_two_parts(&held, &error[..cut], &error[cut..])));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        let asking = client.asking("refused");
        gate.arrived(1).await;
        never_within("an answer", std::time::Duration::from_millis(100), || asking.is_answered()).await;
        gate.open();
        asking.reply().await.expect_from("b");
        assert_eq!(qcc.endpoint_in("a", "unhealthy").await["cause"], "auth", "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_what_may_be_asked_says_nothing_of_health() {
    let a = Upstream::start(|request| match request.method.as_str() {
        "OPTIONS" | "HEAD" => Answer::new(200),
        _ => llm::healthy(request),
    });
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    for method in ["OPTIONS", "HEAD", "OPTIONS", "HEAD"] {
        let url = format!("{}/v1/messages", client.base);
        let reply = exchange(client.http.request(method.parse().unwrap(), url)).await;
        assert_eq!((reply.status, reply.endpoint()), (200, "a"), "{method}");
    }
    let after = qcc.endpoint_when("a", "has nothing in flight", |a| a["in_flight"] == 0).await;
    assert_eq!((&after["failures"], &after["requests"]["failed"]), (&0.into(), &0.into()), "{after:#}");
    client.ask("as ever").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lives_at_one_endpoint_is_asked_for_once_unless_nothing_was_sent() {
    let file = |status| {
        move |request: &super::support::Recorded| {
            if request.path() == "/v1/files/f" { llm::error(status) } else { llm::healthy(request) }
        }
    };
    for (status, shown, own_error) in [(500, 500, None), (404, 404, None), (401, 529, Some("no_endpoint"))] {
        let (a, b) = (Upstream::start(file(status)), Upstream::healthy());
        let (_qcc, client) = started(two(&a, &b));
        let request = || client.get("/v1/files/f").header("anthropic-version", "2023-06-01");
        let reply = exchange(request()).await;
        assert_eq!((reply.status, reply.own_error(), reply.attempts()), (shown, own_error, "1"), "{status}");
        assert_eq!(b.matching(|request| request.path() == "/v1/files/f").len(), 0, "{status}");
    }
    let (a, b) = (Upstream::stopped(llm::healthy), Upstream::start(file(404)));
    let (_qcc, client) = started(two(&a, &b));
    let reply = exchange(client.get("/v1/files/f").header("anthropic-version", "2023-06-01")).await;
    assert_eq!((reply.status, reply.endpoint()), (404, "b"), "nothing was sent to a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_in_a_row_is_left_alone_for_longer_than_it_announces() {
    let a = Upstream::start(llm::on_post(|_| llm::error(529).header("retry-after", "0")));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]).line("queue_timeout = '0s'"));
    assert_eq!(client.ask("overloaded").await.status, 529);
    let after = qcc.endpoint_when("a", "cools down", |a| a["cooldown_until"].is_string()).await;
    assert_eq!((&after["state"], &after["failures"]), (&"healthy".into(), &0.into()));
    // Nothing is sent during the cooldown, so this answer is qcc's own.
    assert_eq!(client.ask("too early").await.own_error(), Some("no_endpoint"));
    assert_eq!(a.posts().len(), 1);
}
