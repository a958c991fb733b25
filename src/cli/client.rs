//! Talking to a running proxy over its control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::http::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::exit::{Exit, Failure};
use crate::admin::StatusDocument;
use crate::config::printable;

/// A proxy answers from memory: one that takes longer is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The most of an answer that is read; a thousand endpoints are a twentieth of it.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The control socket of the proxy of a cluster.
pub struct Control {
    pub cluster: String,
    pub socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    /// Nobody listens on the socket, or there is none.
    NoProxy,
    /// The proxy says no.
    Refused(StatusCode, String),
    /// Something else, in words.
    Other(String),
}

/// What the proxy says to a command.
#[derive(Deserialize)]
struct Said {
    message: Option<String>,
    error: Option<String>,
}

impl Control {
    /// The state of the cluster.
    pub async fn status(&self) -> Result<StatusDocument, Failure> {
        let body = self.ask(Method::GET, "/status").await?;
        let document: StatusDocument = serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the proxy's status is not understood: {error}")))?;
        match document.version {
            1 => Ok(document),
            other => Err(Failure::failed(format!(
                "the proxy speaks version {other} of the status document, this qcc version 1: restart the proxy"
            ))),
        }
    }

    /// Gives a command; its path holds names that need no escaping. Gives what the proxy says to it.
    pub async fn command(&self, path: &str) -> Result<String, Failure> {
        let body = self.ask(Method::POST, path).await?;
        Ok(said(&body).message.unwrap_or_else(|| "done".to_owned()))
    }

    /// Whether a proxy takes connections. A socket that a killed one left behind does not.
    pub async fn is_served(&self) -> bool {
        matches!(timeout(ANSWER_WITHIN, UnixStream::connect(&self.socket)).await, Ok(Ok(_)))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Bytes, Failure> {
        let answer = timeout(ANSWER_WITHIN, exchange(&self.socket, method, path));
        let trouble = match answer.await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Other(format!("the proxy has not answered for {ANSWER_WITHIN:?}")),
        };
        Err(self.failure(trouble))
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::NoProxy => self.no_proxy(),
            // Nothing is there under the name that was given.
            Trouble::Refused(StatusCode::NOT_FOUND, message) => Failure::usage(printable(&message)),
            Trouble::Refused(_, message) => Failure::failed(printable(&message)),
            Trouble::Other(message) => {
                Failure::failed(format!("control socket {}: {message}", self.socket.display()))
            }
        }
    }

    /// What is said when none runs.
    pub fn no_proxy(&self) -> Failure {
        let cluster = &self.cluster;
        let message = format!(
            "no proxy of cluster {cluster} runs\n  start one with `qcc proxy start --cluster {cluster}`"
        );
        Failure { exit: Exit::NoProxy, message }
    }
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<Bytes, Trouble> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let is_nobody = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        if is_nobody { Trouble::NoProxy } else { Trouble::Other(error.to_string()) }
    })?;
    let other = |error: &dyn std::fmt::Display| Trouble::Other(error.to_string());
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| other(&error))?;
    // Ends with the exchange; what goes wrong on it shows there.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| other(&error))?;
    let response = sender.send_request(request).await.map_err(|error| other(&error))?;
    let status = response.status();
    let body =
        Limited::new(response, ANSWER_BYTES_MAX).collect().await.map_err(|error| other(&error))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let message = said(&body).error.unwrap_or_else(|| format!("the proxy answered {status}"));
    Err(Trouble::Refused(status, message))
}

fn said(body: &[u8]) -> Said {
    serde_json::from_slice(body).unwrap_or(Said { message: None, error: None })
}
