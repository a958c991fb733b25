//! An endpoint's server, which misbehaves as it is told and knows whose key may come to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::answers::{self, Asked};
use super::ledger::{Ended, Taken, World};
use super::schedule::ROLES;
use super::support::http::{Framing, Head, dechunk};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    RefusesKey,
    RateLimits,
    Fails,
    Overloaded,
    Redirects,
    Hangs,
    CutsAtAnyByte,
    ResetsAtAnyByte,
    Trickles,
    Garbage,
    NotHttp,
    ClosesAfterAnswer,
    AnnouncesTooMuch,
    SendsMoreThanAnnounced,
    Down,
}

pub const FAULTS: [Fault; 15] = [
    Fault::RefusesKey,
    Fault::RateLimits,
    Fault::Fails,
    Fault::Overloaded,
    Fault::Redirects,
    Fault::Hangs,
    Fault::CutsAtAnyByte,
    Fault::ResetsAtAnyByte,
    Fault::Trickles,
    Fault::Garbage,
    Fault::NotHttp,
    Fault::ClosesAfterAnswer,
    Fault::AnnouncesTooMuch,
    Fault::SendsMoreThanAnnounced,
    Fault::Down,
];

/// How what was sent of an answer is followed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
    Reset,
    Hang,
}

/// An answer on the wire.
pub struct Script {
    pub wire: Vec<u8>,
    /// Where a client may have been shown something, and where it surely was.
    pub content: (usize, usize),
    /// How many of the bytes are sent.
    pub sent: usize,
    /// So many at once, with a pause between.
    pub piece: usize,
    pub pause: Duration,
    pub after: After,
    pub is_failure: bool,
}

impl Script {
    fn ended(&self, sent: usize) -> Ended {
        let (maybe, surely) = self.content;
        if self.is_failure && sent == self.wire.len() {
            Ended::Refused
        } else if sent <= maybe {
            Ended::Lost
        } else if sent < surely || self.after == After::Reset {
            Ended::Uncertain
        } else {
            Ended::Content
        }
    }
}

pub struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    // Holds the port while nobody listens on it.
    _reservation: TcpSocket,
}

struct Shared {
    number: usize,
    seed: u64,
    key: String,
    /// What must never arrive here: the other endpoints' keys, and the clients' token.
    foreign: Vec<String>,
    fault: Mutex<Fault>,
    close_idle: watch::Sender<u64>,
    close_all: watch::Sender<u64>,
    world: Arc<World>,
}

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

impl Upstream {
    pub fn start(number: usize, seed: u64, keys: &[String], token: &str, world: &Arc<World>) -> Self {
        let reservation = TcpSocket::new_v4().unwrap();
        reservation.set_reuseaddr(true).unwrap();
        reservation.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let others = keys.iter().enumerate().filter(|(other, _)| *other != number);
        let foreign = others.map(|(_, key)| key.clone()).chain([token.to_owned()]).collect();
        let upstream = Self {
            address: reservation.local_addr().unwrap(),
            shared: Arc::new(Shared {
                number,
                seed,
                key: keys[number].clone(),
                foreign,
                fault: Mutex::new(Fault::None),
                close_idle: watch::channel(0).0,
                close_all: watch::channel(0).0,
                world: world.clone(),
            }),
            accepting: Mutex::default(),
            _reservation: reservation,
        };
        upstream.set(Fault::None);
        upstream
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        let mut accepting = self.accepting.lock().unwrap();
        if fault == Fault::Down {
            accepting.take().into_iter().for_each(|task| task.abort());
            self.shared.close_all.send_modify(|times| *times += 1);
        } else if accepting.is_none() {
            let shared = self.shared.clone();
            let address = self.address;
            *accepting = Some(tokio::spawn(async move { accept(listen(address).await, shared).await }));
        }
    }

    pub fn close_idle(&self) {
        self.shared.close_idle.send_modify(|times| *times += 1);
    }
}

/// A listener that was aborted may not have let go of the port yet.
async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        match socket.bind(address).and_then(|()| socket.listen(1024)) {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        shared.world.open(number, shared.number);
        let connection = Connection {
            stream,
            number,
            unread: Vec::new(),
            close_idle: shared.close_idle.subscribe(),
            close_all: shared.close_all.subscribe(),
            shared: shared.clone(),
        };
        tokio::spawn(async move {
            let mut connection = connection;
            let _ = connection.serve().await;
        });
    }
}

struct Connection {
    stream: TcpStream,
    number: u64,
    unread: Vec<u8>,
    close_idle: watch::Receiver<u64>,
    close_all: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.world.close(self.number);
    }
}

/// The connection is over.
struct Over;

impl Connection {
    async fn serve(&mut self) -> Result<(), Over> {
        loop {
            let (head, body, arrived) = self.read_request().await?;
            self.look_for_secrets(&head, &body);
            let asked = Asked::read(&head, &body);
            let number = self.shared.number;
            let fault = *self.shared.fault.lock().unwrap();
            if let (Some(id), Some(kind)) = (asked.id, asked.kind) {
                self.shared.world.count(format!("met {fault:?}"));
                self.shared.world.take(id, Taken { endpoint: number, kind, ended: None, arrived });
            }
            if asked.id.is_none() && !ROLES[number].is_per_token {
                let line = &head.start_line;
                self.shared.world.violation(format!(
                    "{} bills by the request, and was checked: {line}",
                    ROLES[number].name
                ));
            }
            self.shared.world.serving(self.number, asked.id);
            let mut rng =
                Rng::with_seed(self.shared.seed ^ asked.id.unwrap_or(0).wrapping_mul(8) ^ number as u64);
            let script = answers::script(fault, &asked, ROLES[number].name, &mut rng);
            let (sent, over) = self.send(&script).await;
            if let Some(id) = asked.id {
                self.shared.world.ended(id, number, script.ended(sent));
            }
            over?;
            self.shared.world.serving(self.number, None);
        }
    }

    async fn read_request(&mut self) -> Result<(Head, Vec<u8>, SystemTime), Over> {
        while self.unread.is_empty() {
            tokio::select! {
                read = self.stream.read_buf(&mut self.unread) => more(read)?,
                _ = self.close_idle.changed() => return Err(Over),
                _ = self.close_all.changed() => return Err(Over),
            }
        }
        let arrived = SystemTime::now();
        let head = loop {
            if let Some((head, length)) = Head::parse(&self.unread) {
                self.unread.drain(..length);
                break head;
            }
            self.read_more().await?;
        };
        let body = loop {
            match head.framing() {
                Framing::None => break Vec::new(),
                Framing::Length(length) if self.unread.len() >= length => {
                    break self.unread.drain(..length).collect();
                }
                Framing::Length(_) => {}
                Framing::Chunked => {
                    let decoded = dechunk(&self.unread);
                    if decoded.complete {
                        self.unread.drain(..decoded.consumed);
                        break decoded.body;
                    }
                }
            }
            self.read_more().await?;
        };
        Ok((head, body, arrived))
    }

    async fn read_more(&mut self) -> Result<(), Over> {
        tokio::select! {
            read = self.stream.read_buf(&mut self.unread) => more(read),
            _ = self.close_all.changed() => Err(Over),
        }
    }

    fn look_for_secrets(&self, head: &Head, body: &[u8]) {
        let name = ROLES[self.shared.number].name;
        let text = [&head.bytes, body].map(String::from_utf8_lossy).concat();
        for foreign in &self.shared.foreign {
            if text.contains(foreign.as_str()) {
                self.shared
                    .world
                    .violation(format!("a secret of somebody else's came to {name}: {}", head.start_line));
            }
        }
        if !text.contains(self.shared.key.as_str()) {
            self.shared.world.violation(format!("its own key did not come to {name}: {}", head.start_line));
        }
    }

    /// Gives how many bytes were sent, and whether the connection goes on.
    async fn send(&mut self, script: &Script) -> (usize, Result<(), Over>) {
        let mut sent = 0;
        while sent < script.sent {
            let end = (sent + script.piece).min(script.sent);
            let written = tokio::select! {
                written = self.stream.write_all(&script.wire[sent..end]) => written.is_ok(),
                _ = self.close_all.changed() => false,
            };
            if !written {
                return (sent, Err(Over));
            }
            sent = end;
            if !script.pause.is_zero() && sent < script.sent && self.peer_left_within(script.pause).await {
                return (sent, Err(Over));
            }
        }
        let over = match script.after {
            After::Keep => Ok(()),
            After::Close => {
                let _ = self.stream.shutdown().await;
                Err(Over)
            }
            After::Reset => {
                let _ = self.stream.set_zero_linger();
                Err(Over)
            }
            After::Hang => {
                while !self.peer_left_within(Duration::from_secs(60)).await {}
                Err(Over)
            }
        };
        (sent, over)
    }

    async fn peer_left_within(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            read = self.stream.read_buf(&mut self.unread) => more(read).is_err(),
            _ = self.close_all.changed() => true,
        }
    }
}

fn more(read: std::io::Result<usize>) -> Result<(), Over> {
    match read {
        Ok(0) | Err(_) => Err(Over),
        Ok(_) => Ok(()),
    }
}
