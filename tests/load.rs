//! The promise under load: 2,000 requests, 100 at a time, over four endpoints of which one refuses
//! its key. Every client is served, and nothing goes to that one after its first refusal is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::recorded::next_arrival;
use support::{Client, Cluster, Endpoint, Gate, Qcc, Upstream, eventually, llm};
use tokio::task::JoinSet;

const REQUESTS: usize = 2_000;
const CONCURRENCY: usize = 100;
const LOAD_LIMIT: Duration = Duration::from_secs(90);

/// The upstreams, the refusing one first; its tier is its own when `refusing_first`.
fn cluster(upstreams: &[Upstream], refusing_first: bool) -> Cluster {
    let names = ["refusing", "one", "two", "three"];
    names.iter().zip(upstreams).enumerate().fold(
        Cluster::new("work"),
        |cluster, (number, (name, upstream))| {
            let tier = if refusing_first && number > 0 { 2 } else { 1 };
            cluster.endpoint(Endpoint::new(name, upstream).priority(tier))
        },
    )
}

/// Drives the load; every third request is a stream. Gives how many each endpoint served.
async fn drive(client: &Client) -> BTreeMap<String, usize> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (client, next) = (client.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let mut served: BTreeMap<String, usize> = BTreeMap::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return served;
                }
                let marker = format!("load {number}.");
                let reply = match number % 3 {
                    0 => client.ask_streamed(&marker).await,
                    _ => client.ask(&marker).await,
                };
                assert!(reply.status == 200 && reply.whole, "request {number}: {reply:?}");
                let end = if number.is_multiple_of(3) { "message_stop" } else { "hello" };
                assert!(reply.text().contains(end), "request {number}: {reply:?}");
                *served.entry(reply.endpoint().to_owned()).or_default() += 1;
            }
        });
    }
    let mut served = BTreeMap::new();
    while let Some(part) = workers.join_next().await {
        for (endpoint, count) in part.unwrap() {
            *served.entry(endpoint).or_default() += count;
        }
    }
    served
}

async fn loaded(client: Client) -> BTreeMap<String, usize> {
    tokio::time::timeout(LOAD_LIMIT, drive(&client)).await.expect("the load ends in time")
}

/// Holds all requests at the upstreams until the first refusal is known, and only that one.
/// Gives how many requests the refusing upstream had by then, which is all it may ever get.
async fn first_refusal_known(qcc: &Qcc, upstreams: &[Upstream], refusals: &Gate, answers: &Gate) -> usize {
    // Nothing moves any more: each client's request waits at some upstream.
    eventually("every client's request is at an upstream", || {
        refusals.arrivals() + answers.arrivals() == CONCURRENCY
    })
    .await;
    assert!(refusals.arrivals() >= 1, "the refusing endpoint had its share while it was healthy");
    refusals.release(1);
    qcc.endpoint_in("refusing", "unhealthy").await;
    let known = next_arrival();
    let on_the_wire = upstreams[0].posts();
    assert!(on_the_wire.iter().all(|request| request.arrival < known));
    refusals.open();
    answers.open();
    on_the_wire.len()
}

async fn under_load(refusing_first: bool) {
    let (refusals, answers) = (Gate::new("refusals"), Gate::new("answers"));
    let (refusal, answer) = (refusals.clone(), answers.clone());
    let mut upstreams = vec![Upstream::start(llm::on_post(move |_| llm::error(401).after(&refusal)))];
    upstreams.extend((0..3).map(|_| {
        let answer = answer.clone();
        Upstream::start(llm::on_post(move |request| llm::healthy(request).after(&answer)))
    }));
    let qcc = Qcc::start(&cluster(&upstreams, refusing_first));
    let load = tokio::spawn(loaded(Client::of(&qcc)));
    let on_the_wire = first_refusal_known(&qcc, &upstreams, &refusals, &answers).await;
    let served = load.await.unwrap();

    let refused = upstreams[0].posts();
    assert_eq!(refused.len(), on_the_wire, "requests that came after the refusal was known");
    assert!(on_the_wire <= CONCURRENCY);
    if refusing_first {
        assert_eq!(on_the_wire, CONCURRENCY, "all were on the wire there, the only endpoint of its tier");
    }
    assert_eq!(served.values().sum::<usize>(), REQUESTS, "{served:?}");
    assert_eq!(served.keys().collect::<Vec<_>>(), ["one", "three", "two"], "{served:?}");
    let after = qcc.endpoint("refusing");
    assert_eq!(
        (&after["state"], &after["cause"], &after["in_flight"]),
        (&"unhealthy".into(), &"auth".into(), &0.into())
    );
    assert_eq!(after["requests"]["failed"], 1, "one refusal decided");
    assert_eq!(after["requests"]["stale"], on_the_wire - 1, "the others came too late to say anything");
    for upstream in &upstreams {
        let mut markers: Vec<_> =
            upstream.users().iter().map(|request| llm::last_user_text(&request.json())).collect();
        let received = markers.len();
        markers.sort_unstable();
        markers.dedup();
        assert_eq!(markers.len(), received, "no request reached an endpoint twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_endpoint_among_equals_gets_nothing_once_its_refusal_is_known() {
    under_load(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_endpoint_that_all_clients_were_at_gets_nothing_once_its_refusal_is_known() {
    under_load(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_by_the_check_at_start_never_sees_a_request() {
    let mut upstreams = vec![Upstream::start(llm::always(401))];
    upstreams.extend((0..3).map(|_| Upstream::healthy()));
    let qcc = Qcc::start(&cluster(&upstreams, false));
    assert_eq!(qcc.endpoint("refusing")["state"], "unhealthy");
    let served = loaded(Client::of(&qcc)).await;
    assert_eq!(upstreams[0].posts().len(), 0);
    assert_eq!(served.values().sum::<usize>(), REQUESTS, "{served:?}");
    assert_eq!(served.len(), 3, "{served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_endpoint_without_gates_costs_no_client_anything() {
    let mut upstreams = vec![Upstream::start(llm::on_post(llm::always(401)))];
    upstreams.extend((0..3).map(|_| Upstream::healthy()));
    let qcc = Qcc::start(&cluster(&upstreams, false));
    let served = loaded(Client::of(&qcc)).await;
    assert_eq!(served.values().sum::<usize>(), REQUESTS, "{served:?}");
    let refused = upstreams[0].posts();
    assert!((1..=CONCURRENCY).contains(&refused.len()), "{} requests were refused", refused.len());
    // At most as many as were in flight at once when the first was refused: none of them can have
    // come later than the requests that began after every client had its first answer.
    let last = refused.last().unwrap().arrival;
    let earlier = upstreams.iter().flat_map(Upstream::users).filter(|request| request.arrival < last).count();
    assert!(earlier < REQUESTS / 2, "a request was refused after {earlier} others had been served");
}
