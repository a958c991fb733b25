//! What fails for everybody is not made worse by repeating it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::started;
use super::support::{Answer, Client, Cluster, End, Endpoint, Recorded, Reply, Upstream, exchange, llm};

const REQUESTS: usize = 300;
const AT_ONCE: usize = 20;

fn upstreams<B>(count: usize, posts: impl Fn() -> B) -> Vec<Upstream>
where
    B: Fn(&Recorded) -> Answer + Send + Sync + 'static,
{
    (0..count).map(|_| Upstream::start(llm::on_post(posts()))).collect()
}

/// All in one tier, and neither a row nor a share takes one out of service soon.
fn patient(upstreams: &[Upstream]) -> Cluster {
    let names: Vec<_> = (0..upstreams.len()).map(|number| format!("e{number}")).collect();
    let cluster = names.iter().zip(upstreams).fold(Cluster::new("work"), |cluster, (name, upstream)| {
        cluster.endpoint(Endpoint::new(name, upstream))
    });
    cluster
        .line("queue_timeout = '0s'")
        .line("max_attempts = 8")
        .health("failure_threshold = 15")
        .health("ratio_min_samples = 10000")
}

/// Sends the requests, some at once, and gives what each came to.
async fn drive(client: &Client, path: &'static str) -> Vec<Reply> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, next) = (client.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let mut replies = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                replies.push(exchange(client.post(path, &llm::message("load"))).await);
            }
            replies
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

fn exchanges(upstreams: &[Upstream]) -> usize {
    upstreams.iter().map(|upstream| upstream.users().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_fail_a_fifth_more_than_asked_for_is_sent() {
    // Token counts say nothing of health, so that the endpoints stay in service throughout.
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let all = upstreams(4, || llm::always(500));
        let (qcc, client) = started(patient(&all));
        let replies = drive(&client, path).await;
        assert_eq!(replies.len(), REQUESTS);
        let sent = exchanges(&all);
        assert!(sent <= REQUESTS + REQUESTS / 5 + 3, "{sent} exchanges for {REQUESTS} requests at {path}");
        if path.ends_with("count_tokens") {
            assert!(sent > REQUESTS, "some were repeated: {sent}");
            let answered = |reply: &&Reply| reply.status == 500 && reply.own_error().is_none();
            assert_eq!(replies.iter().filter(answered).count(), REQUESTS, "each has an upstream's answer");
            let refused = qcc.status()["retries_refused"].as_u64().unwrap();
            assert!(refused as usize >= REQUESTS - REQUESTS / 5 - 3, "{refused} were not repeated");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_last_answer_ends_a_request_that_the_budget_ends() {
    let all = upstreams(8, || llm::always(500));
    let (qcc, client) = started(patient(&all));
    let reply = client.ask("failing").await;
    assert_eq!((reply.status, reply.attempts(), reply.own_error()), (500, "4", None), "{reply:?}");
    assert_eq!(reply.text(), llm::anthropic_error("api_error", "upstream says 500").to_string());
    assert_eq!(exchanges(&all), 4);
    assert_eq!(qcc.status()["retries_refused"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cost_no_endpoint_any_work_is_repeated_freely() {
    for status in [401, 403, 402, 429, 529] {
        let all = upstreams(8, || llm::always(status));
        let (qcc, client) = started(patient(&all));
        let reply = client.ask("turned away").await;
        assert_eq!((reply.attempts(), exchanges(&all)), ("8", 8), "{status}: {reply:?}");
        assert_eq!(qcc.status()["retries_refused"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_refused_are_free() {
    let mut all = upstreams(8, || llm::healthy);
    let (_qcc, client) = started(patient(&all));
    let last = all.split_off(7);
    all.iter().for_each(Upstream::stop);
    for _ in 0..20 {
        assert_eq!(client.ask("moved on").await.status, 200);
    }
    assert_eq!(exchanges(&last), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_was_lost_says_that_it_may_have_been_billed() {
    let all = upstreams(8, || |_: &Recorded| Answer::nothing(End::Fin));
    let (_qcc, client) = started(patient(&all));
    let reply = client.ask("lost").await;
    assert_eq!((reply.status, reply.own_error()), (502, Some("upstream_lost")), "{reply:?}");
    assert_eq!((reply.attempts(), reply.header("x-should-retry")), ("4", Some("true")));
    let text = reply.text();
    assert!(text.contains("may have been billed") && text.contains("too many requests"), "{text}");
    assert_eq!(exchanges(&all), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answered_the_untried_are_named() {
    let all = upstreams(5, || |_: &Recorded| Answer::json(200, &json!({"ok": true})));
    let (_qcc, client) = started(patient(&all));
    let reply = client.ask("no answer").await;
    assert_eq!((reply.status, reply.own_error(), reply.attempts()), (529, Some("no_endpoint"), "4"));
    let text = reply.text();
    assert_eq!(text.matches("was not tried, since too many requests are failing").count(), 1, "{text}");
    assert_eq!(exchanges(&all), 4);
}
