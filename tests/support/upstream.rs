//! An upstream on a free loopback port that answers as it is told and remembers all it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use super::answer::{Answer, End, Step};
use super::http::{Framing, Head, dechunk};
use super::recorded::{ARRIVALS, Recorded};
use super::{eventually_some, llm};

// Apart from the tests' runtimes, so that an upstream goes on while a test blocks on a command.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

pub type Behaviour = dyn Fn(&Recorded) -> Answer + Send + Sync;

pub struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    // Holds the port while nobody listens on it, so that no other process gets it meanwhile.
    _reservation: TcpSocket,
}

struct Shared {
    behaviour: Mutex<Arc<Behaviour>>,
    log: Mutex<Vec<Arc<Recorded>>>,
    connections: AtomicUsize,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Upstream {
    pub fn start(behaviour: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let upstream = Self::stopped(behaviour);
        upstream.restart();
        upstream
    }

    /// A port that refuses connections until `restart`.
    pub fn stopped(behaviour: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let reservation = reusable_socket(([127, 0, 0, 1], 0).into());
        let address = reservation.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Arc::new(behaviour)),
            log: Mutex::default(),
            connections: AtomicUsize::new(0),
            tasks: Mutex::default(),
        });
        Self { shared, address, _reservation: reservation }
    }

    pub fn healthy() -> Self {
        Self::start(llm::healthy)
    }

    /// Takes effect for requests whose body has not fully come yet.
    pub fn set(&self, behaviour: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        *self.shared.behaviour.lock().unwrap() = Arc::new(behaviour);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections from now on and closes those it has.
    pub fn stop(&self) {
        let tasks: Vec<AbortHandle> = self.shared.tasks.lock().unwrap().drain(..).collect();
        tasks.iter().for_each(AbortHandle::abort);
        // An aborted task lets go of its socket only when the runtime gets to it.
        while !tasks.iter().all(AbortHandle::is_finished)
            || std::net::TcpStream::connect(self.address).is_ok()
        {
            std::thread::yield_now();
        }
    }

    pub fn restart(&self) {
        let _entered = RUNTIME.enter();
        let listener =
            reusable_socket(self.address).listen(1024).expect("the reserved port can be listened on");
        let task = RUNTIME.spawn(accept(listener, Arc::clone(&self.shared)));
        self.shared.tasks.lock().unwrap().push(task.abort_handle());
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Arc<Recorded>> {
        self.shared.log.lock().unwrap().clone()
    }

    pub fn matching(&self, wanted: impl Fn(&Recorded) -> bool) -> Vec<Arc<Recorded>> {
        self.requests().into_iter().filter(|request| wanted(request)).collect()
    }

    pub fn posts(&self) -> Vec<Arc<Recorded>> {
        self.matching(Recorded::is_post)
    }

    pub fn users(&self) -> Vec<Arc<Recorded>> {
        self.matching(Recorded::is_user)
    }

    /// Awaits `count` requests of a kind and gives them all.
    pub async fn wait_for(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> Vec<Arc<Recorded>> {
        eventually_some(what, || {
            let found = self.matching(&wanted);
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in self.shared.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

fn reusable_socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option every system has");
    socket.bind(address).expect("a free or reserved loopback port");
    socket
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        let connection = Connection { stream, number, unread: Vec::new(), shared: Arc::clone(&shared) };
        let task = RUNTIME.spawn(connection.serve());
        shared.tasks.lock().unwrap().push(task.abort_handle());
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    unread: Vec<u8>,
    shared: Arc<Shared>,
}

/// The peer is gone.
struct Gone;

impl Connection {
    async fn serve(mut self) {
        while let Ok(request) = self.read_request().await {
            let behaviour = Arc::clone(&self.shared.behaviour.lock().unwrap());
            let answer = behaviour(&request);
            match self.send(answer).await {
                Ok(End::Clean) => request.answered.store(true, Ordering::SeqCst),
                Ok(End::Fin | End::Reset | End::Stall) => return,
                Err(Gone) => {
                    request.abandoned.store(true, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    async fn read_request(&mut self) -> Result<Arc<Recorded>, Gone> {
        let head = loop {
            if let Some((head, length)) = Head::parse(&self.unread) {
                self.unread.drain(..length);
                break head;
            }
            self.read_more().await?;
        };
        let request = self.record(&head);
        let body = self.read_body(head.framing()).await.inspect_err(|Gone| {
            request.abandoned.store(true, Ordering::SeqCst);
        })?;
        request.body.set(body).expect("a body is read once");
        Ok(request)
    }

    fn record(&self, head: &Head) -> Arc<Recorded> {
        let mut words = head.start_line.split(' ');
        // Numbered under the lock, so that the log is in the order of its numbers.
        let mut log = self.shared.log.lock().unwrap();
        let request = Arc::new(Recorded {
            arrival: ARRIVALS.fetch_add(1, Ordering::SeqCst),
            connection: self.number,
            method: words.next().unwrap_or("").to_owned(),
            target: words.next().unwrap_or("").to_owned(),
            headers: head.headers.clone(),
            head: head.bytes.clone(),
            body: OnceLock::new(),
            answered: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        log.push(Arc::clone(&request));
        request
    }

    async fn read_body(&mut self, framing: Framing) -> Result<Vec<u8>, Gone> {
        loop {
            match framing {
                Framing::None => return Ok(Vec::new()),
                Framing::Length(length) if self.unread.len() >= length => {
                    return Ok(self.unread.drain(..length).collect());
                }
                Framing::Length(_) => {}
                Framing::Chunked => {
                    let decoded = dechunk(&self.unread);
                    if decoded.complete {
                        self.unread.drain(..decoded.consumed);
                        return Ok(decoded.body);
                    }
                }
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Gone> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(()),
        }
    }

    async fn peer_leaves(&mut self) {
        while self.read_more().await.is_ok() {}
    }

    async fn send(&mut self, answer: Answer) -> Result<End, Gone> {
        for step in answer.into_steps() {
            match step {
                Step::Bytes(bytes) => self.stream.write_all(&bytes).await.map_err(|_| Gone)?,
                Step::Wait(gate) => tokio::select! {
                    () = gate.pass() => {}
                    () = self.peer_leaves() => return Err(Gone),
                },
                Step::End(End::Clean) => return Ok(End::Clean),
                Step::End(End::Stall) => {
                    self.peer_leaves().await;
                    return Err(Gone);
                }
                Step::End(End::Fin) => {
                    let _ = self.stream.shutdown().await;
                    return Ok(End::Fin);
                }
                Step::End(End::Reset) => {
                    let _ = self.stream.set_zero_linger();
                    return Ok(End::Reset);
                }
            }
        }
        Ok(End::Clean)
    }
}
