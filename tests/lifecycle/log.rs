//! A log that nobody reads, or that can't be written, stops nobody.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::one;
use super::support::proxy::Home;
use super::support::under::under;
use super::support::{Answer, Client, Cluster, Endpoint, Qcc, Upstream, eventually, eventually_some, llm};

/// Has so many lines logged, or more: an endpoint is found to lack the model.
async fn log_a_lot(client: &Client, lines: usize) {
    for number in 0..lines {
        let mut body = llm::message("a model that is lacking");
        body["model"] = format!("{}-{number}", "m".repeat(200)).into();
        super::support::exchange(client.post("/v1/messages", &body)).await;
    }
}

/// Knows only the models of other tests.
fn lacking() -> Upstream {
    Upstream::start(llm::on_post(|request| {
        let model = request.json()["model"].as_str().unwrap_or_default().to_owned();
        match model.starts_with("mmm") {
            true => Answer::json(404, &llm::anthropic_error("not_found_error", &format!("model: {model}"))),
            false => llm::healthy(request),
        }
    }))
}

/// A process whose log goes where the test says.
struct Logged(Child);

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_nobody_and_the_end_is_as_quick() {
    let (a, b) = (lacking(), lacking());
    let home = Home::new(&Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]));
    let out = home.path("out");
    let mut command = home.start_command(&[]);
    command.env("QCC_LOG", "trace").stdout(File::create(&out).unwrap());
    // The pipe is kept and never read.
    let mut logged = Logged(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut pipe = logged.0.stderr.take().unwrap();
    let line = eventually_some("the ready line", || {
        fs::read_to_string(&out).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    let client = Client::at(line.trim().rsplit(' ').next().unwrap());
    // Each costs a line of 200 bytes at least: several times the 64 KiB of a pipe.
    log_a_lot(&client, 600).await;
    for _ in 0..20 {
        client.ask("as ever").await.expect_from("a");
    }
    home.run(&["status"]).expect_code(0);
    home.run(&["proxy", "stop"]).expect_code(0);
    assert_eq!(logged.0.wait().unwrap().code(), Some(0));
    let mut waiting = Vec::new();
    pipe.read_to_end(&mut waiting).unwrap();
    assert!(waiting.len() > 60 * 1024, "the pipe was full: {} bytes", waiting.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_logged_is_written_before_the_end() {
    let a = Upstream::start(llm::always(401));
    let mut qcc = Qcc::start(&one(&a));
    qcc.run(&["endpoint", "disable", "a"]).expect_code(0);
    qcc.run(&["endpoint", "enable", "a"]).expect_code(0);
    qcc.sigterm();
    assert_eq!(qcc.wait(), Some(0));
    eventually("the last line", || qcc.stderr().contains("draining")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_stops_nobody() {
    for shell in [
        // Disk full.
        "exec 2>/dev/full",
        // Closed; a pipe whose reader has gone.
        "exec 2>&-",
        "exec 2>/dev/null; mkfifo pipe; cat pipe >/dev/null & exec 2>pipe; kill $!",
        // A file that may grow no more: the signal for that would end the process.
        "ulimit -f 0; exec 2>log",
    ] {
        let (a, b) = (lacking(), lacking());
        let cluster = Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)]);
        let mut qcc = Home::new(&cluster).start_under(shell);
        let client = Client::of(&qcc);
        log_a_lot(&client, 20).await;
        client.ask("as ever").await.expect_from("a");
        qcc.sighup();
        qcc.run(&["status"]).expect_code(0);
        qcc.run(&["proxy", "stop"]).expect_code(0);
        assert_eq!(qcc.wait(), Some(0), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_line_that_cannot_be_written_stops_nobody() {
    for shell in ["exec >/dev/full", "exec >&-"] {
        let a = Upstream::healthy();
        let home = Home::new(&one(&a));
        let mut command: Command = under(shell, &home.start_command(&[]));
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut logged = Logged(command.spawn().unwrap());
        let status = eventually_some("the status", || {
            let done = home.run(&["status", "--json"]);
            (done.code == Some(0)).then(|| done.json())
        })
        .await;
        let client = Client::at(&format!("http://{}", status["listen"].as_str().unwrap()));
        client.ask("as ever").await.expect_from("a");
        home.run(&["proxy", "stop"]).expect_code(0);
        assert_eq!(logged.0.wait().unwrap().code(), Some(0), "{shell}");
    }
}
