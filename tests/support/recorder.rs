//! An upstream that keeps every byte it gets and understands none: what it recorded is what was on the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::upstream::RUNTIME;

/// The last bytes of every body that a test lets through.
pub const END: &[u8] = b"~end~";
/// Methods whose requests end with their heads here.
const WITHOUT_BODY: [&[u8]; 4] = [b"GET ", b"HEAD ", b"DELETE ", b"OPTIONS "];
const ANSWER_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 37\r\n\r\n";
const ANSWER_BODY: &[u8] = b"{\"id\":\"x\",\"type\":\"message\",\"n\":\"123\"}";

pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Shared {
    bytes: Mutex<Vec<u8>>,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Recorder {
    pub fn start() -> Self {
        let _runtime = RUNTIME.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let shared = Arc::new(Shared::default());
        let accepting = RUNTIME.spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever opened to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// All bytes since it was last asked, of all connections in the order they came in.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.bytes.lock().unwrap())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.connections.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let task = RUNTIME.spawn(record(stream, shared.clone()));
        shared.connections.lock().unwrap().push(task.abort_handle());
    }
}

async fn record(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut unanswered = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        // Recorded before it is answered: who has the answer sees all of the request.
        shared.bytes.lock().unwrap().extend_from_slice(&piece[..length]);
        unanswered.extend_from_slice(&piece[..length]);
        let has_no_body = WITHOUT_BODY.iter().any(|method| unanswered.starts_with(method));
        if unanswered.ends_with(if has_no_body { b"\r\n\r\n" } else { END }) {
            let body = if unanswered.starts_with(b"HEAD ") { &[] } else { ANSWER_BODY };
            unanswered.clear();
            if stream.write_all(&[ANSWER_HEAD, body].concat()).await.is_err() {
                return;
            }
        }
    }
}
