//! SIGHUP under load, and what it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::support::proxy::Home;
use super::support::{Client, Cluster, Endpoint, Gate, Http2Client, Qcc, Upstream, eventually, llm, tls};
use super::{one, streams_with_a_pause, two, whole_stream};

const RELOADS: usize = 20;
const STREAMS: usize = 50;
/// What a reload must not touch.
const WORD: [&str; 9] =
    ["id", "state", "admin", "epoch", "level", "cause", "check_method", "since", "next_check_at"];

async fn reload(qcc: &Qcc, cluster: &Cluster) {
    let before = qcc.stderr().matches("the configuration was reloaded").count();
    qcc.home().write_config(&cluster.render());
    qcc.sighup();
    eventually("the reload", || qcc.stderr().matches("the configuration was reloaded").count() > before)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_refuse_no_connection_and_cut_no_stream() {
    let gate = Gate::new("rest of the streams");
    let (a, b) =
        (Upstream::start(streams_with_a_pause(&gate)), Upstream::start(llm::on_post(llm::always(401))));
    // `b` is used first and leaves service, so that there is a word to keep.
    let cluster = Cluster::tiers([Endpoint::new("b", &b), Endpoint::new("a", &a)]);
    let qcc = Arc::new(Qcc::start(&cluster));
    let client = Client::of(&qcc);
    client.ask("benches b").await.expect_from("a");
    let before = qcc.endpoint_in("b", "unhealthy").await;

    let http2 = Http2Client::connect(qcc.address()).await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|number| match number % 2 {
            0 => http2.asking_streamed(&format!("stream {number}")),
            _ => {
                let client = client.clone();
                tokio::spawn(async move { client.ask_streamed(&format!("stream {number}")).await })
            }
        })
        .collect();
    gate.arrived(STREAMS).await;
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let short: Vec<_> = (0..4)
        .map(|number| {
            let (over, served, url) = (over.clone(), served.clone(), qcc.url());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    // A connection of its own each, so that a refused one would show.
                    Client::at(&url).ask(&format!("short {number}")).await.expect_from("a");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..RELOADS {
        let served_before = served.load(Ordering::SeqCst);
        let mut changed = cluster.clone();
        // A new weight is no new endpoint.
        changed.endpoints[round % 2] =
            changed.endpoints[round % 2].clone().line(&format!("weight = {}", 10 + round));
        reload(&qcc, &changed).await;
        eventually("requests go on", || served.load(Ordering::SeqCst) > served_before).await;
    }
    over.store(true, Ordering::SeqCst);
    for short in short {
        short.await.unwrap();
    }
    gate.open();
    for stream in streams {
        assert_eq!(stream.await.unwrap().expect_from("a").text(), whole_stream());
    }
    let after = qcc.endpoint("b");
    for field in WORD {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(b.users().len(), 1, "out of service it stays");
    println!("{RELOADS} reloads, {STREAMS} streams, {} short requests", served.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_endpoint_keeps_its_connections() {
    let a = Upstream::healthy();
    let cluster = one(&a);
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    client.ask("before").await.expect_from("a");
    let connections = a.connections();
    for weight in 1..=5 {
        let mut changed = cluster.clone();
        changed.endpoints[0] = changed.endpoints[0].clone().line(&format!("weight = {weight}"));
        reload(&qcc, &changed).await;
        client.ask("after").await.expect_from("a");
    }
    assert_eq!(a.connections(), connections, "no connection was made anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_streams_of_an_endpoint_that_is_removed_end_whole() {
    let gate = Gate::new("rest of the streams");
    let (a, b) = (Upstream::start(streams_with_a_pause(&gate)), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    let http2 = Http2Client::connect(qcc.address()).await;
    let streams: Vec<_> = (0..STREAMS).map(|number| http2.asking_streamed(&format!("{number}"))).collect();
    gate.arrived(STREAMS).await;
    reload(&qcc, &Cluster::tiers([Endpoint::new("b", &b)])).await;
    Client::of(&qcc).ask("elsewhere").await.expect_from("b");
    gate.open();
    for stream in streams {
        assert_eq!(stream.await.unwrap().expect_from("a").text(), whole_stream());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_go_by_the_ca_file_of_the_reload_and_the_old_ones_are_let_go() {
    let a = Upstream::healthy();
    let front = tls::front(&a);
    let endpoint = Endpoint::at("a", &front.url()).per_request();
    let trusting =
        Cluster::tiers([endpoint]).line("ca_file = 'authority.pem'").health("failure_threshold = 15");
    let distrusting = trusting.clone().line("ca_file = 'other.pem'");
    let home = Home::new(&distrusting);
    home.write_private("authority.pem", tls::authority_pem());
    home.write_private("other.pem", &tls::another_authority_pem());
    let qcc = home.start();
    let client = Client::of(&qcc);
    assert_eq!(client.ask("not trusted yet").await.status, 529);
    reload(&qcc, &trusting).await;
    client.ask("trusted").await.expect_from("a");
    let connections = a.connections();
    client.ask("kept").await.expect_from("a");
    reload(&qcc, &trusting.clone().line("queue_timeout = '1s'")).await;
    client.ask("kept over a reload").await.expect_from("a");
    assert_eq!(a.connections(), connections);
    // Trust that is withdrawn is not lived on by a connection that was kept.
    reload(&qcc, &distrusting).await;
    assert_eq!(client.ask("trusted no more").await.status, 529);
    assert_eq!(a.users().len(), 3);
}
