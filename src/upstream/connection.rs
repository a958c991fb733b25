//! An exchange over one connection, whichever HTTP it speaks.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::Stamp;
use tokio::time::timeout;

use super::answer::{AnswerBody, with_causes};
use super::head::{Draft, keep_passed_down};
use super::http1::Http1;
use super::http2::Place;
use super::pool::Pool;
use super::wire::History;
use crate::answer::Answer;

/// A connection in hand. Dropped, an HTTP/1.1 one is closed; of an HTTP/2 one the exchange's stream is reset.
pub struct Connection {
    kind: Kind,
    history: History,
    pool: Arc<Pool>,
}

enum Kind {
    Http1(Box<Http1>),
    Http2(Place),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// The endpoint left service before the request was written. Nothing was sent, or nothing whole.
    Refused,
    /// The upstream has not got it: it may be sent to the same endpoint once more.
    Unsent(Unsent),
    /// It broke after something was written: the upstream may have taken the request.
    Lost(Box<dyn Error + Send + Sync>),
    /// No head of an answer came in time.
    Silent,
    /// It was answered with a change to another protocol, which nobody had asked for (RFC 9110 §15.2.2).
    Switched,
}

/// Why it is known that the upstream has not got a request.
#[derive(Debug)]
pub enum Unsent {
    /// The connection was kept, and the upstream had closed it.
    Stale,
    /// The connection was new, and the upstream closed it before anything was written.
    Closed,
    /// The connection ended as the request was handed to it, and has not taken it up.
    NotTakenUp,
    /// The upstream refused the stream before it looked at it.
    Declined(hyper::Error),
    /// The proxy of this `host:port` asks for other credentials.
    ByProxy(Arc<str>),
}

impl Unsent {
    /// Whether another connection to the same endpoint may do better.
    pub fn is_of_connection(&self) -> bool {
        match self {
            Self::Stale | Self::NotTakenUp | Self::Declined(_) => true,
            Self::Closed | Self::ByProxy(_) => false,
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale | Self::Closed | Self::NotTakenUp => f.write_str("the connection was closed"),
            Self::Declined(error) => write!(f, "the request was not taken: {}", with_causes(error)),
            Self::ByProxy(proxy) => write!(
                f,
                "no connection through the proxy {proxy}: it answered 407; put the user name and password that \
                 it asks for into proxy"
            ),
        }
    }
}

impl Connection {
    pub(super) fn http1(connection: Box<Http1>, history: History, pool: &Arc<Pool>) -> Self {
        Self { kind: Kind::Http1(connection), history, pool: pool.clone() }
    }

    pub(super) fn http2(place: Place, history: History, pool: &Arc<Pool>) -> Self {
        Self { kind: Kind::Http2(place), history, pool: pool.clone() }
    }

    /// Whether it was there before this request.
    pub fn is_reused(&self) -> bool {
        self.history == History::Kept
    }

    /// Gives it back unused.
    pub fn give_back(self) {
        match self.kind {
            Kind::Http1(connection) => self.pool.put(connection),
            // The pool has it all the time.
            Kind::Http2(_) => {}
        }
    }

    /// Addresses the request to the origin that the connection is of, and sends it, if `stamp` is still current when
    /// its first byte is about to be written, and waits for the head of the answer for `patience` at most, of which it
    /// gives what is for the client. Over HTTP/2 the bytes are those of the body. Whoever does not wait to the end
    /// cancels the request.
    ///
    /// # Errors
    /// [`SendError`] says whether anything was sent.
    pub async fn send(
        self,
        draft: Draft<'_>,
        stamp: Stamp,
        patience: Duration,
    ) -> Result<Answer<AnswerBody>, SendError> {
        match self.kind {
            Kind::Http1(connection) => {
                let answer = connection.send(draft, stamp, self.history, &self.pool, patience).await?;
                Ok(answer.map(AnswerBody::http1))
            }
            Kind::Http2(place) => {
                let request = self.pool.head.request(draft, place.authority());
                let answer = timeout(patience, place.send(request, stamp)).await;
                let mut answer = answer.unwrap_or(Err(SendError::Silent))?;
                keep_passed_down(answer.headers_mut());
                Ok(Answer::from(answer).map(|incoming| AnswerBody::http2(incoming, place)))
            }
        }
    }
}
