//! An account without money is found out whatever its upstream calls that, and only then.

use serde_json::{Value, json};

use super::support::{Answer, Cluster, Endpoint, Gate, Qcc, Upstream, eventually, exchange, llm};
use super::{started, two};

fn openai_error(code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}})
}

const NO_CREDIT: &str = "Your credit balance is too low to access the Anthropic API.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_money_leaves_service_at_once() {
    for (status, body) in [
        (402, llm::anthropic_error("billing_error", "pay")),
        (400, llm::anthropic_error("invalid_request_error", NO_CREDIT)),
        (403, llm::anthropic_error("permission_error", "You have reached your monthly spend limit")),
        (403, openai_error("insufficient_user_quota", "no")),
        (429, openai_error("insufficient_quota", "You exceeded your current quota")),
        (429, openai_error("credit_balance_exhausted", "no")),
        (429, llm::anthropic_error("rate_limit_error", "You exceeded your current quota, please pay")),
        (503, openai_error("workspace_spend_limit_exceeded", "no")),
        (200, llm::anthropic_error("invalid_request_error", NO_CREDIT)),
    ] {
        let a = Upstream::start(llm::on_post({
            let body = body.clone();
            move |_| Answer::json(status, &body)
        }));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        assert_eq!(client.ask("unpaid").await.expect_from("b").attempts(), "2", "{status} {body}");
        assert_eq!(qcc.endpoint_in("a", "unhealthy").await["cause"], "quota", "{status} {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_event_that_says_money_leaves_service_before_content() {
    let error = llm::anthropic_error("billing_error", "pay");
    let a = Upstream::start(llm::on_post(move |_| {
        let start = llm::message_events(&[])[0].clone();
        Answer::events([start, format!("event: error\ndata: {error}\n\n")])
    }));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    client.ask_streamed("unpaid").await.expect_from("b");
    assert_eq!(qcc.endpoint_in("a", "unhealthy").await["cause"], "quota");
}

/// Seconds from the change of state to the next check.
fn wait_secs(endpoint: &Value) -> i64 {
    let moment = |field: &str| endpoint[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    moment("next_check_at").duration_since(moment("since")).as_secs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_checked_again_at_the_end_that_was_announced() {
    for (headers, secs) in [
        (vec![], 600),
        (vec![("retry-after", "3000")], 3000),
        (vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1h10m")], 4200),
    ] {
        let a = Upstream::start(llm::on_post(move |_| {
            let answer = Answer::json(429, &openai_error("insufficient_quota", "no"));
            headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
        }));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        client.ask("unpaid").await.expect_from("b");
        let wait = wait_secs(&qcc.endpoint_in("a", "unhealthy").await);
        assert!((secs - 1..=secs + 1).contains(&wait), "{wait} s instead of {secs}");
    }
}

/// `a` answers so once; it must go on as if nothing had been said of its money.
async fn answered(status: u16, body: Value) -> (Qcc, Value, String) {
    let a = Upstream::start(llm::on_post(move |_| Answer::json(status, &body)));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let served = client.ask("asked").await.endpoint().to_owned();
    let after = qcc.endpoint_when("a", "has its verdict", |a| a["requests"]["neutral"] == 1).await;
    (qcc, after, served)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_of_the_minute_is_a_rate_limit() {
    for body in [
        llm::anthropic_error("rate_limit_error", "Quota exceeded: 50 requests per minute"),
        openai_error("rate_limit_exceeded", "You exceeded your current quota of tokens per minute"),
        openai_error("slow_down", "slow down"),
    ] {
        let (_qcc, after, served) = answered(429, body).await;
        assert_eq!((after["state"].as_str(), served.as_str()), (Some("healthy"), "b"));
        assert!(after["cooldown_until"].is_string(), "{after:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_talks_of_money_is_no_account_without_it() {
    for body in [
        llm::anthropic_error("invalid_request_error", &format!("messages.0: unexpected '{NO_CREDIT}'")),
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no", "param": "billing_error"}}),
        json!({"type": "error", "note": NO_CREDIT, "error": {"type": "invalid_request_error", "message": "no"}}),
    ] {
        let (_qcc, after, served) = answered(400, body).await;
        assert_eq!((after["state"].as_str(), served.as_str()), (Some("healthy"), "a"));
        assert_eq!((&after["failures"], &after["cooldown_until"]), (&0.into(), &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_tokens_says_nothing_of_money() {
    let a = Upstream::start(llm::on_post(|_| Answer::json(429, &openai_error("insufficient_quota", "no"))));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let request = client.post("/v1/messages/count_tokens", &llm::message("counted"));
    assert_eq!(exchange(request).await.endpoint(), "b");
    let after = qcc.endpoint_when("a", "has its verdict", |a| a["requests"]["neutral"] == 1).await;
    assert_eq!((&after["state"], &after["cooldown_until"]), (&"healthy".into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_known_though_its_words_never_come() {
    for status in [401, 403] {
        let gate = Gate::new("the words of the refusal");
        let held = gate.clone();
        let a = Upstream::start(llm::on_post(move |_| {
            Answer::new(status).header("content-type", "application/json").chunked().wait(&held).chunk("{}")
        }));
        let b = Upstream::healthy();
        let (qcc, client) = started(two(&a, &b));
        client.ask("refused").await.expect_from("b");
        assert_eq!(qcc.endpoint_in("a", "unhealthy").await["cause"], "auth", "{status}");
        client.ask("later").await.expect_from("b");
        assert_eq!(a.posts().len(), 1);
        eventually("the refusal is let go", || a.posts()[0].was_abandoned()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_words_reach_the_client_byte_for_byte_where_all_accounts_are_empty() {
    let body = format!(" {}\n", llm::anthropic_error("invalid_request_error", NO_CREDIT));
    let sent = body.clone();
    let a = Upstream::start(llm::on_post(move |_| Answer::new(400).body(sent.clone())));
    let (_qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let reply = client.ask("unpaid").await;
    assert_eq!((reply.status, reply.text()), (400, body));
}
