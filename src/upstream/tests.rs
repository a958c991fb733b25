//! What whole-program tests can't force: an order of events between the kernel, the runtime and hyper.

mod http1;
mod http2;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request};
use qcc_fsm::{HealthCell, Stamp, Tick};

use super::*;
use crate::config::{Environment, parse_str};
use crate::fields::Fields;

const PATIENCE: Duration = Duration::from_secs(60);

/// An endpoint that is in service until it is said to have left.
struct Service(AtomicBool);

impl Service {
    fn running() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn leave(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Admission for Service {
    fn is_current(&self, _: Stamp) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn stamp() -> Stamp {
    HealthCell::new().admit(Tick(1)).unwrap().stamp()
}

fn origin(upstream: SocketAddr) -> Origin {
    let text = format!(
        "[clusters.work]\n[[clusters.work.endpoints]]\nname = 'a'\napi_key = 'key-of-a'\nbase_url = 'http://{upstream}'\n"
    );
    let settings = parse_str(&text, "f".as_ref(), &Environment::closed([])).unwrap();
    let cluster = settings.cluster(None).unwrap();
    let (endpoint, egress) = (&cluster.endpoints[0], Egress::new(Arc::new(Tcp), cluster));
    Origin::new(&endpoint.base_url, &endpoint.api_key, endpoint.auth, &egress).unwrap()
}

static TARGET: LazyLock<PathAndQuery> = LazyLock::new(|| PathAndQuery::from_static("/v1/messages"));
static FIELDS: LazyLock<Fields> = LazyLock::new(Fields::default);

fn question() -> Draft<'static> {
    let body = ReplayBody::new(vec![Bytes::from_static(b"question")]);
    Draft { method: &Method::POST, target: &TARGET, fields: &FIELDS, body }
}

fn post(origin: &Origin) -> Request<ReplayBody> {
    origin.connections.pool.head.request(question(), &origin.authority)
}

fn read_request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    let mut piece = [0; 1024];
    while !read.ends_with(b"question") {
        let length = stream.read(&mut piece).unwrap();
        assert_ne!(length, 0, "the peer left");
        read.extend_from_slice(&piece[..length]);
    }
}

#[derive(Clone, Copy, Debug)]
enum Close {
    Fin,
    Reset,
    TimeoutAnswer,
}

/// Whether the kernel has this connection of loopback and its near end has not heard of the far one's (state 01).
fn is_established(near: SocketAddr, far: SocketAddr) -> bool {
    let shown = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let wanted = [shown(near), shown(far), "01".to_owned()];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().skip(1).take(3).eq(wanted.iter().map(String::as_str)))
}

#[test]
fn a_key_goes_to_the_origin_that_the_connection_is_of() {
    for port in [1, 2] {
        let origin = origin(([127, 0, 0, 1], port).into());
        let head = origin.connections.pool.head.bytes(&question(), 0);
        let head = String::from_utf8(head.as_ref().to_vec()).unwrap();
        let host = format!("POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nvia: ");
        assert!(head.starts_with(&host), "{head}");
        let keys = "\r\nx-api-key: key-of-a\r\nauthorization: Bearer key-of-a\r\ncontent-length: 8\r\n\r\n";
        assert!(head.ends_with(keys), "{head}");
        let request = post(&origin);
        assert_eq!(request.uri().authority().unwrap().as_str(), format!("127.0.0.1:{port}"));
        assert!(request.headers()["x-api-key"].is_sensitive());
        assert!(request.headers()["authorization"].is_sensitive());
        assert!(!format!("{request:?}").contains("key-of"), "{request:?}");
    }
}

/// The runtime here has one thread, which hears of the network only when it has nothing else to do. So what the
/// other thread does while this one waits for it is in the kernel, and the runtime does not know of it.
#[tokio::test]
async fn a_kept_connection_that_was_closed_unheard_gets_no_byte_of_a_request() {
    for how in [Close::Fin, Close::Reset, Close::TimeoutAnswer] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = origin(listener.local_addr().unwrap());
        let (close, told) = std::sync::mpsc::channel();
        let (closed, heard) = std::sync::mpsc::channel();
        let upstream = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            told.recv().unwrap();
            let (far, near) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let tell = || {
                while is_established(near, far) {
                    thread::yield_now();
                }
                closed.send(()).unwrap();
            };
            match how {
                Close::Fin => stream.shutdown(Shutdown::Write).unwrap(),
                Close::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                    drop(stream);
                    tell();
                    return Vec::new();
                }
                Close::TimeoutAnswer => {
                    stream.write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                }
            }
            tell();
            let mut after = Vec::new();
            let _ = stream.read_to_end(&mut after);
            after
        });
        let gate: Arc<dyn Admission> = Service::running();
        let response =
            origin.connection(&gate).await.unwrap().send(question(), stamp(), PATIENCE).await.unwrap();
        assert_eq!(response.status, 200);
        assert!(response.body.is_end_stream());

        let connection = origin.connection(&gate).await.unwrap();
        assert!(connection.is_reused());
        close.send(()).unwrap();
        heard.recv().unwrap();
        match connection.send(question(), stamp(), PATIENCE).await {
            Err(SendError::Unsent(why)) => assert!(why.is_of_connection(), "{how:?} {why}"),
            Err(error) => panic!("{how:?} {error:?}"),
            Ok(_) => panic!("{how:?} there was an answer"),
        }
        assert_eq!(upstream.join().unwrap(), b"", "{how:?}");
    }
}

/// Asked between the look at a kept connection and the write: when it is armed it has the upstream close just then.
#[derive(Default)]
struct ClosesBeforeWrite(std::sync::Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl Admission for ClosesBeforeWrite {
    fn is_current(&self, _: Stamp) -> bool {
        if let Some((close, closed)) = self.0.lock().unwrap().take() {
            close.send(()).unwrap();
            closed.recv().unwrap();
        }
        true
    }
}

/// Whether the upstream still reads once it has closed: then it may take a request that nobody gets an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closes {
    ItsHalf,
    Both,
}

#[tokio::test]
async fn what_is_written_as_the_upstream_closes_is_lost_and_never_taken_for_unsent() {
    for round in 0..200 {
        let closes = if round % 2 == 0 { Closes::ItsHalf } else { Closes::Both };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = origin(listener.local_addr().unwrap());
        let (close, told) = mpsc::channel();
        let (tell, closed) = mpsc::channel();
        let upstream = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            let (far, near) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            told.recv().unwrap();
            let mut rest = match closes {
                Closes::ItsHalf => {
                    stream.shutdown(Shutdown::Write).unwrap();
                    Some(stream)
                }
                Closes::Both => {
                    drop(stream);
                    None
                }
            };
            while is_established(near, far) {
                thread::yield_now();
            }
            tell.send(()).unwrap();
            rest.iter_mut().for_each(read_request);
            usize::from(rest.is_some())
        });
        let closer = Arc::new(ClosesBeforeWrite::default());
        let gate: Arc<dyn Admission> = closer.clone();
        let response =
            origin.connection(&gate).await.unwrap().send(question(), stamp(), PATIENCE).await.unwrap();
        assert!(response.body.is_end_stream());

        let connection = origin.connection(&gate).await.unwrap();
        assert!(connection.is_reused());
        *closer.0.lock().unwrap() = Some((close, closed));
        let sent = connection.send(question(), stamp(), PATIENCE).await;
        assert!(matches!(sent, Err(SendError::Lost(_))), "{round}: {:?}", sent.map(drop));
        let taken = upstream.join().unwrap();
        assert_eq!(taken, usize::from(closes == Closes::ItsHalf), "{round}");
    }
}

/// Two threads: one hands a request over, the other ends the connection that was to take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_handed_over_as_its_connection_ends_hears_of_it() {
    const ROUNDS: usize = 3000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap());
    let gate: Arc<dyn Admission> = Service::running();
    let mut wait = 1000;
    for round in 0..ROUNDS {
        let (connection, accepted) = tokio::join!(origin.new_connection(&gate), listener.accept());
        let (connection, (peer, _)) = (connection.unwrap(), accepted.unwrap());
        let close = tokio::spawn(async move { drop(peer) });
        (0..fastrand::u32(..=2 * wait)).for_each(|_| std::hint::spin_loop());
        let sending = connection.send(question(), stamp(), PATIENCE);
        let sent = tokio::time::timeout(std::time::Duration::from_secs(5), sending).await;
        let sent = sent.unwrap_or_else(|_| panic!("nothing was heard of the request of round {round}"));
        // So that mostly the two meet.
        wait = match sent {
            Err(SendError::Lost(_)) => wait + wait / 16 + 1,
            Err(SendError::Unsent(_)) => wait - wait / 16,
            other => panic!("{round}: {:?}", other.map(drop)),
        };
        close.await.unwrap();
    }
}
