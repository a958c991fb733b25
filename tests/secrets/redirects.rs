//! A redirect is followed by nobody: not for a request, not for a check, and not by the client.

use super::canary::{CLIENT_KEY, KEY};
use super::support::{Answer, Client, Cluster, Endpoint, Qcc, Upstream, exchange, llm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_redirect_takes_a_key_or_a_prompt_anywhere() {
    let evil = Upstream::healthy();
    let upstream = Upstream::healthy();
    let cluster =
        Cluster::new("work").endpoint(Endpoint::new("a", &upstream).key(KEY)).line("queue_timeout = '0s'");
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    let port = evil.address().port();
    for status in [300, 301, 302, 303, 304, 305, 307, 308] {
        for location in [
            format!("http://127.0.0.1:{port}/v1/messages"),
            format!("http://localhost:{port}/"),
            format!("https://127.0.0.1:{port}/"),
            format!("//127.0.0.1:{port}/v1/models"),
            format!("http://user:pass@127.0.0.1:{port}/"),
            "/v1/elsewhere".to_owned(),
        ] {
            let redirect = move |_: &_| Answer::new(status).header("location", &location);
            upstream.set(redirect);
            qcc.command("reset", "a");
            let before = upstream.requests().len();
            let request = client.http.post(format!("{}/v1/messages", qcc.url())).bearer_auth(CLIENT_KEY);
            let request = request.header("referer", "http://secret.example/?q=1").json(&llm::message("kept"));
            let reply = exchange(request).await;
            assert!(reply.header("location").is_none(), "{reply:?}");
            for path in ["/v1/models", "/v1/files/x"] {
                let reply = exchange(client.get(path).bearer_auth(CLIENT_KEY)).await;
                assert!(reply.header("location").is_none(), "{path}: {reply:?}");
            }
            let seen = upstream.requests();
            assert!(seen.len() > before);
            assert!(seen.iter().all(|request| request.path() != "/v1/elsewhere"));
            assert!(seen.iter().all(|request| request.header("referer").is_none()));
        }
        for method in ["model-list", "chat", "network"] {
            let before = upstream.requests().len();
            let done = qcc.run(&["check", "--method", method]);
            assert!(upstream.requests().len() == before + 1, "one request, {method}: {done:?}");
        }
    }
    assert_eq!(evil.connections(), 0);
}
