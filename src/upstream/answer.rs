//! The body of an upstream's answer.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::http1::Http1Body;
use super::http2::Place;

/// A body as it comes. It ends only where the upstream has ended it, as far as that can be told; anything else is
/// an error. When it is over its connection is free for another request; dropped before, it cancels the request.
pub struct AnswerBody(Kind);

enum Kind {
    Http1(Http1Body),
    Http2 {
        incoming: Incoming,
        /// Given back at the end.
        place: Option<Place>,
    },
}

/// The body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// The connection failed.
    Broken(io::Error),
    /// The stream failed.
    Reset(hyper::Error),
    /// The stream was stopped before its end.
    Stopped,
}

impl AnswerBody {
    pub(super) fn http1(body: Http1Body) -> Self {
        Self(Kind::Http1(body))
    }

    pub(super) fn http2(incoming: Incoming, place: Place) -> Self {
        Self(Kind::Http2 { incoming, place: Some(place) })
    }

    /// Whether only the end of its connection ends it (RFC 9112 §6.3, the last rule): whether something is missing
    /// then does not show.
    pub fn ends_by_close(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.ends_by_close(),
            Kind::Http2 { .. } => false,
        }
    }
}

/// Whether the end that hyper tells of is the upstream's. A stream that is reset with NO_ERROR looks ended to it, whole
/// or not (RFC 9113 §8.1 allows that reset only after a whole answer).
fn is_whole(incoming: &Incoming) -> bool {
    incoming.is_end_stream() || incoming.size_hint().exact() == Some(0)
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Http1(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Kind::Http2 { incoming, place } => match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                Some(frame) => Poll::Ready(Some(frame.map_err(BodyError::Reset))),
                None if is_whole(incoming) => {
                    *place = None;
                    Poll::Ready(None)
                }
                None => Poll::Ready(Some(Err(BodyError::Stopped))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2 { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2 { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => f.write_str(&with_causes(error)),
            Self::Reset(error) => f.write_str(&with_causes(error)),
            Self::Stopped => f.write_str("the upstream stopped the stream before its end"),
        }
    }
}

impl Error for BodyError {}

/// An error and what it comes of, in one line: hyper's own texts leave the latter out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
