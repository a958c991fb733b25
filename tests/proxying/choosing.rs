//! Which endpoint serves: tiers, protocols, models, and what the operator says.

use serde_json::{Value, json};

use super::support::llm::EVENTS_BEFORE_CONTENT;
use super::support::{Answer, Cluster, Endpoint, Gate, Upstream, exchange, llm, never_within};
use super::{started, two};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lowest_tier_that_can_serve_does() {
    let upstreams: Vec<_> = (0..3).map(|_| Upstream::healthy()).collect();
    let endpoints = [("c", 7), ("a", 1), ("b", 3)].into_iter().zip(&upstreams);
    let cluster = endpoints.fold(Cluster::new("work"), |cluster, ((name, tier), upstream)| {
        cluster.endpoint(Endpoint::new(name, upstream).priority(tier))
    });
    let (qcc, client) = started(cluster);
    for expected in ["a", "b", "c"] {
        for _ in 0..5 {
            client.ask("by tier").await.expect_from(expected);
        }
        qcc.command("disable", expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_one_tier_share_the_work() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let endpoints = [Endpoint::new("a", &a), Endpoint::new("b", &b)];
    let (_qcc, client) = started(endpoints.into_iter().fold(Cluster::new("work"), Cluster::endpoint));
    let gate = Gate::new("answers");
    for upstream in [&a, &b] {
        let held = gate.clone();
        upstream.set(move |request| llm::healthy(request).after(&held));
    }
    let asking: Vec<_> = (0..40).map(|number| client.asking(&format!("shared {number}"))).collect();
    gate.arrived(40).await;
    let (at_a, at_b) = (a.users().len(), b.users().len());
    gate.open();
    assert!(at_a >= 4 && at_b >= 4, "{at_a} at a, {at_b} at b, all in flight at once");
    for asking in asking {
        assert_eq!(asking.reply().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weight_is_how_much_of_the_work_an_endpoint_gets() {
    let (heavy, light) = (Upstream::healthy(), Upstream::healthy());
    let cluster = Cluster::new("work")
        .endpoint(Endpoint::new("heavy", &heavy).line("weight = 1000"))
        .endpoint(Endpoint::new("light", &light).line("weight = 10"));
    let (_qcc, client) = started(cluster);
    let gate = Gate::new("answers");
    for upstream in [&heavy, &light] {
        let held = gate.clone();
        upstream.set(move |request| llm::healthy(request).after(&held));
    }
    let asking: Vec<_> = (0..40).map(|number| client.asking(&format!("weighed {number}"))).collect();
    gate.arrived(40).await;
    let (at_heavy, at_light) = (heavy.users().len(), light.users().len());
    gate.open();
    assert!(at_heavy > at_light * 2, "{at_heavy} at the heavy one, {at_light} at the light one");
    for asking in asking {
        assert_eq!(asking.reply().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_goes_only_to_endpoints_of_its_protocol() {
    let (a, o) = (Upstream::healthy(), Upstream::healthy());
    let (_qcc, client) = started(Cluster::tiers([Endpoint::new("o", &o).openai(), Endpoint::new("a", &a)]));
    client.ask("anthropic").await.expect_from("a");
    exchange(client.post("/v1/chat/completions", &llm::chat("chat"))).await.expect_from("o");
    exchange(client.post("/v1/responses", &llm::response("responses"))).await.expect_from("o");
    assert_eq!((a.users().len(), o.users().len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_goes_only_to_endpoints_that_allow_it() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let cluster = Cluster::tiers([
        Endpoint::new("a", &a).line("models = ['claude-*-mini', 'exact']"),
        Endpoint::new("b", &b),
    ]);
    let (_qcc, client) = started(cluster);
    for (model, endpoint) in [
        ("claude-5-mini", "a"),
        ("exact", "a"),
        ("exactly", "b"),
        ("claude-5", "b"),
        ("my-claude-5-mini", "b"),
    ] {
        let mut request = llm::message("by model");
        request["model"] = model.into();
        exchange(client.post("/v1/messages", &request)).await.expect_from(endpoint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_endpoint_ends_what_it_has_and_gets_no_more() {
    let gate = Gate::new("rest of the stream");
    let (held, events) = (gate.clone(), llm::message_events(&["one", "two"]));
    let whole = events.concat();
    let a = Upstream::start(llm::on_post(move |_| {
        let (shown, rest) = events.split_at(EVENTS_BEFORE_CONTENT + 1);
        rest.iter().fold(Answer::events(shown).wait(&held), |answer, event| answer.chunk(event.as_str()))
    }));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    let streaming = tokio::spawn({
        let client = client.clone();
        async move { client.ask_streamed("running").await }
    });
    gate.arrived(1).await;
    qcc.command("drain", "a");
    let draining = qcc.endpoint("a");
    assert_eq!((&draining["admin"], &draining["usable"]), (&"draining".into(), &false.into()));
    client.ask("later").await.expect_from("b");
    gate.open();
    assert_eq!(streaming.await.unwrap().expect_from("a").text(), whole);
    assert_eq!(a.posts().len(), 1);
    qcc.command("enable", "a");
    a.set(llm::healthy);
    assert_eq!(qcc.endpoint("a")["admin"], "active");
    client.ask("again").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_endpoint_gets_nothing_until_it_is_enabled() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let (qcc, client) = started(two(&a, &b).health("check_interval = '1s'"));
    let before = qcc.endpoint("a")["epoch"].as_u64();
    qcc.command("disable", "a");
    let disabled = qcc.endpoint("a");
    assert_eq!((&disabled["admin"], &disabled["usable"]), (&"disabled".into(), &false.into()));
    assert!(disabled["epoch"].as_u64() > before, "an admin change is an epoch");
    for _ in 0..10 {
        client.ask("elsewhere").await.expect_from("b");
    }
    assert_eq!(a.posts().len(), 0);
    qcc.command("enable", "a");
    client.ask("again").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_can_be_off_from_the_start() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let (qcc, client) =
        started(Cluster::tiers([Endpoint::new("a", &a).line("enabled = false"), Endpoint::new("b", &b)]));
    assert_eq!(qcc.endpoint("a")["admin"], "disabled");
    client.ask("elsewhere").await.expect_from("b");
    assert_eq!(a.requests().len(), 0, "not even a check");
    qcc.command("enable", "a");
    client.ask("on now").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_forgets_everything_against_an_endpoint() {
    let (a, b) = (Upstream::start(llm::on_post(llm::always(401))), Upstream::healthy());
    let (qcc, client) = started(two(&a, &b));
    client.ask("refused").await.expect_from("b");
    let out = qcc.endpoint_in("a", "unhealthy").await;
    a.set(llm::healthy);
    qcc.command("reset", "a");
    let new = qcc.endpoint("a");
    assert!(new["state"] == "unknown" || new["state"] == "healthy", "{new:#}");
    assert_eq!((&new["cause"], &new["failures"], &new["level"]), (&Value::Null, &0.into(), &0.into()));
    assert!(new["epoch"].as_u64() > out["epoch"].as_u64());
    client.ask("again").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_is_served_by_what_comes_back() {
    let a = Upstream::healthy();
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    qcc.command("drain", "a");
    let waiting = client.asking("waiting");
    never_within("an answer without an endpoint", std::time::Duration::from_millis(300), || {
        waiting.is_answered()
    })
    .await;
    qcc.command("enable", "a");
    assert_eq!(waiting.reply().await.expect_from("a").attempts(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_is_served_when_a_check_brings_the_key_back() {
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let waiting = client.asking("waiting");
    never_within("a request at a", std::time::Duration::from_millis(300), || !a.posts().is_empty()).await;
    a.set(llm::healthy);
    qcc.command("recheck", "a");
    waiting.reply().await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_what_is_in_flight_and_what_was_sent() {
    let gate = Gate::new("answers");
    let held = gate.clone();
    let a = Upstream::start(llm::on_post(move |request| llm::healthy(request).after(&held)));
    let (qcc, client) = started(Cluster::tiers([Endpoint::new("a", &a)]));
    let asking: Vec<_> = (0..3).map(|number| client.asking(&format!("counted {number}"))).collect();
    gate.arrived(3).await;
    assert_eq!(qcc.endpoint("a")["in_flight"], 3);
    gate.open();
    for asking in asking {
        asking.reply().await.expect_from("a");
    }
    let after = qcc.endpoint_when("a", "has nothing in flight", |a| a["in_flight"] == 0).await;
    assert_eq!(after["requests"], json!({"sent": 3, "passed": 3, "failed": 0, "neutral": 0, "stale": 0}));
    assert!(after["latency_ms"].as_f64() > Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_tokens_excuses_no_failing_messages() {
    let a = Upstream::start(llm::on_post(|request| match request.path().ends_with("/count_tokens") {
        true => llm::healthy(request),
        false => llm::error(500),
    }));
    let b = Upstream::healthy();
    let (qcc, client) = started(two(&a, &b));
    for _ in 0..2 {
        client.ask("failing").await.expect_from("b");
        exchange(client.post("/v1/messages/count_tokens", &llm::message("count"))).await.expect_from("a");
        exchange(client.get("/v1/models").header("anthropic-version", "2023-06-01")).await.expect_from("a");
    }
    client.ask("failing").await.expect_from("b");
    qcc.endpoint_in("a", "unhealthy").await;
}
