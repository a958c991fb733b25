//! Clients that take or send too slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::one;
use super::support::client::raw_request;
use super::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, SETTINGS, Said, block, frame};
use super::support::http::chunk;
use super::support::under::{descriptors, memory_kib, raise_limit};
use super::support::{
    Client, Cluster, Endpoint, Qcc, Raw, Upstream, eventually, eventually_some, llm, within,
};

/// An upstream whose every answer is a stream that never ends, and that counts what it could write.
struct Endless {
    address: String,
    streams: Arc<std::sync::Mutex<Vec<Arc<AtomicUsize>>>>,
    left: Arc<AtomicUsize>,
}

impl Endless {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let endless = Self { address, streams: Arc::default(), left: Arc::default() };
        let (streams, left) = (endless.streams.clone(), endless.left.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (streams, left) = (streams.clone(), left.clone());
                tokio::spawn(async move {
                    let written = Arc::<AtomicUsize>::default();
                    if endless_answer(stream, &written, &streams).await.is_err() {
                        left.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        endless
    }

    fn written(&self) -> Vec<usize> {
        self.streams.lock().unwrap().iter().map(|written| written.load(Ordering::SeqCst)).collect()
    }

    /// Awaits that nothing is taken of any stream any more.
    async fn all_are_paused(&self, streams: usize) -> Vec<usize> {
        eventually_some("every stream runs", || (self.written().len() == streams).then_some(())).await;
        let mut before = self.written();
        within("all upstreams are paused", async {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let now = self.written();
                if now == before {
                    return now;
                }
                before = now;
            }
        })
        .await
    }
}

async fn endless_answer(
    mut stream: TcpStream,
    written: &Arc<AtomicUsize>,
    streams: &std::sync::Mutex<Vec<Arc<AtomicUsize>>>,
) -> std::io::Result<()> {
    let mut request = vec![0; 64 * 1024];
    let length = stream.read(&mut request).await?;
    if request[..length].starts_with(b"GET") {
        let list = llm::model_list().to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len());
        stream.write_all(head.as_bytes()).await?;
        return Ok(());
    }
    streams.lock().unwrap().push(written.clone());
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    let events = llm::message_events(&[&"x".repeat(16 * 1024)]);
    let (start, delta) = (events[..3].concat(), events[3].as_bytes());
    stream.write_all(&chunk(start.as_bytes())).await?;
    let piece = chunk(delta);
    loop {
        stream.write_all(&piece).await?;
        written.fetch_add(piece.len(), Ordering::SeqCst);
    }
}

/// A client with a small window that asks for a stream and takes nothing of it.
async fn stalled(qcc: &Qcc) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = within("a connection", socket.connect(qcc.address().parse().unwrap())).await.unwrap();
    let body = llm::streamed(llm::message("stalled")).to_string();
    let headers = ["content-type: application/json", "x-api-key: client-key"];
    stream
        .write_all(&raw_request("POST", "/v1/messages", qcc.address(), &headers, body.as_bytes()))
        .await
        .unwrap();
    stream
}

const STALLED: usize = 200;
/// What may be under way on one stream between its upstream and a client that takes nothing: the kernel's buffers of
/// two connections, and a share of the program's own.
const UNDER_WAY_MAX: usize = 8 * 1024 * 1024;
/// The program's own share of it, on average.
const HELD_KIB_MAX: u64 = 384;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_take_nothing_pause_their_upstreams_and_hold_up_nobody_else() {
    raise_limit();
    let (endless, well) = (Endless::start().await, Upstream::healthy());
    let cluster = Cluster::tiers([
        Endpoint::at("endless", &format!("http://{}", endless.address)),
        Endpoint::new("well", &well).openai(),
    ]);
    let qcc = Qcc::start(&cluster);
    let client = Client::of(&qcc);
    let ask =
        async || super::support::exchange(client.post("/v1/chat/completions", &llm::chat("beside"))).await;
    ask().await.expect_from("well");
    let memory_before = memory_kib(qcc.pid());
    let mut readers = Vec::new();
    for _ in 0..STALLED {
        readers.push(stalled(&qcc).await);
    }
    let written = endless.all_are_paused(STALLED).await;
    let memory = memory_kib(qcc.pid());
    let held_kib = (memory - memory_before) / STALLED as u64;
    println!(
        "{STALLED} stalled readers of endless streams: {memory_before} KiB before, {memory} KiB, {held_kib} KiB each; \
         an upstream could write {} KiB at most",
        written.iter().max().unwrap() / 1024
    );
    assert!(written.iter().all(|written| *written < UNDER_WAY_MAX), "{written:?}");
    assert!(held_kib <= HELD_KIB_MAX, "{held_kib} KiB a reader");
    for _ in 0..20 {
        ask().await.expect_from("well");
    }
    // One that begins to take gets what waited.
    let mut reader = readers.pop().unwrap();
    let mut taken = vec![0; 1 << 20];
    within("the paused stream goes on", reader.read_exact(&mut taken)).await.unwrap();
    drop((reader, readers));
    eventually("all upstreams are let go", || endless.left.load(Ordering::SeqCst) == STALLED).await;
    let endpoint = qcc.endpoint_when("endless", "is at rest", |it| it["in_flight"] == 0).await;
    assert_eq!((&endpoint["state"], &endpoint["failures"]), (&"healthy".into(), &0.into()), "{endpoint:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_for_the_idle_limit_is_given_up() {
    let endless = Endless::start().await;
    let cluster = Cluster::tiers([Endpoint::at("endless", &format!("http://{}", endless.address))]);
    let qcc = Qcc::start(&cluster.timeouts("idle = '1s'"));
    let reader = stalled(&qcc).await;
    eventually("the upstream is let go", || endless.left.load(Ordering::SeqCst) == 1).await;
    let endpoint = qcc.endpoint_when("endless", "is at rest", |it| it["in_flight"] == 0).await;
    assert_eq!((&endpoint["state"], &endpoint["failures"]), (&"healthy".into(), &0.into()), "{endpoint:#}");
    drop(reader);
}

/// Over HTTP/2 each stream has a window of its own, which says nothing of the connection: pings are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_over_http2_of_which_nothing_is_taken_for_the_idle_limit_is_given_up() {
    let endless = Endless::start().await;
    let cluster = Cluster::tiers([Endpoint::at("endless", &format!("http://{}", endless.address))]);
    let qcc = Qcc::start(&cluster.timeouts("idle = '1s'"));
    let (mut frames, head) = windowless(&qcc, 0, "POST", "/v1/messages").await;
    let body = llm::streamed(llm::message("stalled")).to_string();
    let data = frame(DATA, END_STREAM, 1, body.as_bytes());
    frames.send(&[frame(HEADERS, END_HEADERS, 1, &head), data].concat()).await;
    assert_eq!(frames.said().await, Said::Status(200));
    // CANCEL (RFC 9113 §7).
    assert_eq!(frames.said().await, Said::Reset(8));
    eventually("the upstream is let go", || endless.left.load(Ordering::SeqCst) == 1).await;
    let endpoint = qcc.endpoint_when("endless", "is at rest", |it| it["in_flight"] == 0).await;
    assert_eq!((&endpoint["state"], &endpoint["failures"]), (&"healthy".into(), &0.into()), "{endpoint:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_over_http2_ends_though_the_last_answer_on_it_is_never_taken_whole() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a).timeouts("idle = '300ms'\nclient_header = '300ms'"));
    for window in [0, 1] {
        let (mut frames, head) = windowless(&qcc, window, "GET", "/livez").await;
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).await;
        let end = async { while frames.said().await != Said::Closed {} };
        within(&format!("the end of a connection with a window of {window}"), end).await;
    }
}

/// A connection of which each stream may have so many bytes, and the head of a request.
async fn windowless(qcc: &Qcc, window: u8, method: &str, path: &str) -> (Frames, Vec<u8>) {
    let mut frames = Frames::connect(qcc.address()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE
    frames.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, window])).await;
    let address = qcc.address();
    let fields = [(":method", method), (":scheme", "http"), (":authority", address), (":path", path)];
    (frames, block(fields))
}

const TRICKLING: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_trickle_in_are_cut_off_and_others_are_served_meanwhile() {
    raise_limit();
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a).timeouts("client_header = '1s'"));
    let client = Client::of(&qcc);
    client.ask("before").await.expect_from("a");
    let files_before = descriptors(qcc.pid());
    let memory_before = memory_kib(qcc.pid());
    let mut trickling = Vec::new();
    for number in 0..TRICKLING {
        let address = qcc.address().to_owned();
        trickling.push(tokio::spawn(async move {
            let mut stream = within("a connection", TcpStream::connect(&address)).await.unwrap();
            // Some never get beyond the first byte.
            let begun = if number % 5 == 0 {
                "P"
            } else {
                "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-slow: "
            };
            let _ = stream.write_all(begun.as_bytes()).await;
            let mut answer = [0; 1024];
            loop {
                tokio::select! {
                    read = stream.read(&mut answer) => if let Ok(0) | Err(_) = read { return },
                    () = tokio::time::sleep(Duration::from_millis(100)) => drop(stream.write_all(b"x").await),
                }
            }
        }));
    }
    for _ in 0..20 {
        client.ask("meanwhile").await.expect_from("a");
    }
    let memory = memory_kib(qcc.pid());
    println!("{TRICKLING} trickling heads: {memory_before} KiB before, {memory} KiB");
    for trickling in trickling {
        within("it is cut off", trickling).await.unwrap();
    }
    eventually("descriptors are given back", || descriptors(qcc.pid()) <= files_before + 2).await;
    assert_eq!(a.users().len(), 21, "none of them went up");
    let mut raw = Raw::connect(qcc.address()).await;
    let body = llm::message("after").to_string();
    let request = raw_request("POST", "/v1/messages", qcc.address(), &["x-api-key: k"], body.as_bytes());
    assert_eq!(raw.ask(request).await.status(), 200);
}
