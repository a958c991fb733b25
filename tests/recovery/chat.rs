//! Found out by a user's request that was answered: cleared by a chat check with a code.

use serde_json::{Value, json};

use super::support::answer::End;
use super::support::{Answer, Client, Cluster, Endpoint, Qcc, Recorded, Upstream, llm};
use super::{alone, assert_benched, count, started};

/// Three failing requests, the default threshold, bench the endpoint.
async fn bench(qcc: &Qcc, client: &Client, status: u16) -> Value {
    for number in 1..=3 {
        let reply = client.ask("failing").await;
        assert_eq!((reply.status, reply.endpoint()), (status, "a"), "request {number}");
    }
    qcc.endpoint_when("a", "is benched", |a| a["usable"] == false).await
}

fn model_lists(upstream: &Upstream) -> usize {
    upstream.matching(Recorded::is_model_list).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_requests_are_cleared_by_chat_checks_alone() {
    for status in [500, 502, 504] {
        let a = Upstream::start(llm::on_post(llm::always(status)));
        let (qcc, client) = alone(&a);
        let lists_before = model_lists(&a);
        assert_benched(&bench(&qcc, &client, status).await, "server", "chat");
        let checks = a.wait_for("chat checks", 2, Recorded::is_chat_check).await;
        for check in &checks {
            assert_eq!(check.path(), "/v1/messages");
            assert_eq!(llm::codes_in(&llm::last_user_text(&check.json())).split(' ').count(), 1, "one code");
        }
        assert_ne!(checks[0].body(), checks[1].body(), "each check has a code of its own");
        a.set(llm::healthy);
        qcc.endpoint_in("a", "healthy").await;
        assert_eq!(model_lists(&a), lists_before, "a model list says nothing about failing chats");
        assert_eq!(a.users().len(), 3, "no request is sent to an endpoint that is out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_check_that_may_have_been_taken_is_not_sent_again() {
    let a = Upstream::start(llm::on_post(|request: &Recorded| match request.is_chat_check() {
        // On the connection that a request was answered on.
        true => Answer::nothing(End::Reset),
        false => llm::error(500),
    }));
    let (qcc, client) = alone(&a);
    bench(&qcc, &client, 500).await;
    let checks = a.wait_for("chat checks", 2, Recorded::is_chat_check).await;
    assert_ne!(checks[0].body(), checks[1].body(), "each check has a code of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_failures_than_the_threshold_bench_nothing_and_a_success_forgets_them() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = alone(&a);
    client.ask("one").await;
    client.ask("two").await;
    let shaky = qcc.endpoint_when("a", "has failed twice", |a| a["failures"] == 2).await;
    assert_eq!((&shaky["state"], &shaky["usable"]), (&"healthy".into(), &true.into()));
    a.set(llm::healthy);
    client.ask("three").await.expect_from("a");
    let good = qcc.endpoint_when("a", "has forgotten", |a| a["failures"] == 0).await;
    assert_eq!(good["epoch"], shaky["epoch"], "a counter is no change of state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cheap_check_does_not_excuse_failing_traffic() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]).health("check_interval = '1s'"));
    client.ask("one").await;
    client.ask("two").await;
    let before = qcc.endpoint_when("a", "has failed twice", |a| a["failures"] == 2).await;
    let passed = count(&before, "checks", "passed");
    let after =
        qcc.endpoint_when("a", "passed a model list", |a| count(a, "checks", "passed") > passed).await;
    assert_eq!(after["failures"], 2);
    client.ask("three").await;
    assert_benched(&qcc.endpoint_when("a", "is benched", |a| a["usable"] == false).await, "server", "chat");
}

type Bad = (&'static str, fn(&Recorded) -> Answer);

/// What relays answer for a dead key, and what a careless check would take for life.
const NO_RECOVERY: [Bad; 6] = [
    ("an empty body", |_| Answer::new(200)),
    ("an error in a 200", |_| {
        Answer::json(200, &llm::anthropic_error("authentication_error", "invalid key"))
    }),
    ("a text without the code", |request| llm::say(request, "Hello! How can I help?")),
    ("no content", |_| Answer::json(200, &json!({"type": "message", "role": "assistant", "content": []}))),
    ("the code outside any text block", |request| {
        let mut answer = llm::thinking_answer("no idea");
        answer["content"][0]["thinking"] = llm::codes_in(&llm::last_user_text(&request.json())).into();
        Answer::json(200, &answer)
    }),
    ("a page of HTML", |_| Answer::new(200).header("content-type", "text/html").body("<html>welcome</html>")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_200_without_the_code_is_no_recovery() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = alone(&a);
    let mut failed = count(&bench(&qcc, &client, 500).await, "checks", "failed");
    let passed = count(&qcc.endpoint("a"), "checks", "passed");
    for (what, answer) in NO_RECOVERY {
        a.set(llm::on_post(answer));
        // The first may be of a check that began before: the second is of this answer for certain.
        let now = qcc.endpoint_when("a", what, |a| count(a, "checks", "failed") >= failed + 2).await;
        assert!(now["state"] == "unhealthy" || now["state"] == "recovering", "{what}: {now:#}");
        assert_eq!(count(&now, "checks", "passed"), passed, "{what}");
        failed = count(&now, "checks", "failed");
    }
    a.set(llm::healthy);
    qcc.endpoint_in("a", "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thinking_first_and_the_code_in_another_case_is_a_recovery() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = alone(&a);
    bench(&qcc, &client, 500).await;
    a.set(llm::on_post(|request| {
        let code = llm::codes_in(&llm::last_user_text(&request.json()));
        Answer::json(200, &llm::thinking_answer(&format!("Sure: {}.", code.to_lowercase())))
    }));
    qcc.endpoint_in("a", "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_check_speaks_the_protocol_of_its_endpoint() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a).openai()]).quick_recovery());
    for _ in 1..=3 {
        let request = client.post("/v1/chat/completions", &llm::chat("failing"));
        assert_eq!(super::support::exchange(request).await.status, 500);
    }
    let checks = a.wait_for("a chat check", 1, Recorded::is_chat_check).await;
    assert_eq!(checks[0].path(), "/v1/chat/completions");
    a.set(llm::healthy);
    qcc.endpoint_in("a", "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_a_cooldown_and_no_failure() {
    let a = Upstream::start(llm::on_post(|_| llm::error(429).header("retry-after", "30")));
    let b = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]));
    let before = qcc.endpoint("a");
    client.ask("limited").await.expect_from("b");
    let cooling = qcc.endpoint_when("a", "cools down", |a| a["cooldown_until"].is_string()).await;
    assert_eq!(
        (&cooling["state"], &cooling["failures"], &cooling["cause"]),
        (&"healthy".into(), &0.into(), &Value::Null)
    );
    assert_eq!((&cooling["usable"], &cooling["epoch"]), (&false.into(), &before["epoch"]));
    assert_eq!((count(&cooling, "requests", "neutral"), count(&cooling, "requests", "failed")), (1, 0));

    assert_eq!(client.ask("later").await.expect_from("b").attempts(), "1");
    assert_eq!(a.posts().len(), 1, "a cooldown is obeyed");
    a.set(llm::healthy);
    qcc.command("reset", "a");
    assert_eq!(qcc.endpoint("a")["cooldown_until"], Value::Null);
    client.ask("after the reset").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_is_served_when_the_cooldown_ends() {
    let a = Upstream::start(llm::on_post(|_| llm::error(429).header("retry-after", "1")));
    let (_qcc, client) = alone(&a);
    assert_eq!(client.ask("limited").await.status, 429);
    a.set(llm::healthy);
    client.ask("waits a second").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_left_benches_at_once_with_the_cause_quota() {
    let a = Upstream::start(llm::on_post(llm::always(402)));
    let b = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]));
    client.ask("unpaid").await.expect_from("b");
    assert_benched(&qcc.endpoint_in("a", "unhealthy").await, "quota", "chat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recheck_sends_the_check_at_once_whatever_the_cooldown_says() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = alone(&a);
    bench(&qcc, &client, 500).await;
    a.set(llm::on_post(|_| llm::error(429).header("retry-after", "600")));
    qcc.endpoint_when("a", "is left alone", |a| a["cooldown_until"].is_string()).await;
    a.set(llm::healthy);
    let before = a.requests().len();
    qcc.run(&["endpoint", "recheck", "a"]).expect_code(0);
    let back = qcc.endpoint_in("a", "healthy").await;
    assert!(a.requests()[before..].iter().all(|request| request.is_chat_check()));
    assert_eq!(
        back["usable"], false,
        "a check shows that it works, not that its rate limit is over: {back:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_whose_model_the_endpoint_lacks_says_which_setting_helps() {
    let a = Upstream::start(llm::on_post(llm::always(500)));
    let (qcc, client) = alone(&a);
    bench(&qcc, &client, 500).await;
    let lacks = llm::anthropic_error("not_found_error", "model: claude-test-1");
    a.set(llm::on_post(move |_| Answer::json(404, &lacks)));
    let says = |a: &Value| a["last_error"].as_str().is_some_and(|text| text.contains("set check_model"));
    qcc.endpoint_when("a", "says what helps", says).await;
    a.set(llm::healthy);
    qcc.endpoint_in("a", "healthy").await;
}
