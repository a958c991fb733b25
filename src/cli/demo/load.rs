//! The clients: every one on a connection of its own, all at once.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::http::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::endpoint::{Knowledge, REFUSAL_KNOWN, REQUEST_NUMBER, Role};
use crate::cluster::Cluster;

/// A client that has waited so long has been let down.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// Where clients connect, and the status that they could have looked at.
#[derive(Clone)]
pub struct Entrance {
    pub address: SocketAddr,
    pub cluster: Arc<Cluster>,
}

/// What became of one client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub form: Form,
    /// None where it was not even sent.
    pub knowledge: Option<Knowledge>,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    Stream,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// 200, and the answer to this request from its beginning to its end.
    Complete,
    /// 200, but not all of the answer.
    Incomplete,
    /// Another status.
    Status(u16),
    /// No answer, and why.
    None(String),
}

/// Sends the requests of these numbers all at once, a third of them for streams.
pub async fn wave(entrance: &Entrance, numbers: RangeInclusive<u32>) -> Vec<Outcome> {
    let mut clients = JoinSet::new();
    for number in numbers {
        let entrance = entrance.clone();
        let form = if number.is_multiple_of(3) { Form::Stream } else { Form::Whole };
        clients.spawn(async move { entrance.ask(number, form).await });
    }
    let mut outcomes = Vec::new();
    while let Some(ended) = clients.join_next().await {
        // A client that panicked is missed in the account.
        outcomes.extend(ended.ok());
    }
    outcomes
}

impl Entrance {
    async fn ask(&self, number: u32, form: Form) -> Outcome {
        let mut knowledge = None;
        let ending = match timeout(ANSWER_WITHIN, self.exchange(number, form, &mut knowledge)).await {
            Ok(Ok(ending)) => ending,
            Ok(Err(why)) => Ending::None(why),
            Err(_) => Ending::None(format!("no answer within {ANSWER_WITHIN:?}")),
        };
        Outcome { form, knowledge, ending }
    }

    async fn exchange(
        &self,
        number: u32,
        form: Form,
        knowledge: &mut Option<Knowledge>,
    ) -> Result<Ending, String> {
        let stream = TcpStream::connect(self.address).await.map_err(text)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        // Ends with the exchange; what goes wrong on it shows there.
        tokio::spawn(connection);
        // The last look before the request is sent: what it says can't be blamed on the wire.
        let known = *knowledge.insert(self.knowledge());
        let request = self.request(number, form, known).map_err(text)?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status().as_u16();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) if status == 200 => return Ok(Ending::Incomplete),
            Err(error) => return Err(text(error)),
        };
        let is_complete = is_complete(&String::from_utf8_lossy(&body), number, form);
        Ok(match status {
            200 if is_complete => Ending::Complete,
            200 => Ending::Incomplete,
            other => Ending::Status(other),
        })
    }

    fn request(
        &self,
        number: u32,
        form: Form,
        known: Knowledge,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let body = json!({
            "model": "demo-model", "max_tokens": 64, "stream": form == Form::Stream,
            "messages": [{"role": "user", "content": content(number)}],
        });
        Request::post("/v1/messages")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header("anthropic-version", "2023-06-01")
            .header(REQUEST_NUMBER, number)
            .header(REFUSAL_KNOWN, known.as_str())
            .body(Full::from(body.to_string()))
    }

    /// What the status says of dead-key: the word that routing reads.
    fn knowledge(&self) -> Knowledge {
        let roster = self.cluster.roster();
        match roster.named(Role::DeadKey.name()).is_some_and(|endpoint| endpoint.health().is_available()) {
            true => Knowledge::RefusalUnknown,
            false => Knowledge::RefusalKnown,
        }
    }
}

fn content(number: u32) -> String {
    format!("This is request {number}.")
}

fn is_complete(body: &str, number: u32, form: Form) -> bool {
    let is_ended = match form {
        Form::Whole => serde_json::from_str::<serde_json::Value>(body).is_ok(),
        Form::Stream => body.ends_with("data: {\"type\":\"message_stop\"}\n\n"),
    };
    is_ended && body.matches(&content(number)).count() == 1
}

fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_answer_to_this_very_request_is_complete() {
        let whole = r#"{"content":[{"text":"This is request 7."}]}"#;
        assert!(is_complete(whole, 7, Form::Whole));
        assert!(!is_complete(whole, 8, Form::Whole) && !is_complete(&whole[..30], 7, Form::Whole));
        let stream = "data: {\"text\":\"This is request 7.\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        assert!(is_complete(stream, 7, Form::Stream));
        assert!(!is_complete(&stream[..40], 7, Form::Stream));
        // Two streams spliced.
        assert!(!is_complete(&format!("{stream}{stream}"), 7, Form::Stream));
    }
}
