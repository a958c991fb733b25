//! An endpoint whose failures are mixed with successes leaves by their share, which no row would show.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::support::{Answer, Client, Cluster, End, Endpoint, Qcc, Recorded, Upstream, exchange, llm};
use super::{assert_benched, count, started};

/// Users' requests get the answers in turn, over and over; checks pass.
fn in_turn<const N: usize>(answers: [fn(&Recorded) -> Answer; N]) -> impl Fn(&Recorded) -> Answer {
    let asked = AtomicUsize::new(0);
    move |request| {
        if request.is_user() {
            answers[asked.fetch_add(1, Ordering::SeqCst) % answers.len()](request)
        } else {
            llm::healthy(request)
        }
    }
}

fn fails(_: &Recorded) -> Answer {
    llm::error(500)
}

fn faults(_: &Recorded) -> Answer {
    llm::error(400)
}

fn is_foreign(_: &Recorded) -> Answer {
    Answer::json(200, &json!({"ok": true}))
}

fn breaks_after_content(_: &Recorded) -> Answer {
    Answer::events(&llm::message_events(&["begun"])[..llm::EVENTS_BEFORE_CONTENT + 1]).ending(End::Fin)
}

/// A share over at least six requests; its trials come when they are asked for.
fn judged_by_six(a: &Upstream) -> Cluster {
    let cluster = Cluster::tiers([Endpoint::new("a", a)]).line("queue_timeout = '0s'");
    cluster.health("ratio_min_samples = 6").health("ratio_window = '10m'")
}

/// Sends requests one after the other, each once the one before is counted.
async fn ask(qcc: &Qcc, client: &Client, requests: usize) -> Value {
    for _ in 0..requests {
        client.ask("in turn").await;
        at_rest(qcc).await;
    }
    qcc.endpoint("a")
}

async fn at_rest(qcc: &Qcc) -> Value {
    qcc.endpoint_when("a", "has nothing in flight", |a| a["in_flight"] == 0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_every_second_request_benches_by_the_share_and_a_check_of_the_method_brings_it_back() {
    let a = Upstream::start(in_turn([llm::healthy, fails]));
    let (qcc, client) = started(judged_by_six(&a));
    for round in 1..=2 {
        let before = ask(&qcc, &client, 5).await;
        assert_eq!(before["state"], "healthy", "round {round}: {before:#}");
        let benched = ask(&qcc, &client, 1).await;
        assert_benched(&benched, "server", "chat");
        assert!(benched["failures"].as_u64() < Some(3), "no row of failures: {benched:#}");
        assert_eq!(count(&benched, "requests", "passed"), 3 * round);
        assert_eq!(qcc.stderr().matches("endpoint left service").count() as u64, round);
        // The next round begins with no samples: five more would else be enough at once.
        qcc.command("recheck", "a");
        qcc.endpoint_in("a", "healthy").await;
        a.wait_for("a chat check", round as usize, Recorded::is_chat_check).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_is_that_of_the_last_failure() {
    let a = Upstream::start(in_turn([fails, llm::healthy, fails, llm::healthy, is_foreign, llm::healthy]));
    let (qcc, client) = started(judged_by_six(&a));
    // The sixth, a pass, makes them enough.
    assert_eq!(ask(&qcc, &client, 5).await["state"], "healthy");
    assert_benched(&ask(&qcc, &client, 1).await, "invalid-response", "chat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_threshold_or_with_too_few_samples_it_stays() {
    for setting in ["ratio_threshold = 0.51", "ratio_min_samples = 17"] {
        let a = Upstream::start(in_turn([llm::healthy, fails]));
        let (qcc, client) = started(judged_by_six(&a).health(setting));
        let after = ask(&qcc, &client, 16).await;
        assert_eq!((&after["state"], &after["usable"]), (&"healthy".into(), &true.into()), "{setting}");
        assert_eq!(count(&after, "requests", "failed"), 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_broke_after_its_content_is_one_failure_and_no_pass() {
    let a = Upstream::start(in_turn([breaks_after_content]));
    let (qcc, client) =
        started(judged_by_six(&a).health("ratio_threshold = 1.0").health("failure_threshold = 15"));
    for streams in 1..=6 {
        assert_eq!(qcc.endpoint("a")["state"], "healthy", "after {streams}");
        client.ask_streamed("broken").await;
        at_rest(&qcc).await;
    }
    assert_benched(&qcc.endpoint("a"), "stream", "chat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_nothing_of_the_endpoint_is_no_sample() {
    let a = Upstream::start(in_turn([fails, faults, faults]));
    let (qcc, client) =
        started(judged_by_six(&a).health("ratio_threshold = 1.0").health("failure_threshold = 15"));
    // Token counts pass, and only show that the key is taken.
    for _ in 0..5 {
        ask(&qcc, &client, 3).await;
        a.set(llm::healthy);
        exchange(client.post("/v1/messages/count_tokens", &llm::message("count"))).await.expect_from("a");
        a.set(in_turn([fails, faults, faults]));
    }
    assert_eq!(at_rest(&qcc).await["state"], "healthy");
    assert_benched(&ask(&qcc, &client, 1).await, "server", "chat");
}
