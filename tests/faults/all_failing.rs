//! Every endpoint fails: how much more is sent than clients asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::support::faults::{Act, Faulty, Taken, json_answer};
use super::support::{Client, Cluster, Endpoint, Qcc, Reply, exchange, llm};

const ENDPOINTS: usize = 4;
const REQUESTS: usize = 300;
/// With a fifth more these are as many failures as it takes to bench them all: so health doesn't help.
const REQUESTS_UNTIL_BENCHED: usize = 50;
const FAILURES_UNTIL_BENCHED: usize = 15;
const AT_ONCE: usize = 10;

fn error(status: u16, kind: &str) -> Vec<Act> {
    let body = json_answer(&llm::anthropic_error(kind, "it fails").to_string());
    let text = String::from_utf8(body).unwrap().replace("200 OK", &format!("{status} X"));
    vec![Act::Read, Act::Send(text.into_bytes())]
}

struct Failing {
    upstreams: Vec<Faulty>,
    _qcc: Qcc,
    client: Client,
}

impl Failing {
    fn start(acts: &[Act]) -> Self {
        let answers = |acts: Vec<Act>| {
            move |taken: &Taken| match taken.is_get() {
                true => vec![Act::Read, Act::Send(json_answer(&llm::model_list().to_string()))],
                false => acts.clone(),
            }
        };
        let upstreams: Vec<_> = (0..ENDPOINTS).map(|_| Faulty::start(answers(acts.to_vec()))).collect();
        let cluster = Cluster::new("work")
            .line("queue_timeout = '0s'")
            .line("max_attempts = 8")
            .timeouts("first_byte = '100ms'")
            .timeouts("answer = '100ms'")
            .health(&format!("failure_threshold = {FAILURES_UNTIL_BENCHED}"))
            .health("ratio_min_samples = 10000");
        let numbered = upstreams.iter().enumerate();
        let cluster = numbered.fold(cluster, |cluster, (number, upstream)| {
            cluster.endpoint(Endpoint::at(&format!("e{number}"), &upstream.url()))
        });
        let qcc = Qcc::start(&cluster);
        let client = Client::of(&qcc);
        Self { upstreams, _qcc: qcc, client }
    }

    async fn drive(&self, requests: usize) -> Vec<Reply> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, next) = (self.client.clone(), Arc::clone(&next));
            workers.spawn(async move {
                let mut replies = Vec::new();
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < requests
                {
                    let path = format!("/v1/messages?shot={number}");
                    replies.push(exchange(client.post(&path, &json!({"model": "claude-1"}))).await);
                }
                replies
            });
        }
        workers.join_all().await.into_iter().flatten().collect()
    }

    fn accepted(&self) -> usize {
        self.upstreams.iter().map(Faulty::accepted_in_all).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_costs_work_is_sent_for_a_fifth_more_at_most() {
    let failures = [
        ("500", error(500, "api_error")),
        ("a cut before the head", vec![Act::Read, Act::Die]),
        ("a reset before the head", vec![Act::Read, Act::Reset]),
        ("silence", vec![Act::Read, Act::Stall]),
        ("no answer", vec![Act::Read, Act::Send(json_answer("{}"))]),
    ];
    for (what, acts) in failures {
        let (mut asked, mut accepted) = (0, 0);
        for _ in 0..REQUESTS / REQUESTS_UNTIL_BENCHED {
            let failing = Failing::start(&acts);
            let replies = failing.drive(REQUESTS_UNTIL_BENCHED).await;
            assert!(replies.iter().all(|reply| reply.status >= 500), "{what}: {replies:?}");
            asked += replies.len();
            accepted += failing.accepted();
            for upstream in &failing.upstreams {
                assert_eq!(upstream.accepted_twice(), Vec::<String>::new(), "{what}");
            }
        }
        let amplification = accepted as f64 / asked as f64;
        println!("{what}: {accepted} accepted for {asked} requests, {amplification:.2}");
        assert!((1.0..=1.2).contains(&amplification), "{what}: {accepted} for {asked}");
    }
}

/// These are free to be repeated, and soon there is nobody to repeat them at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_turned_away_benches_or_cools_and_is_hardly_sent_at_all() {
    for (status, kind) in
        [(401, "authentication_error"), (429, "rate_limit_error"), (529, "overloaded_error")]
    {
        let failing = Failing::start(&error(status, kind));
        assert_eq!(failing.drive(REQUESTS).await.len(), REQUESTS);
        let accepted = failing.accepted();
        println!("{status}: {accepted} accepted for {REQUESTS} requests");
        assert!(accepted * 5 <= REQUESTS * 6, "{status}: {accepted} for {REQUESTS}");
    }
}
