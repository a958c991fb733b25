//! A connection that the upstream closes while it is idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::http::{Framing, Head};
use crate::support::{Client, Cluster, Endpoint, Qcc, llm, within};

const ROUNDS: usize = 50;

/// How a connection ends once its first answer is out.
#[derive(Clone, Copy, Debug)]
enum Close {
    Fin,
    Reset,
    /// As servers tell that they have waited long enough.
    TimeoutAnswer,
}

/// Answers one POST on each connection, and closes it when it is told to.
struct OneAnswer {
    address: SocketAddr,
    posts: Arc<AtomicUsize>,
    connections: mpsc::UnboundedReceiver<Idle>,
}

/// A connection whose first answer is out.
struct Idle {
    stream: TcpStream,
}

impl OneAnswer {
    async fn start(header: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let posts = Arc::<AtomicUsize>::default();
        let (sender, connections) = mpsc::unbounded_channel();
        let counted = posts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, counted) = (sender.clone(), counted.clone());
                tokio::spawn(async move {
                    if let Some(stream) = answer(stream, header, &counted).await {
                        let _ = sender.send(Idle { stream });
                    }
                });
            }
        });
        Self { address, posts, connections }
    }

    fn cluster(&self) -> Cluster {
        Cluster::new("work").endpoint(Endpoint::at("a", &format!("http://{}", self.address)).per_request())
    }

    fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }

    async fn idle(&mut self) -> Idle {
        within("a connection with its answer", self.connections.recv()).await.unwrap()
    }
}

async fn answer(mut stream: TcpStream, header: &str, posts: &AtomicUsize) -> Option<TcpStream> {
    let _ = stream.set_nodelay(true);
    read_request(&mut stream).await?;
    posts.fetch_add(1, Ordering::SeqCst);
    let body = llm::message_answer("hello").to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\n{header}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    Some(stream)
}

async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut read = Vec::new();
    loop {
        if let Some((head, length)) = Head::parse(&read) {
            let Framing::Length(body) = head.framing() else { return None };
            if read.len() >= length + body {
                return Some(());
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

impl Idle {
    /// Closes it, and awaits that the peer's kernel has heard: what is still on its way nobody can know of.
    async fn close(self, how: Close) -> Option<TcpStream> {
        let (peer, here) = (self.stream.peer_addr().unwrap(), self.stream.local_addr().unwrap());
        let rest = self.end(how).await;
        within("the peer's kernel hears of the end", async {
            while is_established(peer, here) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        rest
    }

    async fn end(mut self, how: Close) -> Option<TcpStream> {
        match how {
            Close::Fin => self.stream.shutdown().await.unwrap(),
            Close::Reset => {
                self.stream.set_zero_linger().unwrap();
                return None;
            }
            Close::TimeoutAnswer => {
                let late = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                self.stream.write_all(late.as_bytes()).await.unwrap();
                self.stream.shutdown().await.unwrap();
            }
        }
        // Kept open on this side, so that no reset hides what a second request would have come to.
        Some(self.stream)
    }
}

/// Whether the kernel has this connection of loopback and its near end has not heard of the far one's (state 01).
fn is_established(near: SocketAddr, far: SocketAddr) -> bool {
    let shown = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let wanted = [shown(near), shown(far), "01".to_owned()];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().skip(1).take(3).eq(wanted.iter().map(String::as_str)))
}

async fn survives(how: Close) {
    let mut upstream = OneAnswer::start("").await;
    let qcc = Qcc::start(&upstream.cluster());
    let client = Client::of(&qcc);
    let mut ended = Vec::new();
    for round in 0..ROUNDS {
        let reply = client.ask(&format!("round {round}")).await.expect_from("a");
        assert_eq!(reply.attempts(), "1", "{how:?}, round {round}");
        ended.extend(upstream.idle().await.close(how).await);
    }
    assert_eq!(upstream.posts(), ROUNDS, "{how:?}");
    let endpoint = qcc.endpoint("a");
    assert_eq!((&endpoint["requests"]["failed"], &endpoint["failures"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(endpoint["state"], "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_was_closed_costs_no_attempt_and_no_second_post() {
    survives(Close::Fin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_was_reset_costs_no_attempt_and_no_second_post() {
    survives(Close::Reset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_says_408_and_closes_costs_no_attempt_and_no_second_post() {
    survives(Close::TimeoutAnswer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_not_kept_for_the_last_second_that_the_upstream_announces() {
    let mut upstream = OneAnswer::start("keep-alive: timeout=1\r\n").await;
    let qcc = Qcc::start(&upstream.cluster());
    let client = Client::of(&qcc);
    let mut open = Vec::new();
    for round in 0..3 {
        // Each connection takes one request only: a second one on it would stay without an answer.
        client.ask(&format!("round {round}")).await.expect_from("a");
        open.push(upstream.idle().await);
    }
    assert_eq!(upstream.posts(), 3);
}
