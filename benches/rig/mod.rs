//! The whole proxy between a client and its upstreams, all in memory and on one thread: no socket and no kernel, so
//! that an exchange costs the same each time.

#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(clippy::expect_used, reason = "a benchmark that can't be set up is of no use")]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use hyper::http::header::HeaderMap;
use qcc::clock::Clock;
use qcc::cluster::Cluster;
use qcc::config::{Environment, parse_str};
use qcc::proxy::{EndsAnswers, Proxy, serve_connection};
use qcc_fsm::AdminCommand;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::inputs::{claude_code_headers, few_headers, small_body, small_body_of_stream};

mod upstream;

pub use upstream::Answer;
use upstream::{InMemory, Wire};

/// What the connection between the client and the proxy holds.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// A runtime of one thread, with the time as it goes.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A runtime of one thread on which no time passes while there is something to do: the same work each time.
pub fn runtime_out_of_time() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// A client with a connection that it keeps.
pub struct Client {
    runtime: Runtime,
    connection: DuplexStream,
    request: Vec<u8>,
    answer_end: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// A client of the proxy, in front of upstreams that give these answers; it asks for what the last one gives. The
    /// first is the first choice as long as it is in service.
    pub fn of_proxy(runtime: Runtime, answers: Vec<Answer>) -> (Self, Arc<Cluster>) {
        let (ours, theirs) = duplex(UNREAD_BYTES_MAX);
        let last = answers.last().cloned().expect("an upstream");
        let context = runtime.enter();
        let cluster = cluster_over(answers);
        let (stop, stopped) = watch::channel(false);
        let serving = serve_connection(Proxy::new(cluster.clone()), theirs, EndsAnswers::default(), stopped);
        runtime.spawn(async move {
            serving.await;
            drop(stop);
        });
        drop(context);
        (Self::new(runtime, ours, &last), cluster)
    }

    /// A client of an upstream; what is between them copies bytes.
    pub fn of_byte_copy(runtime: Runtime, answer: &Answer) -> Self {
        let (ours, mut theirs) = duplex(UNREAD_BYTES_MAX);
        let mut wire = Wire::to(answer.clone());
        runtime.spawn(async move { copy_bidirectional(&mut theirs, &mut wire).await });
        Self::new(runtime, ours, answer)
    }

    fn new(runtime: Runtime, connection: DuplexStream, answer: &Answer) -> Self {
        let body = if answer.is_stream() { small_body_of_stream() } else { small_body() };
        let request = request(&claude_code_headers(), &body);
        let answer_end = answer.end.to_vec();
        Self { runtime, connection, request, answer_end, answer: Vec::with_capacity(UNREAD_BYTES_MAX) }
    }

    /// Asks with a few headers, and not with those of Claude Code, for what is no stream.
    pub fn with_few_headers(self) -> Self {
        Self { request: request(&few_headers(), &small_body()), ..self }
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Panics
    /// When it is another answer than the one that the last upstream gives.
    pub fn exchange(&mut self) {
        let Self { runtime, connection, request, answer_end, answer } = self;
        answer.clear();
        runtime.block_on(async {
            connection.write_all(request).await.expect("written");
            while !answer.ends_with(answer_end) {
                assert_ne!(connection.read_buf(answer).await.expect("read"), 0, "the answer is cut");
            }
        });
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "no success");
    }
}

/// Makes every endpoint as good as new; connections stay.
pub fn reset(cluster: &Cluster) {
    for endpoint in cluster.roster().endpoints() {
        cluster.command(endpoint, AdminCommand::Reset);
    }
}

/// A session returns to its first choice at once, so that each request finds what the one before did.
fn cluster_over(answers: Vec<Answer>) -> Arc<Cluster> {
    let mut text = String::from("[clusters.bench]\nsession_ttl = \"0s\"\n");
    for place in 1..=answers.len() {
        let _ = write!(
            text,
            "[[clusters.bench.endpoints]]\nname = \"e{place}\"\nbase_url = \"http://127.0.0.1:{place}\"\n\
             api_key = \"k{place}\"\npriority = {place}\n"
        );
    }
    let settings = parse_str(&text, Path::new("bench.toml"), &Environment::closed([])).expect("valid");
    Cluster::over(Arc::new(InMemory(answers)), settings.clusters["bench"].clone(), Clock::start())
        .expect("set up")
}

fn request(headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let headers = text_of(headers);
    let head =
        format!("POST /v1/messages?beta=true HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Headers as they are written in HTTP/1.1.
fn text_of(headers: &HeaderMap) -> String {
    let line = |name: &str, value: &[u8]| format!("{name}: {}\r\n", String::from_utf8_lossy(value));
    headers.iter().map(|(name, value)| line(name.as_str(), value.as_bytes())).collect()
}
