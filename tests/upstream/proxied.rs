//! An HTTP proxy between the program and its upstreams.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http::Head;
use crate::support::proxy::Home;
use crate::support::{Answer, Client, Cluster, Endpoint, Http2Upstream, Qcc, Recorded, Upstream, llm, tls};
use crate::trusting;

/// `Basic user:canary-password`, by coreutils' base64.
const BASIC: &str = "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ=";

/// Takes CONNECT alone, and connects whatever it is asked for to one address.
struct Proxy {
    address: std::net::SocketAddr,
    heads: Arc<Mutex<Vec<Head>>>,
}

impl Proxy {
    /// Answers with `refusal` where there is one.
    async fn start(to: std::net::SocketAddr, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<Head>>>::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(tunnel(near, to, refusal, seen.clone()));
            }
        });
        Self { address, heads }
    }

    fn line(&self) -> String {
        format!("proxy = 'http://user:canary-password@{}'", self.address)
    }

    fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(
    mut near: TcpStream,
    to: std::net::SocketAddr,
    refusal: Option<&str>,
    seen: Arc<Mutex<Vec<Head>>>,
) {
    let mut read = Vec::new();
    let head = loop {
        if let Some((head, _)) = Head::parse(&read) {
            break head;
        }
        if near.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    };
    seen.lock().unwrap().push(head);
    match refusal {
        Some(refusal) => drop(near.write_all(refusal.as_bytes()).await),
        None => {
            let _ = near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
            if let Ok(mut far) = TcpStream::connect(to).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        }
    }
}

fn no_password_in(qcc: &Qcc) {
    let everything = format!("{}{}", qcc.status(), qcc.stderr());
    assert!(!everything.contains("canary") && !everything.contains("dXNlcjpj"), "{everything}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_upstream_is_reached_through_a_tunnel_that_alone_sees_the_password() {
    let upstream = Http2Upstream::healthy();
    let proxy = Proxy::start(upstream.tls.address(), None).await;
    let endpoint = Endpoint::at("a", "https://llm.example").per_request();
    let (qcc, client) = trusting(Cluster::new("work").line(&proxy.line()).endpoint(endpoint));
    client.ask("one").await.expect_from("a");
    let head = &proxy.heads()[0];
    assert_eq!(head.start_line, "CONNECT llm.example:443 HTTP/1.1");
    assert_eq!(
        (head.header("host"), head.header("proxy-authorization")),
        (Some("llm.example:443"), Some(BASIC))
    );
    let asked = upstream.post_that("the request", |_| true).await;
    assert_eq!(asked.uri.to_string(), "https://llm.example/v1/messages");
    assert!(asked.headers.keys().all(|name| !name.as_str().starts_with("proxy-")));
    no_password_in(&qcc);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_upstream_of_http1_is_reached_through_a_tunnel() {
    let upstream = Upstream::healthy();
    let front = tls::front(&upstream);
    let proxy = Proxy::start(front.address(), None).await;
    let endpoint = Endpoint::at("a", "https://llm.example:8443").per_request();
    let (_qcc, client) = trusting(Cluster::new("work").line(&proxy.line()).endpoint(endpoint));
    client.ask("one").await.expect_from("a");
    assert_eq!(proxy.heads()[0].start_line, "CONNECT llm.example:8443 HTTP/1.1");
    let request = &upstream.users()[0];
    assert_eq!((request.target.as_str(), request.header("host")), ("/v1/messages", Some("llm.example:8443")));
    assert_eq!(request.header("proxy-authorization"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_upstream_is_asked_for_by_its_whole_address() {
    let proxy = Upstream::healthy();
    let line = format!("proxy = 'http://user:canary-password@{}'", proxy.address());
    let endpoint = Endpoint::at("a", "http://llm.example:8080/relay").key("sk-of-a");
    let qcc = Qcc::start(&Cluster::new("work").line(&line).endpoint(endpoint));
    let client = Client::of(&qcc);
    let request = client.post("/v1/messages?beta=true", &llm::message("one"));
    let reply = crate::support::exchange(request.header("proxy-authorization", "Basic of-the-client")).await;
    reply.expect_from("a");
    let request = &proxy.users()[0];
    assert_eq!(request.target, "http://llm.example:8080/relay/v1/messages?beta=true");
    assert_eq!(request.header_all("proxy-authorization"), [BASIC]);
    assert_eq!(
        (request.header("host"), request.header("x-api-key")),
        (Some("llm.example:8080"), Some("sk-of-a"))
    );
    no_password_in(&qcc);
}

/// One request to `a` through the proxy of `line`, which does not help; `b` is reached through it no more.
async fn fails_to_connect(line: &str, base_url: &str, told: &[&str]) {
    let cluster = Cluster::new("work").line(line).endpoint(Endpoint::at("a", base_url).per_request());
    let (qcc, client) = trusting(cluster.health("failure_threshold = 2").line("queue_timeout = '0s'"));
    let reply = client.ask("one").await;
    assert_eq!((reply.status, reply.own_error()), (529, Some("no_endpoint")), "{reply:?}");
    // A refused connection counts as two.
    let a = qcc.endpoint_in("a", "unhealthy").await;
    assert_eq!((&a["cause"], &a["check_method"]), (&"network".into(), &"network".into()));
    let error = a["last_error"].as_str().unwrap();
    assert!(told.iter().all(|told| error.contains(told)), "{error}");
    no_password_in(&qcc);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_not_connect_is_a_failed_connection_which_names_it() {
    let upstream = Upstream::healthy();
    for (refusal, status) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "407"),
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno", "502"),
    ] {
        let proxy = Proxy::start(upstream.address(), Some(refusal)).await;
        let address = proxy.address.to_string();
        fails_to_connect(&proxy.line(), "https://llm.example", &[&address, status]).await;
    }
    let asks = Upstream::start(|_: &Recorded| Answer::new(407));
    let address = asks.address().to_string();
    fails_to_connect(&format!("proxy = 'http://{address}'"), "http://llm.example", &[&address, "407"]).await;
    let gone = Upstream::stopped(llm::healthy);
    let address = gone.address().to_string();
    fails_to_connect(&format!("proxy = 'http://{address}'"), "https://llm.example", &[&address, "reached"])
        .await;
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_of_the_environment_is_ignored() {
    let upstream = Upstream::healthy();
    let elsewhere = Upstream::healthy();
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"];
    let environment = names.map(|name| (name.to_owned(), elsewhere.url()));
    let cluster = Cluster::new("work").endpoint(Endpoint::new("a", &upstream));
    let qcc = Home::new(&cluster).with(environment).start();
    Client::of(&qcc).ask("one").await.expect_from("a");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn another_kind_of_proxy_is_refused_and_its_password_is_not_repeated() {
    for scheme in ["https", "socks5"] {
        let line = format!("proxy = '{scheme}://user:canary-password@127.0.0.1:1080'");
        let cluster = Cluster::new("work").line(&line).endpoint(Endpoint::at("a", "https://llm.example"));
        let refused = Home::new(&cluster).run(&["config", "check"]).expect_code(2);
        assert!(refused.stderr.contains("only plain HTTP proxies are supported"), "{refused:?}");
        assert!(!refused.stderr.contains("canary"), "{refused:?}");
    }
}
