//! Killed at any moment, it can be started at once; and one cluster has one proxy.

use std::time::Duration;

use super::one;
use super::support::proxy::Home;
use super::support::under::raise_limit;
use super::support::{Client, Qcc, Upstream, within};

const KILLS: u64 = 20;

/// A generator whose numbers a printed seed gives again (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_next_start_serves_at_once_at_the_same_place() {
    let seed = std::env::var("QCC_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    println!("QCC_TEST_SEED={seed}");
    let mut random = Random(seed);
    let a = Upstream::healthy();
    // A port of its own, so that it can be had again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("listen = '127.0.0.1:{port}'");
    let mut home = Home::new(&one(&a).line(&listen));
    for kill in 0..KILLS {
        // From before it has read its configuration to well into its work.
        let after = Duration::from_micros(random.below(60_000));
        let mut starting = home
            .start_command(&[])
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::at(&format!("http://127.0.0.1:{port}"));
        let load = tokio::spawn(async move {
            loop {
                let _ = client.post("/v1/messages", &super::support::llm::message("load")).send().await;
                tokio::task::yield_now().await;
            }
        });
        tokio::time::sleep(after).await;
        starting.kill().unwrap();
        starting.wait().unwrap();
        load.abort();
        let mut qcc = home.start();
        assert!(qcc.address().ends_with(&port.to_string()), "kill {kill} after {after:?}");
        Client::of(&qcc).ask("served").await.expect_from("a");
        assert_eq!(qcc.status()["usable"], 1, "kill {kill} after {after:?}");
        qcc.signal("KILL");
        assert_eq!(qcc.wait(), None);
        home = qcc.into_home();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_start_at_once_over_a_leftover_one_serves() {
    let a = Upstream::healthy();
    let mut qcc = Qcc::start(&one(&a));
    qcc.signal("KILL");
    qcc.wait();
    let home = qcc.into_home();
    for round in 0..5 {
        let mut starting: Vec<_> = (0..6)
            .map(|_| {
                let mut command = home.start_command(&[]);
                let null = std::process::Stdio::null;
                command.stdout(null()).stderr(null()).spawn().unwrap()
            })
            .collect();
        // All but one end by themselves.
        within("five are refused", async {
            loop {
                let running = starting.iter_mut().filter_map(|child| child.try_wait().unwrap()).count();
                if running >= 5 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let status = home.run(&["status", "--json"]).expect_code(0).json();
        let client = Client::at(&format!("http://{}", status["listen"].as_str().unwrap()));
        client.ask("served").await.expect_from("a");
        starting.retain_mut(|child| child.try_wait().unwrap().is_none());
        assert_eq!(starting.len(), 1, "round {round}");
        starting[0].kill().unwrap();
        starting[0].wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_hangs_is_one_all_the_same_and_keeps_its_socket() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a));
    qcc.signal("STOP");
    // More than the socket's queue takes, so that a look at it is not answered.
    raise_limit();
    let mut waiting = Vec::new();
    // Of tokio's, which do not wait for a place in the queue.
    while let Ok(socket) = tokio::net::UnixStream::connect(qcc.home().socket_path()).await {
        waiting.push(socket);
    }
    let second = qcc.run(&["proxy", "start", "--listen", "127.0.0.1:0"]).expect_code(1);
    assert!(second.stderr.contains("runs already"), "{}", second.stderr);
    qcc.signal("CONT");
    drop(waiting);
    Client::of(&qcc).ask("as ever").await.expect_from("a");
    assert_eq!(qcc.status()["usable"], 1);
}
