//! The body of an upstream's answer.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::header::{HeaderMap, TRANSFER_ENCODING};

use super::connect::Application;

/// A body as it comes. It ends only where the upstream has ended it, as far as that can be told; anything else is
/// an error.
pub struct AnswerBody {
    incoming: Incoming,
    application: Application,
    ends_by_close: bool,
}

/// The body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// The connection or the stream failed.
    Broken(hyper::Error),
    /// The stream was stopped before its end.
    Stopped,
}

impl AnswerBody {
    pub(super) fn of(response: Response<Incoming>, application: Application) -> Response<Self> {
        let ends_by_close = match application {
            Application::Http1 => {
                response.body().size_hint().exact().is_none() && !is_chunked(response.headers())
            }
            Application::Http2 => false,
        };
        response.map(|incoming| Self { incoming, application, ends_by_close })
    }

    /// Whether only the end of its connection ends it (RFC 9112 §6.3, the last rule): whether something is missing
    /// then does not show.
    pub fn ends_by_close(&self) -> bool {
        self.ends_by_close
    }

    /// Whether the end that hyper tells of is the upstream's. A stream that is reset with NO_ERROR looks ended
    /// to it, whole or not (RFC 9113 §8.1 allows that reset only after a whole answer).
    fn is_whole(&self) -> bool {
        match self.application {
            Application::Http1 => true,
            Application::Http2 => {
                self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0)
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(frame) => Poll::Ready(Some(frame.map_err(BodyError::Broken))),
            None if self.is_whole() => Poll::Ready(None),
            None => Poll::Ready(Some(Err(BodyError::Stopped))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => f.write_str(&with_causes(error)),
            Self::Stopped => f.write_str("the upstream stopped the stream before its end"),
        }
    }
}

impl Error for BodyError {}

/// Whether the last of the transfer codings is the one that tells where it ends (RFC 9112 §6.3).
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let coding = last.and_then(|value| value.as_bytes().rsplit(|&byte| byte == b',').next());
    coding.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

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
