//! Start, drain, stop.

use tokio::net::TcpStream;

use super::one;
use super::support::llm::EVENTS_BEFORE_CONTENT;
use super::support::proxy::Home;
use super::support::{Answer, Client, Gate, Qcc, Upstream, eventually, llm};

/// An upstream whose streams show their first content and then wait.
fn paused(gate: &Gate) -> Upstream {
    let (gate, events) = (gate.clone(), llm::message_events(&["one", "two"]));
    Upstream::start(llm::on_post(move |_| {
        let (shown, rest) = events.split_at(EVENTS_BEFORE_CONTENT + 1);
        rest.iter().fold(Answer::events(shown).wait(&gate), |answer, event| answer.chunk(event.as_str()))
    }))
}

async fn refuses(address: &str) {
    let address = address.to_owned();
    super::support::within("new connections are refused", async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_where_and_how_to_use_it() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a));
    let port = qcc.address().strip_prefix("127.0.0.1:").unwrap().parse::<u16>().unwrap();
    assert_ne!(port, 0, "the port it really has");
    eventually("the hint for Claude Code", || qcc.stderr().contains("ANTHROPIC_BASE_URL")).await;
    assert!(qcc.stderr().contains(&qcc.url()), "{}", qcc.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_a_failure_that_names_it() {
    let a = Upstream::healthy();
    let home = Home::new(&one(&a));
    let taken = a.address().to_string();
    let done = home.run(&["proxy", "start", "--listen", &taken]).expect_code(1);
    assert!(done.stderr.contains(&taken), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_running_stream_end() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::new("rest of the stream");
        let a = paused(&gate);
        let mut qcc = Qcc::start(&one(&a));
        let client = Client::of(&qcc);
        let streaming = tokio::spawn(async move { client.ask_streamed("running").await });
        gate.arrived(1).await;
        qcc.signal(signal);
        refuses(qcc.address()).await;
        assert!(qcc.is_running());
        gate.open();
        let whole = llm::message_events(&["one", "two"]).concat();
        assert_eq!(streaming.await.unwrap().expect_from("a").text(), whole);
        assert_eq!(qcc.wait(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_drain_is_aborted_and_the_exit_is_still_clean() {
    let gate = Gate::new("never opened");
    let a = paused(&gate);
    let mut qcc = Qcc::start(&one(&a).line("drain_timeout = '300ms'"));
    let client = Client::of(&qcc);
    let streaming = tokio::spawn(async move { client.ask_streamed("too long").await });
    gate.arrived(1).await;
    qcc.sigterm();
    assert_eq!(qcc.wait(), Some(0));
    assert!(!streaming.await.unwrap().whole, "an abort is no end");
    eventually("the upstream is let go", || a.posts()[0].was_abandoned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let gate = Gate::new("never opened");
    let a = paused(&gate);
    let mut qcc = Qcc::start(&one(&a).line("drain_timeout = '10m'"));
    let client = Client::of(&qcc);
    let _streaming = tokio::spawn(async move { client.ask_streamed("too long").await });
    gate.arrived(1).await;
    qcc.sigterm();
    refuses(qcc.address()).await;
    qcc.sigterm();
    qcc.wait();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_it_cleanly_and_another_can_start() {
    let a = Upstream::healthy();
    let mut qcc = Qcc::start(&one(&a));
    let address = qcc.address().to_owned();
    qcc.run(&["proxy", "stop"]).expect_code(0);
    assert_eq!(qcc.wait(), Some(0));
    refuses(&address).await;
    qcc.run(&["status"]).expect_code(5);
    let again = qcc.into_home().start();
    Client::of(&again).ask("again").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_nothing_that_stops_the_next_start() {
    let a = Upstream::healthy();
    let mut qcc = Qcc::start(&one(&a));
    qcc.signal("KILL");
    assert_eq!(qcc.wait(), None);
    qcc.run(&["status"]).expect_code(5);
    let again = qcc.into_home().start();
    Client::of(&again).ask("again").await.expect_from("a");
    assert_eq!(again.status()["usable"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_proxy_of_a_cluster_is_refused_and_the_first_goes_on() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a));
    let second = qcc.run(&["proxy", "start", "--cluster", "work"]).expect_code(1);
    assert!(second.stderr.contains("work"), "{}", second.stderr);
    assert_eq!(qcc.status()["listen"], qcc.address());
    Client::of(&qcc).ask("as ever").await.expect_from("a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_a_connection_on_which_nothing_came() {
    let a = Upstream::healthy();
    let mut qcc = Qcc::start(&one(&a).line("drain_timeout = '10m'").timeouts("client_header = '10m'"));
    let silent = TcpStream::connect(qcc.address()).await.unwrap();
    // Served on a later connection, so the silent one has been accepted.
    Client::of(&qcc).ask("served").await.expect_from("a");
    qcc.sigterm();
    assert_eq!(qcc.wait(), Some(0));
    drop(silent);
}
