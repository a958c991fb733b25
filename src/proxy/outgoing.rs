//! The body of an answer to a client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::relay::{Aborted, Relay};
use crate::answer::Answer;

/// Text of our own, or what an upstream sends.
pub enum OutgoingBody {
    /// A text, until it is taken.
    Full(Option<Bytes>),
    /// An upstream's answer as it comes.
    Relay(Box<Relay>),
}

impl OutgoingBody {
    /// No body.
    pub fn empty() -> Self {
        Self::Full(None)
    }

    /// A text.
    pub fn full(text: impl Into<Bytes>) -> Self {
        Self::Full(Some(text.into()))
    }
}

/// The same answer to a HEAD request: as long as it would be, without the text (RFC 9110 §9.3.2), which hyper would send
/// over HTTP/2.
pub fn without_text(mut answer: Answer<OutgoingBody>) -> Answer<OutgoingBody> {
    if let OutgoingBody::Full(text @ Some(_)) = &mut answer.body {
        let length = text.take().map_or(0, |text| text.len());
        if !answer.fields.has("content-length") {
            answer.fields.push("content-length", length.to_string());
        }
    }
    answer
}

impl OutgoingBody {
    /// How much of it could be sent at once.
    pub fn bytes_at_hand(&self) -> usize {
        match self {
            Self::Full(text) => text.as_ref().map_or(0, Bytes::len),
            Self::Relay(relay) => relay.bytes_at_hand(),
        }
    }

    /// The next bytes of it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        match self {
            Self::Full(text) => Poll::Ready(text.take().map(Ok)),
            Self::Relay(relay) => relay.poll_next(cx),
        }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.get_mut().poll_next(cx).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(text) => text.is_none(),
            Self::Relay(relay) => relay.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Relay(_) => SizeHint::default(),
        }
    }
}
