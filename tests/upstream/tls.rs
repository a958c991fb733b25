//! Who is trusted.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::HandshakeKind;

use crate::support::proxy::Home;
use crate::support::{Client, Cluster, Endpoint, Http2Upstream, Qcc, Upstream, exchange, tls};
use crate::trusting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_the_ca_file_vouches_for_is_trusted() {
    let upstream = Upstream::healthy();
    let front = tls::front(&upstream);
    let (qcc, client) = trusting(Cluster::new("work").endpoint(Endpoint::at("a", &front.url())));
    for round in 0..3 {
        client.ask(&format!("round {round}")).await.expect_from("a");
        client.ask_streamed(&format!("stream {round}")).await.expect_from("a");
    }
    let request = &upstream.users()[0];
    assert_eq!(request.header("host"), Some(front.url().trim_start_matches("https://")));
    assert_eq!(front.handshakes(), upstream.connections(), "HTTP/1.1 where HTTP/2 is not offered");
    assert_eq!(qcc.endpoint("a")["state"], "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_nobody_vouches_for_gets_nothing_and_fails_over() {
    let upstream = Http2Upstream::healthy();
    let fallback = Upstream::healthy();
    let cluster =
        Cluster::tiers([Endpoint::at("a", &upstream.tls.url()).per_request(), Endpoint::new("b", &fallback)]);
    // Only the platform's authorities are trusted here.
    let qcc = Qcc::start(&cluster.health("failure_threshold = 2"));
    let reply = Client::of(&qcc).ask("one").await.expect_from("b");
    assert_eq!(reply.attempts(), "2");
    let a = qcc.endpoint_in("a", "unhealthy").await;
    assert_eq!((&a["cause"], &a["check_method"]), (&"network".into(), &"network".into()));
    assert!(a["last_error"].as_str().unwrap().contains("ca_file"), "{a:#}");
    assert_eq!((upstream.streams(), upstream.tls.handshakes()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_connection_resumes_the_session_of_an_earlier_one() {
    let kinds = Arc::<Mutex<Vec<HandshakeKind>>>::default();
    let seen = kinds.clone();
    let closing = tls::TlsServer::start(&["http/1.1"], move |mut stream, _| {
        seen.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
        async move {
            let mut request = Vec::new();
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    let (_qcc, client) =
        trusting(Cluster::new("work").endpoint(Endpoint::at("a", &closing.url()).per_request()));
    for _ in 0..3 {
        assert_eq!(exchange(client.get("/v1/models")).await.expect_from("a").text(), "{\"data\":[]}");
    }
    assert!(kinds.lock().unwrap().contains(&HandshakeKind::Resumed), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_a_handshake_that_never_ends_give_up_together() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fallback = Upstream::healthy();
    let silent_url = format!("https://{}", silent.local_addr().unwrap());
    let cluster =
        Cluster::tiers([Endpoint::at("a", &silent_url).per_request(), Endpoint::new("b", &fallback)]);
    let (_qcc, client) = trusting(cluster.timeouts("connect = '1s'").health("failure_threshold = 15"));
    // One after another they would take longer than any test may.
    let asking: Vec<_> = (0..20).map(|number| client.asking(&format!("number {number}"))).collect();
    for asking in asking {
        asking.reply().await.expect_from("b");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_missing_or_wrong_is_found_by_the_check_of_the_configuration() {
    let cluster =
        Cluster::new("work").line("ca_file = 'ca.pem'").endpoint(Endpoint::at("a", "https://llm.example"));
    let home = Home::new(&cluster);
    let missing = home.run(&["config", "check"]).expect_code(2);
    assert!(
        missing.stderr.contains("clusters.work.ca_file") && missing.stderr.contains("ca.pem"),
        "{missing:?}"
    );
    home.write_private("ca.pem", "nothing of the kind");
    let empty = home.run(&["config", "check"]).expect_code(2);
    assert!(empty.stderr.contains("holds no certificate"), "{empty:?}");
    home.write_private("ca.pem", tls::authority_pem());
    home.run(&["config", "check"]).expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_without_certificates_will_do_where_the_ca_file_has_some() {
    let upstream = Upstream::healthy();
    let front = tls::front(&upstream);
    let cluster = Cluster::new("work").endpoint(Endpoint::at("a", &front.url()));
    let nothing = ("SSL_CERT_FILE".to_owned(), "/dev/null".to_owned());
    let bare = Home::new(&cluster).with([nothing.clone()]);
    let refused = bare.run(&["config", "check"]).expect_code(2);
    assert!(refused.stderr.contains("no root certificates"), "{refused:?}");
    let home = Home::new(&cluster.line("ca_file = 'ca.pem'")).with([nothing]);
    home.write_private("ca.pem", tls::authority_pem());
    let qcc = home.start();
    Client::of(&qcc).ask("one").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_may_be_named_by_its_address_and_the_certificate_must_name_it() {
    let upstream = Upstream::healthy();
    let front = tls::front(&upstream);
    let by_address = format!("https://{}", front.address());
    let (_qcc, client) = trusting(Cluster::new("work").endpoint(Endpoint::at("a", &by_address)));
    client.ask("one").await.expect_from("a");

    // The same server under a name that its certificate has not.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("proxy = 'http://{}'", other.local_addr().unwrap());
    let to = front.address();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = other.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && near.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            // In pieces, as a slow proxy does.
            for piece in ["HTTP/1.1 200 Connection", " established\r\nvia: x\r\n\r", "\n"] {
                let _ = near.write_all(piece.as_bytes()).await;
                let _ = near.flush().await;
                tokio::task::yield_now().await;
            }
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let endpoint = Endpoint::at("a", "https://other.example").per_request();
    let (qcc, client) =
        trusting(Cluster::new("work").line(&proxy).endpoint(endpoint).line("queue_timeout = '0s'"));
    assert_eq!(client.ask("one").await.status, 529);
    let a = qcc.endpoint("a");
    assert!(a["last_error"].as_str().unwrap().contains("not valid for name \"other.example\""), "{a:#}");
}

/// The keys of a connection change now and then (RFC 8446 §4.6.3), which its other end hears of like of an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tls_says_for_itself_after_an_answer_does_not_end_the_connection() {
    const ROUNDS: usize = 20;
    let served = Arc::<Mutex<std::collections::HashSet<usize>>>::default();
    let seen = served.clone();
    let upstream = tls::TlsServer::start(&["http/1.1"], move |mut stream, number| {
        let seen = seen.clone();
        async move {
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.is_ok_and(|length| length > 0) {
                if !request.ends_with(b"\r\n\r\n") {
                    continue;
                }
                request.clear();
                seen.lock().unwrap().insert(number);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
                let session = stream.get_mut().1;
                std::io::Write::write_all(&mut session.writer(), answer).unwrap();
                session.refresh_traffic_keys().unwrap();
                stream.flush().await.unwrap();
            }
        }
    });
    let (_qcc, client) =
        trusting(Cluster::new("work").endpoint(Endpoint::at("a", &upstream.url()).per_request()));
    for _ in 0..ROUNDS {
        assert_eq!(exchange(client.get("/v1/models")).await.expect_from("a").text(), "{\"data\":[]}");
    }
    // Beside the one of the first request there may be those that were opened ahead of need.
    assert!(served.lock().unwrap().len() <= 5, "{served:?}");
}
