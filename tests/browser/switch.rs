//! A name that is bound anew: connections to one address lead to the attacker first, to qcc once it is
//! flipped. What goes through is kept, so that a test sees what the browser really sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::http::Head;

#[derive(Clone)]
pub struct Switch {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    passed: Arc<Mutex<Vec<Arc<Passed>>>>,
}

/// What went through on one connection.
struct Passed {
    to: SocketAddr,
    up: Mutex<Vec<u8>>,
    down: Mutex<Vec<u8>>,
}

impl Switch {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let switch = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::new(Mutex::new(target)),
            passed: Arc::default(),
        };
        let serving = switch.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        switch
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// New connections, and those on which nothing came yet, lead there from now on.
    pub fn flip(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// Whether a request that holds `text` in its head or body has gone to `target`.
    pub fn sent_to(&self, target: SocketAddr, text: &str) -> bool {
        self.with(target).iter().any(|passed| contains(&passed.up.lock().unwrap(), text))
    }

    /// The heads of all answers that came from `target`, informational ones included.
    pub fn answers_of(&self, target: SocketAddr) -> Vec<Head> {
        let passed = self.with(target);
        let heads = passed.iter().flat_map(|passed| heads_in(&passed.down.lock().unwrap()));
        heads.collect()
    }

    fn with(&self, target: SocketAddr) -> Vec<Arc<Passed>> {
        let passed = self.passed.lock().unwrap();
        passed.iter().filter(|passed| passed.to == target).cloned().collect()
    }

    async fn serve(self, mut near: TcpStream) {
        // A browser opens connections ahead of need: where they lead is settled when they are used.
        let mut begun = vec![0; 1];
        if !matches!(near.peek(&mut begun).await, Ok(1)) {
            return;
        }
        let to = *self.target.lock().unwrap();
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        let passed = Arc::new(Passed { to, up: Mutex::default(), down: Mutex::default() });
        self.passed.lock().unwrap().push(passed.clone());
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        tokio::join!(pump(near_read, far_write, &passed.up), pump(far_read, near_write, &passed.down));
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        kept.lock().unwrap().extend_from_slice(&piece[..length]);
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Answers to HEAD announce a body that does not come, so status lines are looked for and no body is skipped.
fn heads_in(bytes: &[u8]) -> Vec<Head> {
    let starts = bytes.windows(9).enumerate().filter(|(_, window)| window == b"HTTP/1.1 ");
    starts.filter_map(|(at, _)| Head::parse(&bytes[at..]).map(|(head, _)| head)).collect()
}
