//! An upstream's answer of which only the beginning has been read.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE,
};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use memchr::memmem;
use tokio::time::timeout;

use crate::exchange::{Beginning, DocumentWatch, ErrorText, INSPECTED_BYTES_MAX};
use crate::upstream::{AnswerBody, BodyError, strip_hop_by_hop};

/// The head of an answer, what came of its body, and the rest to come.
pub struct Held {
    parts: Parts,
    pub(super) prefix: VecDeque<Bytes>,
    prefix_bytes: usize,
    pub(super) rest: Option<AnswerBody>,
    /// Whether the body broke off in what was read of it: what there is must not look whole.
    pub(super) is_cut: bool,
    ends_by_close: bool,
    /// Of a JSON body that ends with its connection.
    pub(super) document: Option<DocumentWatch>,
    endpoint: String,
}

impl Held {
    /// An answer of which only the head has been read.
    pub fn new(response: Response<AnswerBody>, endpoint: &str) -> Self {
        let (parts, body) = response.into_parts();
        let ends_by_close = body.ends_by_close();
        let mut held = Self {
            parts,
            prefix: VecDeque::new(),
            prefix_bytes: 0,
            rest: Some(body),
            is_cut: false,
            ends_by_close,
            document: None,
            endpoint: endpoint.to_owned(),
        };
        if ends_by_close && held.is_json() && !held.is_compressed() {
            held.document = Some(DocumentWatch::default());
        }
        held.end_if_over();
        held
    }

    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// Whether the body is an event stream.
    pub fn is_event_stream(&self) -> bool {
        let kind = self.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
    }

    /// Whether the body is JSON, as far as its head tells.
    fn is_json(&self) -> bool {
        let kind = self.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        kind.is_none_or(|kind| memmem::find(&kind.to_ascii_lowercase(), b"json").is_some())
    }

    /// Whether only the end of the connection ends the body, so that an end may be a cut.
    pub fn ends_by_close(&self) -> bool {
        self.ends_by_close
    }

    /// Whether the end of the body can't be the end of the document that it is.
    pub fn lacks_end(&self) -> bool {
        self.rest.is_none() && self.document.as_ref().is_some_and(|document| !document.may_end_here())
    }

    /// Whether the body is encoded, so that it can't be looked into.
    pub fn is_compressed(&self) -> bool {
        self.headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// Reads the next bytes into the beginning and gives a copy of them; none at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn read_on(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(rest) = &mut self.rest {
            let frame = match rest.frame().await {
                Some(Ok(frame)) => frame,
                // Asked again it would say that it has ended.
                Some(Err(error)) => {
                    self.cut_off();
                    return Err(error);
                }
                None => {
                    self.rest = None;
                    break;
                }
            };
            let data = frame.into_data().ok();
            self.end_if_over();
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                self.prefix_bytes += data.len();
                self.document.iter_mut().for_each(|document| document.push(&data));
                self.prefix.push_back(data.clone());
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Lets go of what is left: what there is goes to the client, and no end.
    pub fn cut_off(&mut self) {
        (self.rest, self.is_cut) = (None, true);
    }

    fn end_if_over(&mut self) {
        // Only a body of announced length tells that it is over before it is asked for more.
        if self.rest.as_ref().is_some_and(Body::is_end_stream) {
            self.rest = None;
        }
    }

    /// How many bytes of the body have been read.
    pub fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    /// What can be seen of the beginning of the body, 8 KiB of it at most.
    pub fn beginning(&self) -> Beginning<'_> {
        let bytes = match self.prefix.front() {
            // Most come in one piece, or in a large one.
            Some(first) if first.len() >= self.prefix_bytes.min(INSPECTED_BYTES_MAX) => {
                Cow::Borrowed(&first[..first.len().min(INSPECTED_BYTES_MAX)])
            }
            Some(_) | None => Cow::Owned(self.gathered_beginning()),
        };
        Beginning::of(bytes, self.headers())
    }

    fn gathered_beginning(&self) -> Vec<u8> {
        let mut beginning = Vec::with_capacity(self.prefix_bytes().min(INSPECTED_BYTES_MAX));
        for chunk in &self.prefix {
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

    /// The head for the client, and what is left of the answer: hop-by-hop headers, cookies and the
    /// target of a redirect stay behind, and the length of a stream: its last event ends it, and one that lacks
    /// that must not look whole for having as many bytes as were announced.
    pub fn head_for_client(&mut self, attempts: u32) -> Response<()> {
        let is_stream = self.is_event_stream();
        let mut head = Response::new(());
        *head.status_mut() = self.parts.status;
        let mut headers = std::mem::take(&mut self.parts.headers);
        strip_hop_by_hop(&mut headers);
        headers.remove(SET_COOKIE);
        if is_stream {
            headers.remove(CONTENT_LENGTH);
        }
        if self.parts.status.is_redirection() {
            headers.remove(LOCATION);
        }
        if let Ok(name) = HeaderValue::from_str(&self.endpoint) {
            headers.insert("x-qcc-endpoint", name);
        }
        headers.insert("x-qcc-attempts", HeaderValue::from(attempts));
        *head.headers_mut() = headers;
        head
    }
}
