//! An upstream's answer of which only the beginning has been read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use memchr::memmem;
use tokio::time::timeout;

use super::outgoing::OutgoingBody;
use super::prefix::Prefix;
use super::relay::{Relay, Watched};
use crate::answer::Answer;
use crate::cluster::Endpoint;
use crate::exchange::{Beginning, DocumentWatch, ErrorText, INSPECTED_BYTES_MAX};
use crate::fields::Fields;
use crate::upstream::{AnswerBody, BodyError};

const X_QCC_ENDPOINT: &str = "x-qcc-endpoint";

/// The head of an answer, what came of its body, and the rest to come.
pub struct Held {
    status: StatusCode,
    fields: Fields,
    is_event_stream: bool,
    body: Begun,
    prefix_bytes: usize,
    ends_by_close: bool,
    endpoint: Arc<str>,
}

/// A body of which only the beginning has been read.
pub(super) struct Begun {
    /// What has been.
    pub prefix: Prefix,
    pub rest: Option<AnswerBody>,
    /// Whether the body broke off in what was read of it: what there is must not look whole.
    pub is_cut: bool,
    /// Of a JSON body that ends with its connection.
    pub document: Option<DocumentWatch>,
}

impl Held {
    /// An answer of which only the head has been read.
    pub fn new(answer: Answer<AnswerBody>, endpoint: &Endpoint) -> Self {
        let Answer { status, fields, body } = answer;
        let ends_by_close = body.ends_by_close();
        let mut held = Self {
            is_event_stream: is_event_stream(&fields),
            status,
            fields,
            body: Begun { prefix: Prefix::default(), rest: Some(body), is_cut: false, document: None },
            prefix_bytes: 0,
            ends_by_close,
            endpoint: endpoint.name_shown().clone(),
        };
        if ends_by_close && held.is_json() && !held.is_compressed() {
            held.body.document = Some(DocumentWatch::default());
        }
        held.end_if_over();
        held
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// Whether the body is an event stream.
    pub fn is_event_stream(&self) -> bool {
        self.is_event_stream
    }

    /// Whether the body is JSON, as far as its head tells.
    fn is_json(&self) -> bool {
        self.fields
            .first("content-type")
            .is_none_or(|kind| memmem::find(&kind.to_ascii_lowercase(), b"json").is_some())
    }

    /// Whether only the end of the connection ends the body, so that an end may be a cut.
    pub fn ends_by_close(&self) -> bool {
        self.ends_by_close
    }

    /// Whether the end of the body can't be the end of the document that it is.
    pub fn lacks_end(&self) -> bool {
        self.body.rest.is_none()
            && self.body.document.as_ref().is_some_and(|document| !document.may_end_here())
    }

    /// Whether the body is encoded, so that it can't be looked into.
    pub fn is_compressed(&self) -> bool {
        self.fields.first("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }

    /// Reads the next bytes into the beginning and gives a copy of them; none at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn read_on(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(rest) = &mut self.body.rest {
            let frame = match rest.frame().await {
                Some(Ok(frame)) => frame,
                // Asked again it would say that it has ended.
                Some(Err(error)) => {
                    self.cut_off();
                    return Err(error);
                }
                None => {
                    self.body.rest = None;
                    break;
                }
            };
            let data = frame.into_data().ok();
            self.end_if_over();
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                self.prefix_bytes += data.len();
                self.body.document.iter_mut().for_each(|document| document.push(&data));
                self.body.prefix.push(data.clone());
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Lets go of what is left: what there is goes to the client, and no end.
    pub fn cut_off(&mut self) {
        (self.body.rest, self.body.is_cut) = (None, true);
    }

    fn end_if_over(&mut self) {
        // Only a body of announced length tells that it is over before it is asked for more.
        if self.body.rest.as_ref().is_some_and(Body::is_end_stream) {
            self.body.rest = None;
        }
    }

    /// How many bytes of the body have been read.
    pub fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    /// What can be seen of the beginning of the body, 8 KiB of it at most.
    pub fn beginning(&self) -> Beginning<'_> {
        let bytes = match self.body.prefix.iter().next() {
            // Most come in one piece, or in a large one.
            Some(first) if first.len() >= self.prefix_bytes.min(INSPECTED_BYTES_MAX) => {
                Cow::Borrowed(&first[..first.len().min(INSPECTED_BYTES_MAX)])
            }
            Some(_) | None => Cow::Owned(self.gathered_beginning()),
        };
        Beginning::of(bytes, &self.fields)
    }

    fn gathered_beginning(&self) -> Vec<u8> {
        let mut beginning = Vec::with_capacity(self.prefix_bytes().min(INSPECTED_BYTES_MAX));
        for chunk in self.body.prefix.iter() {
            let room = INSPECTED_BYTES_MAX - beginning.len();
            beginning.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        beginning
    }

    /// Reads the beginning of an error's body, for this long at most, and gives what it says.
    pub async fn read_error(&mut self, within: Duration) -> Option<ErrorText> {
        let reading = async {
            while self.prefix_bytes() < INSPECTED_BYTES_MAX && matches!(self.read_on().await, Ok(Some(_))) {}
        };
        let _ = timeout(within, reading).await;
        ErrorText::of(self.beginning().text())
    }

    /// The status, and the error's own words where it has some.
    pub fn error_line(&self, error: Option<&ErrorText>) -> String {
        let status = self.status();
        match (error, status.canonical_reason()) {
            (Some(error), _) => format!("{} {}", status.as_u16(), error.line()),
            (None, Some(reason)) => format!("{} {reason}", status.as_u16()),
            (None, None) => status.as_u16().to_string(),
        }
    }

    /// The answer for the client: the head without the target of a redirect, and the body as it comes. A stream goes
    /// without its length: its last event ends it, and one that lacks that must not look whole for having as many bytes
    /// as were announced. `idle` is the longest silence between two bytes of the body.
    pub fn into_answer(self, watched: Option<Watched>, idle: Duration) -> Answer<OutgoingBody> {
        let Self { status, mut fields, is_event_stream, body, endpoint, .. } = self;
        if is_event_stream {
            fields.remove("content-length");
        }
        if status.is_redirection() {
            fields.remove("location");
        }
        fields.set(X_QCC_ENDPOINT, &*endpoint);
        Answer { status, fields, body: OutgoingBody::Relay(Box::new(Relay::new(body, watched, idle))) }
    }
}

fn is_event_stream(fields: &Fields) -> bool {
    let kind = fields.first("content-type").unwrap_or_default();
    kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
}
