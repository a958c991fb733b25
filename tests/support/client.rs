//! Clients: reqwest for what any client does, raw sockets for exact bytes.

use std::path::Path;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::http::{Framing, Head, dechunk};
use super::proxy::Qcc;
use super::{LIMIT, llm, within};

/// A whole answer as a client saw it.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// False when the connection broke before the body's end.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.text()))
    }

    /// The endpoint that served it.
    pub fn endpoint(&self) -> &str {
        self.header("x-qcc-endpoint").unwrap_or("(no x-qcc-endpoint)")
    }

    pub fn attempts(&self) -> &str {
        self.header("x-qcc-attempts").unwrap_or("(no x-qcc-attempts)")
    }

    /// The code of an error of the program's own.
    pub fn own_error(&self) -> Option<&str> {
        self.header("x-qcc-error")
    }

    #[track_caller]
    pub fn expect_from(self, endpoint: &str) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.endpoint(), endpoint, "{self:?}");
        assert!(self.whole, "{self:?}");
        self
    }
}

/// Sends a request and reads its answer to the end, whichever that is.
pub async fn exchange(request: reqwest::RequestBuilder) -> Reply {
    within("an answer", async {
        let mut response = request.send().await.expect("an answer's head");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Reply { status, headers, body, whole }
    })
    .await
}

/// A client that leaves everything to be seen: no redirects, no proxy, no retries of its own.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub base: String,
}

impl Client {
    pub fn of(qcc: &Qcc) -> Self {
        Self::at(&qcc.url())
    }

    pub fn at(base: &str) -> Self {
        // A little over the tests' own limit, whose failure says more.
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = builder.retry(reqwest::retry::never()).timeout(LIMIT * 2).build().expect("a client");
        Self { http, base: base.into() }
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).header("x-api-key", "client-key").json(body)
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    /// `POST /v1/messages`, answered whole.
    pub async fn ask(&self, marker: &str) -> Reply {
        exchange(self.post("/v1/messages", &llm::message(marker))).await
    }

    /// `POST /v1/messages`, streamed.
    pub async fn ask_streamed(&self, marker: &str) -> Reply {
        exchange(self.post("/v1/messages", &llm::streamed(llm::message(marker)))).await
    }

    /// `ask` that goes on while the test does something else.
    pub fn asking(&self, marker: &str) -> Asking {
        let (client, marker) = (self.clone(), marker.to_owned());
        Asking(tokio::spawn(async move { client.ask(&marker).await }))
    }
}

pub struct Asking(JoinHandle<Reply>);

impl Asking {
    pub async fn reply(self) -> Reply {
        within("a reply", self.0).await.expect("the client's task ends")
    }

    pub fn is_answered(&self) -> bool {
        self.0.is_finished()
    }

    /// The client goes away: its connection closes.
    pub async fn leave(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// A connection whose every byte is the test's.
pub struct Raw<S> {
    stream: S,
    pub unread: Vec<u8>,
}

/// How what is there of a body ended.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyEnd {
    Clean,
    /// The connection ended first.
    Broken,
}

#[derive(Debug)]
pub struct RawReply {
    pub head: Head,
    pub body: Vec<u8>,
    pub end: BodyEnd,
}

impl RawReply {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Raw<TcpStream> {
    pub async fn connect(address: &str) -> Self {
        Self::over(within("a connection", TcpStream::connect(address)).await.expect("a connection"))
    }
}

impl Raw<UnixStream> {
    pub async fn connect_unix(path: &Path) -> Self {
        Self::over(within("a connection", UnixStream::connect(path)).await.expect("a connection"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that refuses early may have closed already; what it said is what counts.
        let _ = within("bytes sent", self.stream.write_all(bytes.as_ref())).await;
    }

    /// False at the connection's end.
    async fn read_more(&mut self) -> bool {
        within("bytes read", self.stream.read_buf(&mut self.unread)).await.is_ok_and(|length| length > 0)
    }

    pub async fn read_head(&mut self) -> Option<Head> {
        loop {
            if let Some((head, length)) = Head::parse(&self.unread) {
                self.unread.drain(..length);
                return Some(head);
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// Reads until the bytes not yet consumed contain `needle`; false when the connection ended first.
    pub async fn read_until(&mut self, needle: &str) -> bool {
        loop {
            if self.unread.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                return true;
            }
            if !self.read_more().await {
                return false;
            }
        }
    }

    /// Reads until at least `length` bytes of a chunked body are there, and takes none of them; false when
    /// the connection ended first.
    pub async fn await_body(&mut self, length: usize) -> bool {
        while dechunk(&self.unread).body.len() < length {
            if !self.read_more().await {
                return false;
            }
        }
        true
    }

    pub async fn read_body(&mut self, head: &Head) -> (Vec<u8>, BodyEnd) {
        loop {
            match head.framing() {
                Framing::Length(length) if self.unread.len() >= length => {
                    return (self.unread.drain(..length).collect(), BodyEnd::Clean);
                }
                Framing::Chunked => {
                    let decoded = dechunk(&self.unread);
                    if decoded.complete {
                        self.unread.drain(..decoded.consumed);
                        return (decoded.body, BodyEnd::Clean);
                    }
                }
                Framing::Length(_) | Framing::None => {}
            }
            if !self.read_more().await {
                let rest = std::mem::take(&mut self.unread);
                return match head.framing() {
                    Framing::Chunked => (dechunk(&rest).body, BodyEnd::Broken),
                    Framing::Length(_) => (rest, BodyEnd::Broken),
                    Framing::None => (rest, BodyEnd::Clean),
                };
            }
        }
    }

    /// `None` when the connection ended without a head.
    pub async fn read_reply(&mut self) -> Option<RawReply> {
        let head = self.read_head().await?;
        let (body, end) = self.read_body(&head).await;
        Some(RawReply { head, body, end })
    }

    /// One request, one reply, on this connection.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> RawReply {
        self.send(bytes).await;
        self.read_reply().await.expect("a reply")
    }

    /// The peer closes and sends nothing more.
    pub async fn expect_closed(&mut self) {
        while self.read_more().await {}
        assert_eq!(String::from_utf8_lossy(&self.unread), "", "bytes after the reply");
    }
}

/// A request with exact header lines, `host` and `content-length` among them.
pub fn raw_request(method: &str, target: &str, host: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
    for line in headers {
        request += &format!("{line}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n", body.len());
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}
