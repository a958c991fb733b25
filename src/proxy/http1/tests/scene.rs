//! A connection that is served, with the test at each end: as the client, and as the upstreams.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::serve;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Environment, parse_str};
use crate::proxy::passing::pass_writes_to;
use crate::proxy::{EndsAnswers, Proxy};
use crate::upstream::{Connecting, Network, Pending, Socket, Transport, Unconnected};

/// What the network holds in each direction.
pub const HELD_BYTES_MAX: usize = 4096;

pub struct Scene {
    pub client: DuplexStream,
    pub cluster: Arc<Cluster>,
    serving: JoinHandle<()>,
    is_ended: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    upstreams: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Scene {
    /// `lines` are settings of the cluster.
    pub fn begin(lines: &str) -> Self {
        Self::with_begun(lines, b"")
    }

    /// So much has been read of the connection.
    pub fn with_begun(lines: &str, begun: &[u8]) -> Self {
        let text = format!(
            "[clusters.a]\n{lines}\n[[clusters.a.endpoints]]\nname = 'x'\nbase_url = 'http://x'\napi_key = 'k'\n"
        );
        let parsed = parse_str(&text, "config.toml".as_ref(), &Environment::closed([])).unwrap();
        let (connected, upstreams) = mpsc::unbounded_channel();
        let network = Arc::new(ByHand(connected));
        let cluster = Cluster::over(network, parsed.clusters["a"].clone(), Clock::start()).unwrap();
        let (client, stream) = duplex(HELD_BYTES_MAX);
        let is_ended = Arc::<AtomicBool>::default();
        let server = Wire { stream, is_ended: is_ended.clone() };
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let proxy = Proxy::new(cluster.clone());
        let serving = tokio::spawn(serve(proxy, begun.to_vec(), server, EndsAnswers::default(), stopped));
        Self { client, cluster, serving, is_ended, stop: Some(stop), upstreams }
    }

    pub async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next head that the client reads, in lower case but for its first line.
    pub async fn head(&mut self) -> String {
        read_head(&mut self.client).await
    }

    /// What the client reads to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.client.read_to_string(&mut rest).await.unwrap();
        rest
    }

    pub async fn body(&mut self, length: usize) -> String {
        let mut body = vec![0; length];
        self.client.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    /// The connection that is made to the upstream.
    pub async fn upstream(&mut self) -> DuplexStream {
        self.upstreams.recv().await.unwrap()
    }

    /// Whether an upstream was connected to.
    pub fn asks_an_upstream(&mut self) -> bool {
        self.upstreams.try_recv().is_ok()
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Whether the connection was ended in order. One that is not may be reset (`proxy::cut`).
    pub fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// How many requests are under way upstream.
    pub fn in_flight(&self) -> u32 {
        self.cluster.roster().endpoints()[0].vitals.in_flight()
    }

    /// The client leaves; to the end of what is served then.
    pub async fn leave(self) {
        drop(self.client);
        self.serving.await.unwrap();
    }

    /// To the end of what is served, with a client that stays.
    pub async fn end(&mut self) {
        (&mut self.serving).await.unwrap();
    }
}

/// Until nothing can go on but by time passing, of which hardly any does: time stands still while a task can run.
pub async fn all_at_rest() {
    sleep(Duration::from_millis(1)).await;
}

/// A head as it stands on the wire.
pub async fn read_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A network on which each connection is handed to the test.
struct ByHand(mpsc::UnboundedSender<DuplexStream>);

impl Network for ByHand {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        let (ours, theirs) = duplex(HELD_BYTES_MAX);
        let handed =
            self.0.send(theirs).map_err(|_| Unconnected::Refused(io::ErrorKind::ConnectionRefused.into()));
        Box::pin(async {
            handed.map(|()| Socket::Other(Box::new(Wire { stream: ours, is_ended: Arc::default() })))
        })
    }
}

struct Wire {
    stream: DuplexStream,
    is_ended: Arc<AtomicBool>,
}

impl Transport for Wire {
    fn pending(&self) -> Pending {
        Pending::Nothing
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    pass_writes_to!(stream);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ended.store(true, Ordering::Relaxed);
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
