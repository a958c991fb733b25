//! An answer on its way to the client, judged as it goes by.
//!
//! The bytes are forwarded as they came, with the client's pace as the upstream's: nothing is read ahead
//! of what the client takes. An answer that breaks off is never ended cleanly: what came is forwarded,
//! then the client's connection is aborted.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::Instant;

use super::held::Begun;
use super::prefix::Prefix;
use crate::alarm::Alarm;
use crate::clock::Stopwatch;
use crate::cluster::Attempt;
use crate::exchange::{
    DocumentWatch, Judgement, Progress, StreamWatch, judge_error_after_content, judge_error_event,
    judge_timeout,
};
use crate::upstream::AnswerBody;

/// The answer broke off; the client's connection is to be aborted.
#[derive(Debug)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream's answer broke off")
    }
}

impl std::error::Error for Aborted {}

/// What is watched for.
pub enum Watch {
    /// An event stream: its content, and its last event.
    Stream(StreamWatch),
    /// A whole answer, or a stream that can't be looked into: its end is the end of the bytes.
    Whole,
}

/// The exchange that the answer is of.
pub struct Watched {
    /// What reports the verdict.
    pub attempt: Attempt,
    /// What is watched for.
    pub watch: Watch,
    /// Running since the request was sent.
    pub stopwatch: Stopwatch,
    /// The model, to be kept once the endpoint has served it; none that a check can't ask.
    pub model: Option<Arc<str>>,
    /// The time from the request to its first content, once that came.
    pub latency: Option<Duration>,
    /// When the content of a stream must have begun.
    pub content_by: Option<Instant>,
}

impl Watched {
    /// The answer's content has begun, or the answer is complete: the endpoint works.
    pub fn pass(&mut self) {
        let latency = *self.latency.get_or_insert_with(|| self.stopwatch.elapsed());
        self.content_by = None;
        if let Some(model) = &self.model {
            self.attempt.endpoint().vitals.note_model(model);
        }
        let _ = self.attempt.pass(latency);
    }
}

/// The body.
pub struct Relay {
    prefix: Prefix,
    rest: Option<AnswerBody>,
    /// None once the verdict is final, or for an answer whose head was already judged.
    watched: Option<Watched>,
    document: Option<DocumentWatch>,
    idle: Idle,
    abort: Abort,
}

#[derive(PartialEq, Eq)]
enum Abort {
    No,
    /// What came before is to be flushed first, so the abort waits for one more poll.
    AfterFlush,
    Now,
}

impl Relay {
    /// The rest of an answer. `idle` is the longest silence between two of its bytes.
    pub(super) fn new(body: Begun, watched: Option<Watched>, idle: Duration) -> Self {
        let Begun { prefix, rest, is_cut, document } = body;
        let idle = Idle::new(idle);
        let mut relay = Self { prefix, rest, watched, document, idle, abort: Abort::No };
        if is_cut {
            relay.break_off("the answer broke off");
        } else if relay.rest.is_none() {
            relay.end();
        } else {
            let _ = relay.idle.touch();
        }
        relay
    }

    /// Whether nothing more will come.
    pub fn is_at_end(&self) -> bool {
        self.prefix.is_empty() && self.rest.is_none() && self.abort == Abort::No
    }

    /// How much came before it went on.
    pub fn bytes_at_hand(&self) -> usize {
        self.prefix.iter().map(Bytes::len).sum()
    }

    /// The next bytes.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        if let Some(bytes) = self.prefix.pop() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        match self.abort {
            Abort::No => {}
            Abort::AfterFlush => {
                self.abort = Abort::Now;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Abort::Now => return Poll::Ready(Some(Err(Aborted))),
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match Pin::new(rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let _ = self.idle.touch();
                // Trailers are dropped: no client of these protocols reads any.
                let bytes = frame.into_data().unwrap_or_default();
                self.look_at(&bytes);
                if self.rest.as_ref().is_some_and(Body::is_end_stream) {
                    self.end();
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(_))) if self.is_complete() => {
                self.end();
                self.poll_next(cx)
            }
            Poll::Ready(Some(Err(error))) => {
                self.break_off(&format!("the answer broke off: {error}"));
                self.poll_next(cx)
            }
            Poll::Ready(None) => {
                self.end();
                self.poll_next(cx)
            }
            Poll::Pending => {
                let content_by = self.watched.as_ref().and_then(|watched| watched.content_by);
                ready!(self.idle.poll(cx, content_by));
                match content_by {
                    None if self.is_complete() => self.end(),
                    Some(_) => self.fail(judge_timeout().at_its_end(), "no content within first_byte"),
                    None => self.break_off(&format!("the answer fell silent for {:?}", self.idle.limit)),
                }
                self.poll_next(cx)
            }
        }
    }

    fn look_at(&mut self, bytes: &[u8]) {
        self.document.iter_mut().for_each(|document| document.push(bytes));
        let Some(watched) = &mut self.watched else { return };
        let Watch::Stream(stream) = &mut watched.watch else { return };
        match stream.push(bytes) {
            Progress::Waiting => {}
            Progress::Content if watched.latency.is_none() => watched.pass(),
            Progress::Content => {}
            Progress::Error(error) => {
                // Its bytes are forwarded like any others; then the connection is aborted.
                let judgement = if stream.has_content() {
                    judge_error_after_content(&error)
                } else {
                    judge_error_event(&error, qcc_fsm::CheckMethod::Chat).at_its_end()
                };
                self.fail(judgement, &error.line());
            }
        }
    }

    /// Whether the terminal event of a stream has come: what its connection does then takes nothing away.
    fn is_complete(&self) -> bool {
        let watch = self.watched.as_ref().map(|watched| &watched.watch);
        matches!(watch, Some(Watch::Stream(stream)) if stream.has_ended())
    }

    /// The upstream's bytes are over: the end of the answer, or not.
    fn end(&mut self) {
        self.rest = None;
        let watch = self.watched.as_mut().map(|watched| std::mem::replace(&mut watched.watch, Watch::Whole));
        let is_complete = match watch {
            Some(Watch::Stream(stream)) => stream.ends_here(),
            Some(Watch::Whole) | None => true,
        };
        if !is_complete {
            return self.break_off("the stream ended without its last event");
        }
        if self.document.as_ref().is_some_and(|document| !document.may_end_here()) {
            return self.break_off("the connection ended within the answer");
        }
        if let Some(mut watched) = self.watched.take()
            && watched.latency.is_none()
        {
            watched.pass();
        }
    }

    fn break_off(&mut self, text: &str) {
        self.fail(Judgement::broken_off().at_its_end(), text);
    }

    fn fail(&mut self, judgement: Judgement, text: &str) {
        self.rest = None;
        self.abort = Abort::AfterFlush;
        if let Some(watched) = &mut self.watched.take() {
            super::exchange::settle(&mut watched.attempt, &judgement, Some(text.to_owned()));
        }
    }
}

/// A limit on silence.
struct Idle {
    limit: Duration,
    /// When the last bytes came; none where all were there at once.
    last: Option<Instant>,
    alarm: Alarm,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { limit, last: None, alarm: Alarm::default() }
    }

    #[allow(clippy::disallowed_methods, reason = "the edge: a limit on silence")]
    fn touch(&mut self) -> Instant {
        *self.last.insert(Instant::now())
    }

    /// Ready when nothing came for the whole limit, or no content by the moment given.
    fn poll(&mut self, cx: &mut Context<'_>, content_by: Option<Instant>) -> Poll<()> {
        let last = self.last.unwrap_or_else(|| self.touch());
        self.alarm.poll(cx, content_by.unwrap_or(last + self.limit))
    }
}
