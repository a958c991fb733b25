//! An upstream that speaks HTTP/2, told what to do with each stream. It stands on the h2 crate's server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hyper::http::{HeaderMap, Method, Request, Response, Uri};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::gate::Gate;
use super::tls::TlsServer;
use super::{eventually_some, llm};

/// One thing done with a stream.
pub enum Move {
    Head(u16, &'static str),
    Data(Vec<u8>),
    Wait(Gate),
    /// The end of the answer.
    End,
    Reset(Reason),
}

/// What an upstream was asked on one stream.
pub struct Asked {
    pub connection: usize,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The peer reset the stream.
    was_reset: AtomicBool,
}

impl Asked {
    pub fn says(&self, marker: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(marker)
    }

    pub fn was_reset(&self) -> bool {
        self.was_reset.load(Ordering::SeqCst)
    }
}

type Behaviour = dyn Fn(&Asked) -> Vec<Move> + Send + Sync;

pub struct Http2Upstream {
    pub tls: TlsServer,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Box<Behaviour>,
    log: Mutex<Vec<Arc<Asked>>>,
    /// Connections say goodbye at it, gracefully.
    goodbye: Gate,
    /// Streams that a connection takes at once, where that is limited.
    at_once: Option<(u32, Gate)>,
    streams: AtomicUsize,
}

impl Http2Upstream {
    pub fn start(behaviour: impl Fn(&Asked) -> Vec<Move> + Send + Sync + 'static) -> Self {
        Self::of(behaviour, None)
    }

    /// Takes so many streams at once on each connection, and refuses what is more. Tells so at the gate.
    pub fn taking(at_once: u32, told: &Gate) -> Self {
        Self::of(healthy, Some((at_once, told.clone())))
    }

    fn of(
        behaviour: impl Fn(&Asked) -> Vec<Move> + Send + Sync + 'static,
        at_once: Option<(u32, Gate)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            log: Mutex::default(),
            goodbye: Gate::new("goodbye"),
            at_once,
            streams: AtomicUsize::new(0),
        });
        let serving = shared.clone();
        let tls = TlsServer::start(&["h2", "http/1.1"], move |stream, number| {
            serve(stream, number, serving.clone())
        });
        Self { tls, shared }
    }

    pub fn healthy() -> Self {
        Self::start(healthy)
    }

    /// Streams whose request came whole.
    pub fn asked(&self) -> Vec<Arc<Asked>> {
        self.shared.log.lock().unwrap().clone()
    }

    pub fn posts(&self) -> Vec<Arc<Asked>> {
        self.asked().into_iter().filter(|asked| asked.method == Method::POST).collect()
    }

    /// Streams, those included whose request did not come whole.
    pub fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// One connection sends GOAWAY, finishes what it has and closes.
    pub fn say_goodbye(&self) {
        self.shared.goodbye.release(1);
    }

    pub async fn post_that(&self, what: &str, wanted: impl Fn(&Asked) -> bool) -> Arc<Asked> {
        eventually_some(what, || self.posts().into_iter().find(|asked| wanted(asked))).await
    }
}

/// Answers well, whole or as a stream.
pub fn healthy(asked: &Asked) -> Vec<Move> {
    if asked.method == Method::GET {
        return whole(200, &llm::model_list());
    }
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    match body["stream"] == true {
        true => {
            let mut moves = vec![Move::Head(200, "text/event-stream")];
            moves.extend(
                llm::message_events(&["hello"]).into_iter().map(|event| Move::Data(event.into_bytes())),
            );
            moves.push(Move::End);
            moves
        }
        false => whole(200, &llm::message_answer("hello")),
    }
}

pub fn whole(status: u16, body: &Value) -> Vec<Move> {
    vec![Move::Head(status, "application/json"), Move::Data(body.to_string().into_bytes()), Move::End]
}

async fn serve(stream: TlsStream<TcpStream>, number: usize, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    if let Some((at_once, told)) = &shared.at_once {
        builder.max_concurrent_streams(*at_once);
        told.pass().await;
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut leaves = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    shared.streams.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(exchange(request, respond, number, shared.clone()));
                }
                Some(Err(_)) | None => return,
            },
            () = shared.goodbye.pass(), if !leaves => {
                leaves = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: Arc<Shared>,
) {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = incoming.data().await {
        let Ok(piece) = piece else { return };
        let _ = incoming.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let asked = Arc::new(Asked {
        connection,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
        was_reset: AtomicBool::new(false),
    });
    shared.log.lock().unwrap().push(asked.clone());
    let mut sending: Option<SendStream<Bytes>> = None;
    for step in (shared.behaviour)(&asked) {
        let is_reset = match step {
            Move::Head(status, kind) => {
                let head = Response::builder().status(status).header("content-type", kind).body(()).unwrap();
                respond.send_response(head, false).map(|stream| sending = Some(stream)).is_err()
            }
            Move::Data(data) => stream(&mut sending).send_data(data.into(), false).is_err(),
            Move::End => stream(&mut sending).send_data(Bytes::new(), true).is_err(),
            Move::Reset(reason) => {
                match &mut sending {
                    Some(stream) => stream.send_reset(reason),
                    None => respond.send_reset(reason),
                }
                return;
            }
            Move::Wait(gate) => tokio::select! {
                () = gate.pass() => false,
                _ = reset(&mut respond, &mut sending) => true,
            },
        };
        if is_reset {
            asked.was_reset.store(true, Ordering::SeqCst);
            return;
        }
    }
}

fn stream(sending: &mut Option<SendStream<Bytes>>) -> &mut SendStream<Bytes> {
    sending.as_mut().expect("a head comes before its body")
}

/// Awaits that the peer resets the stream.
async fn reset(respond: &mut SendResponse<Bytes>, sending: &mut Option<SendStream<Bytes>>) {
    let _ = std::future::poll_fn(|cx| match sending {
        Some(stream) => stream.poll_reset(cx),
        None => respond.poll_reset(cx),
    })
    .await;
}
