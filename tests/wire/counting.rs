//! Counting tokens: many at once, and what they say of health.

use serde_json::Value;

use super::protocols::{Mode, Protocol};
use super::rig::{Rig, session_headers};
use super::support::{Answer, Client, End, Gate, Recorded, Step, exchange, llm};

const COUNT: &str = "/v1/messages/count_tokens";

/// `a` answers counts so, and everything else well; one failure would take it out of service.
fn rig(counts: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Rig {
    let posts = move |request: &Recorded| match request.path() == COUNT {
        true => counts(request),
        false => Protocol::Messages.well(Mode::of(request), "of-a"),
    };
    Rig::start(Protocol::Messages, posts, |cluster| cluster.health("failure_threshold = 1"))
}

async fn count(client: Client) -> super::support::Reply {
    let request = client.post(COUNT, &llm::message("count"));
    let [one, two] = session_headers();
    let with = |request: reqwest::RequestBuilder, line: &str| {
        let (name, value) = line.split_once(": ").expect("a header line");
        request.header(name, value)
    };
    exchange(with(with(request, &one), &two)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_six_counts_at_once_delay_no_message() {
    let gate = Gate::new("counts");
    let held = gate.clone();
    let rig = rig(move |request| llm::healthy(request).after(&held));
    let client = Client::of(&rig.qcc);
    let counting: Vec<_> = (0..26).map(|_| tokio::spawn(count(client.clone()))).collect();
    gate.arrived(26).await;
    // All of them are at `a`, unanswered; were one in the way, these would wait for the gate for good.
    for mode in [Mode::Whole, Mode::Streamed] {
        let reply = rig.ask("a message meanwhile", mode).await;
        assert_eq!((reply.status(), reply.head.header("x-qcc-endpoint")), (200, Some("a")));
        assert_eq!(reply.body, Protocol::Messages.well_body(mode, "of-a"));
    }
    assert_eq!(gate.arrivals(), 26);
    gate.open();
    for counting in counting {
        assert_eq!(counting.await.unwrap().expect_from("a").json()["input_tokens"], 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_fail_by_their_status_say_nothing_of_health_and_move_on() {
    for status in [402, 429, 500, 503, 529, 307] {
        let rig = rig(move |_| llm::error(status).header("retry-after", "20"));
        rig.b.set(llm::healthy);
        let client = Client::of(&rig.qcc);
        let before = rig.status("a").await;
        for _ in 0..2 {
            count(client.clone()).await.expect_from("b");
        }
        let after = rig.settled("a", 2).await;
        for field in ["state", "cause", "failures", "epoch", "level", "cooldown_until", "usable"] {
            assert_eq!(after[field], before[field], "{status}: {field}");
        }
        assert_eq!(after["requests"]["neutral"], 2, "{status}");
        assert_eq!(rig.ask("as ever", Mode::Whole).await.head.header("x-qcc-endpoint"), Some("a"));
    }
}

/// Such a rate limit cools nothing, so that by their health the endpoints could be asked again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_all_refuse_for_its_rate_says_the_earliest_of_what_they_said() {
    for (of_a, of_b) in [("20", "900"), ("900", "20")] {
        let rig = rig(move |_| llm::error(429).header("retry-after", of_a));
        rig.b.set(move |_| llm::error(429).header("retry-after", of_b));
        let reply = count(Client::of(&rig.qcc)).await;
        assert_eq!((reply.status, reply.attempts(), reply.header("retry-after")), (429, "2", Some("20")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_whose_request_is_at_fault_is_shown_as_it_is() {
    for status in [400, 404, 413, 422] {
        let rig = rig(move |_| llm::error(status));
        let reply = count(Client::of(&rig.qcc)).await;
        assert_eq!((reply.status, reply.endpoint(), reply.attempts()), (status, "a", "1"));
        let after = rig.settled("a", 1).await;
        assert_eq!((&after["failures"], &after["requests"]["neutral"]), (&0.into(), &1.into()), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_whose_key_is_refused_takes_the_endpoint_out() {
    for status in [401, 403] {
        let rig = rig(move |_| llm::error(status));
        rig.b.set(llm::healthy);
        count(Client::of(&rig.qcc)).await.expect_from("b");
        let after = rig.settled("a", 1).await;
        assert_eq!((&after["state"], &after["cause"]), (&"unhealthy".into(), &"auth".into()), "{status}");
        assert_eq!(rig.ask("elsewhere", Mode::Whole).await.head.header("x-qcc-endpoint"), Some("b"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_list_counts_by_its_key_and_transport_only() {
    for (status, state) in [(500, "healthy"), (429, "healthy"), (404, "healthy"), (401, "unhealthy")] {
        let rig = Rig::start(Protocol::Messages, llm::healthy, |cluster| cluster);
        rig.a.set(llm::on_get(move |_| llm::error(status).header("retry-after", "20")));
        let asked = Client::of(&rig.qcc).get("/v1/models?limit=1000").header("x-api-key", "client-key");
        let reply = exchange(asked).await;
        let from = if status == 404 { "a" } else { "b" };
        assert_eq!(reply.endpoint(), from, "{status}: {reply:?}");
        let after = rig.settled("a", 1).await;
        assert_eq!((&after["state"], &after["cooldown_until"]), (&state.into(), &Value::Null), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_count_is_a_failure_of_the_transport_and_may_always_be_repeated() {
    for end in [End::Fin, End::Reset] {
        let posts = move |request: &Recorded| match request.path() == COUNT {
            true => Answer::nothing(end),
            false => Protocol::Messages.well(Mode::of(request), "of-a"),
        };
        let rig = Rig::start_with(Protocol::Messages, posts, |a| a.per_request(), |cluster| cluster);
        rig.b.set(llm::healthy);
        count(Client::of(&rig.qcc)).await.expect_from("b");
        let after = rig.settled("a", 1).await;
        assert_eq!((&after["requests"]["failed"], &after["cause"]), (&1.into(), &Value::from("network")));
    }
}

/// Whether it is a cut or an endpoint that can't count does not show; Claude Code counts 26 times at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_ends_with_its_connection_and_is_empty_moves_on_and_says_nothing_of_health() {
    let empty = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let rig = rig(move |_| Answer::wire([Step::Bytes(empty.to_vec()), Step::End(End::Fin)]));
    rig.b.set(llm::healthy);
    count(Client::of(&rig.qcc)).await.expect_from("b");
    let after = rig.settled("a", 1).await;
    assert_eq!((&after["state"], &after["requests"]["neutral"]), (&"healthy".into(), &1.into()), "{after:#}");
    assert_eq!(rig.ask("as ever", Mode::Whole).await.head.header("x-qcc-endpoint"), Some("a"));
}
