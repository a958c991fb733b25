//! A proxy that is its own endpoint.

use super::support::client::raw_request;
use super::support::{Client, Cluster, Endpoint, Qcc, Raw, Upstream};

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_back_is_refused_and_the_next_endpoint_has_it() {
    let b = Upstream::healthy();
    for path in ["", "/prefix"] {
        let own = free_address();
        let itself = Endpoint::at("itself", &format!("http://{own}{path}")).per_request();
        let cluster = Cluster::tiers([itself, Endpoint::new("b", &b)]).line(&format!("listen = '{own}'"));
        let qcc = Qcc::start(&cluster);
        let reply = Client::of(&qcc).ask("round and round").await.expect_from("b");
        assert_eq!(reply.attempts(), "2");
        let requests = &qcc.endpoint("itself")["requests"];
        assert_eq!(requests["sent"], 1, "it comes back once: {requests}");
        let error = qcc.endpoint("itself")["last_error"].to_string();
        assert!(error.contains("base_url"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_proxies_that_are_each_others_endpoint_end_at_the_first() {
    let (one, two) = (free_address(), free_address());
    let start = |own: &str, other: &str| {
        let endpoint = Endpoint::at("other", &format!("http://{other}")).per_request();
        Qcc::start(&Cluster::tiers([endpoint]).line(&format!("listen = '{own}'")))
    };
    let (first, second) = (start(&one, &two), start(&two, &one));
    let mut raw = Raw::connect(&one).await;
    let reply = raw.ask(raw_request("POST", "/v1/messages", &one, &[], b"{}")).await;
    assert_eq!((reply.status(), reply.head.header("x-qcc-error")), (502, Some("loop")), "{:?}", reply.head);
    for qcc in [&first, &second] {
        assert_eq!(qcc.endpoint("other")["requests"]["sent"], 1);
    }
}
