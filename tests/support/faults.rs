//! An upstream of bare bytes, for faults: it says and ends what a script tells it to, byte for byte, and keeps a ledger
//! of all that it took. It reads requests by itself, not with hyper, which the program is built on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::gate::Gate;
use super::http::{Framing, Head, chunk, dechunk};
use super::upstream::RUNTIME;

/// One thing that an upstream does on a connection.
#[derive(Clone)]
pub enum Act {
    /// Reads the request to its end.
    Read,
    /// Reads so many bytes of the request in all, and no more.
    ReadTo(usize),
    Send(Vec<u8>),
    /// So many bytes at a time, with a pause between.
    Trickle(Vec<u8>, usize, Duration),
    /// The same over and over, so many times, or until the peer leaves.
    Flood(Vec<u8>, usize),
    /// Until the gate lets it through; it ends where the peer leaves meanwhile.
    Wait(Gate),
    /// The same, whatever the peer does meanwhile.
    Pause(Gate),
    /// What this says when it is its turn.
    Ask(Arc<dyn Fn() -> Vec<Act> + Send + Sync>),
    /// Says no more, and reads until the peer leaves.
    HalfClose,
    /// Closes: a FIN, and a reset where bytes of the peer are left unread.
    Die,
    /// Closes with a reset.
    Reset,
    /// Says nothing more and closes nothing, until the peer leaves.
    Hush,
    /// The same, and reads nothing more, so that it does not see the peer leave.
    Stall,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Died,
    Reset,
    /// The peer left first.
    Left,
}

/// A request as far as it came.
#[derive(Debug)]
pub struct Taken {
    /// What its target says behind `shot=`, else nothing.
    pub id: String,
    pub head: Head,
    pub connection: Arc<Opened>,
    /// How many requests the connection had before.
    pub place: usize,
    whole: AtomicBool,
}

/// A connection.
#[derive(Debug)]
pub struct Opened {
    pub number: usize,
    read: AtomicUsize,
    sent: AtomicUsize,
    end: OnceLock<(Ended, Instant)>,
}

impl Taken {
    /// Whether its last byte was read: it was accepted.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::SeqCst)
    }

    pub fn is_for(&self, path: &str) -> bool {
        self.target().split('?').next() == Some(path)
    }

    pub fn target(&self) -> &str {
        self.head.start_line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn is_get(&self) -> bool {
        self.head.start_line.starts_with("GET ")
    }
}

impl Opened {
    pub fn bytes_read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }

    pub fn bytes_sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    pub fn end(&self) -> Option<(Ended, Instant)> {
        self.end.get().copied()
    }
}

/// What it does before a request, by the number of the connection and that of the request on it.
type Before = dyn Fn(usize, usize) -> Vec<Act> + Send + Sync;
/// What it does with a request once its head is there.
type Answers = dyn Fn(&Taken) -> Vec<Act> + Send + Sync;

pub struct Faulty {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: AbortHandle,
}

struct Shared {
    before: Mutex<Arc<Before>>,
    answers: Box<Answers>,
    scripts: Mutex<HashMap<String, Vec<Act>>>,
    ledger: Mutex<HashMap<String, Vec<Arc<Taken>>>>,
    connections: Mutex<Vec<Arc<Opened>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Faulty {
    /// Does with requests that have no script of their own what `answers` says.
    pub fn start(answers: impl Fn(&Taken) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::start_with(None, answers)
    }

    /// With so many bytes of what the peer sends in the kernel at most, as far as it goes along with that.
    pub fn start_with(
        receive_bytes: Option<u32>,
        answers: impl Fn(&Taken) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        receive_bytes.into_iter().for_each(|bytes| socket.set_recv_buffer_size(bytes).unwrap());
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            before: Mutex::new(Arc::new(|_, _| Vec::new())),
            answers: Box::new(answers),
            scripts: Mutex::default(),
            ledger: Mutex::default(),
            connections: Mutex::default(),
            tasks: Mutex::default(),
        });
        let _entered = RUNTIME.enter();
        let task = RUNTIME.spawn(accept(socket.listen(1024).unwrap(), shared.clone()));
        Self { shared, address, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does with the request of this id.
    pub fn script(&self, id: &str, acts: impl Into<Vec<Act>>) {
        self.shared.scripts.lock().unwrap().insert(id.into(), acts.into());
    }

    /// What it does before it reads a request, by the numbers of the connection and of the request on it.
    pub fn before(&self, acts: impl Fn(usize, usize) -> Vec<Act> + Send + Sync + 'static) {
        *self.shared.before.lock().unwrap() = Arc::new(acts);
    }

    /// What came of the request of this id: once for each time that its head came.
    pub fn taken(&self, id: &str) -> Vec<Arc<Taken>> {
        self.shared.ledger.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    /// How often the request of this id was accepted: its last byte was read.
    pub fn accepted(&self, id: &str) -> usize {
        self.taken(id).iter().filter(|taken| taken.is_whole()).count()
    }

    /// Requests of tests that were accepted, those of checks aside.
    pub fn accepted_in_all(&self) -> usize {
        let ledger = self.shared.ledger.lock().unwrap();
        let of_tests = ledger.iter().filter(|(id, _)| !id.is_empty());
        of_tests.flat_map(|(_, taken)| taken).filter(|taken| taken.is_whole()).count()
    }

    /// Ids that were accepted more than once.
    pub fn accepted_twice(&self) -> Vec<String> {
        let ledger = self.shared.ledger.lock().unwrap();
        let whole = |taken: &[Arc<Taken>]| taken.iter().filter(|taken| taken.is_whole()).count();
        let twice = ledger.iter().filter(|(id, taken)| !id.is_empty() && whole(taken) > 1);
        twice.map(|(id, _)| id.clone()).collect()
    }

    pub fn connections(&self) -> Vec<Arc<Opened>> {
        self.shared.connections.lock().unwrap().clone()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let opened = {
            let mut connections = shared.connections.lock().unwrap();
            let number = connections.len();
            let (read, sent) = Default::default();
            connections.push(Arc::new(Opened { number, read, sent, end: OnceLock::new() }));
            connections[number].clone()
        };
        let line = Line { stream, unread: Vec::new(), opened, shared: shared.clone() };
        let task = RUNTIME.spawn(line.serve());
        let mut tasks = shared.tasks.lock().unwrap();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
    }
}

struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    opened: Arc<Opened>,
    shared: Arc<Shared>,
}

impl Line {
    async fn serve(mut self) {
        let ended = self.converse().await;
        if ended == Ended::Reset {
            let _ = self.stream.set_zero_linger();
        }
        drop(self.stream);
        let _ = self.opened.end.set((ended, Instant::now()));
    }

    async fn converse(&mut self) -> Ended {
        for place in 0.. {
            let before = self.shared.before.lock().unwrap().clone();
            for act in before(self.opened.number, place) {
                if let Err(ended) = self.act(act, None).await {
                    return ended;
                }
            }
            let head = loop {
                match Head::parse(&self.unread) {
                    Some((head, _)) => break head,
                    None => {
                        if let Err(ended) = self.read(usize::MAX).await {
                            return ended;
                        }
                    }
                }
            };
            let taken = self.enter(head, place);
            let script = self.shared.scripts.lock().unwrap().get(&taken.id).cloned();
            let answers = || (self.shared.answers)(&taken);
            for act in script.unwrap_or_else(answers) {
                if let Err(ended) = self.act(act, Some(&taken)).await {
                    return ended;
                }
            }
            let end = loop {
                match self.end_of(&taken.head) {
                    Some(end) => break end,
                    None => {
                        if let Err(ended) = self.read(usize::MAX).await {
                            return ended;
                        }
                    }
                }
            };
            taken.whole.store(true, Ordering::SeqCst);
            self.unread.drain(..end);
        }
        Ended::Left
    }

    fn enter(&self, head: Head, place: usize) -> Arc<Taken> {
        let id = head.start_line.split_once("shot=").map_or("", |(_, rest)| rest);
        let id = id.split(['&', ' ']).next().unwrap_or_default().to_owned();
        let whole = AtomicBool::new(self.end_of(&head).is_some());
        let taken = Arc::new(Taken { id, head, connection: self.opened.clone(), place, whole });
        self.shared.ledger.lock().unwrap().entry(taken.id.clone()).or_default().push(taken.clone());
        taken
    }

    /// Where the request ends in what is unread; none when it has not come to its end.
    fn end_of(&self, head: &Head) -> Option<usize> {
        let body = self.unread.get(head.bytes.len()..)?;
        let length = match head.framing() {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked => Some(dechunk(body)).filter(|body| body.complete)?.consumed,
        };
        (body.len() >= length).then_some(head.bytes.len() + length)
    }

    /// Reads some bytes, so many at most.
    async fn read(&mut self, most: usize) -> Result<(), Ended> {
        match (&mut self.stream).take(most as u64).read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => Err(Ended::Left),
            Ok(bytes) => {
                self.opened.read.fetch_add(bytes, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    async fn act(&mut self, act: Act, taken: Option<&Taken>) -> Result<(), Ended> {
        match act {
            Act::Read => {
                let taken = taken.expect("a request is read once its head is there");
                while self.end_of(&taken.head).is_none() {
                    self.read(usize::MAX).await?;
                }
                taken.whole.store(true, Ordering::SeqCst);
            }
            Act::ReadTo(bytes) => {
                while self.unread.len() < bytes {
                    self.read(bytes - self.unread.len()).await?;
                }
            }
            Act::Send(bytes) => self.send(&bytes).await?,
            Act::Trickle(bytes, at_a_time, pause) => {
                for piece in bytes.chunks(at_a_time) {
                    self.send(piece).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Act::Flood(bytes, times) => {
                for _ in 0..times {
                    self.send(&bytes).await?;
                }
            }
            Act::Wait(gate) => tokio::select! {
                () = gate.pass() => {}
                ended = leaves(&mut self.stream, &mut self.unread) => return Err(ended),
            },
            Act::Pause(gate) => gate.pass().await,
            Act::Ask(more) => {
                for act in more() {
                    Box::pin(self.act(act, taken)).await?;
                }
            }
            Act::HalfClose => {
                let _ = self.stream.shutdown().await;
                return Err(leaves(&mut self.stream, &mut self.unread).await);
            }
            Act::Die => return Err(Ended::Died),
            Act::Reset => return Err(Ended::Reset),
            Act::Hush => return Err(leaves(&mut self.stream, &mut self.unread).await),
            Act::Stall => std::future::pending().await,
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(bytes).await.map_err(|_| Ended::Left)?;
        self.opened.sent.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    }
}

async fn leaves(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Ended {
    while stream.read_buf(unread).await.is_ok_and(|bytes| bytes > 0) {}
    Ended::Left
}

/// How the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    Length,
    /// A chunk a piece.
    Chunks,
    Close,
}

/// A 200 as its bytes: the head without an empty line, and the body in pieces.
pub fn answer(content_type: &str, headers: &str, delimited: Delimited, pieces: &[&[u8]]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{headers}").into_bytes();
    match delimited {
        Delimited::Length => {
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            answer.extend(format!("content-length: {length}\r\n\r\n").into_bytes());
            answer.extend(pieces.concat());
        }
        Delimited::Chunks => {
            answer.extend(b"transfer-encoding: chunked\r\n\r\n");
            pieces.iter().for_each(|piece| answer.extend(chunk(piece)));
            answer.extend(b"0\r\n\r\n");
        }
        Delimited::Close => {
            answer.extend(b"connection: close\r\n\r\n");
            answer.extend(pieces.concat());
        }
    }
    answer
}

/// A whole JSON answer, told by its length.
pub fn json_answer(text: &str) -> Vec<u8> {
    answer("application/json", "", Delimited::Length, &[text.as_bytes()])
}

/// Reads the request and answers it.
pub fn says(bytes: Vec<u8>) -> Vec<Act> {
    vec![Act::Read, Act::Send(bytes)]
}

/// An address that takes no connection and refuses none: nobody accepts, and the queue is full, so that the kernel
/// drops what comes.
pub struct Blackhole {
    _listener: std::net::TcpListener,
    _queue: Vec<TcpStream>,
    address: SocketAddr,
}

impl Blackhole {
    pub async fn open() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        // A connection that comes about on loopback does so at once.
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
            assert!(queue.len() < 100, "the queue of {address} is never full");
        }
        Self { _listener: listener, _queue: queue, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
