//! A client that speaks HTTP/2 without TLS: many requests on one connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::Reply;
use super::{llm, within};

#[derive(Clone)]
pub struct Http2Client {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl Http2Client {
    pub async fn connect(address: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("a connection");
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
        tokio::spawn(connection);
        Self { sender, address: address.to_owned() }
    }

    fn post(&self) -> Builder {
        let uri = format!("http://{}/v1/messages", self.address);
        Request::post(uri).header("x-api-key", "client-key").header("content-type", "application/json")
    }

    /// `POST /v1/messages` with this body; the head of its answer.
    pub async fn send(&self, body: &Value) -> hyper::Result<Response<Incoming>> {
        let request = self.post().body(Full::new(body.to_string().into())).unwrap();
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    pub async fn ask(&self, marker: &str) -> Reply {
        self.finish(llm::message(marker)).await
    }

    pub async fn ask_streamed(&self, marker: &str) -> Reply {
        self.finish(llm::streamed(llm::message(marker))).await
    }

    /// `HEAD` of this path: its answer, which must have no body.
    pub async fn head(&self, path: &str) -> Reply {
        let request = Request::head(format!("http://{}{path}", self.address)).body(Full::default()).unwrap();
        let mut sender = self.sender.clone();
        let (head, body) = within("a head", sender.send_request(request)).await.expect("a head").into_parts();
        let body = within("the end of a body", body.collect()).await.map(|body| body.to_bytes().to_vec());
        let whole = body.is_ok();
        Reply { status: head.status.as_u16(), headers: head.headers, body: body.unwrap_or_default(), whole }
    }

    /// Goes on while the test does something else; aborted, its stream is reset.
    pub fn asking_streamed(&self, marker: &str) -> JoinHandle<Reply> {
        let (client, marker) = (self.clone(), marker.to_owned());
        tokio::spawn(async move { client.ask_streamed(&marker).await })
    }

    async fn finish(&self, body: Value) -> Reply {
        let (head, mut incoming) = within("a head", self.send(&body)).await.expect("a head").into_parts();
        let (mut body, mut whole) = (Vec::new(), true);
        while let Some(frame) = within("the body", incoming.frame()).await {
            match frame {
                Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        Reply { status: head.status.as_u16(), headers: head.headers, body, whole }
    }
}
