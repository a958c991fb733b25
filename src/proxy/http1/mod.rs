//! HTTP/1 towards clients: one request after another on each connection, read in one way or refused.
//!
//! ```text
//!          whole and well formed        its body is read            answered
//!   ┌─▶ Head ──────────────────▶ Body ─────────────────▶ Answer ─────────────┐
//!   │    │ malformed              │ too large, malformed   ▲  │ cut          │
//!   │    │                        └────────────────────────┤  ▼              │
//!   │    └──── a refusal, after which the connection ends ─┘ reset or FIN    │
//!   └─────────────────────── the connection is kept ─────────────────────────┘
//! ```
//!
//! While a request is worked on its client is listened to: when it leaves, the exchange is dropped, and with it the
//! request upstream.

mod answer;
mod body;
mod head;
mod inbound;
mod refusal;
mod text;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use hyper::Version;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::Proxy;
use super::body::read_body;
use super::cut::EndsAnswers;
use super::outgoing::OutgoingBody;
use super::woken::WhenWoken;
use crate::alarm::Alarm;
use crate::answer::Answer;
use crate::clock::Stopwatch;
use answer::{After, Asked, Delivery};
pub use body::Framing;
use body::RequestBody;
pub use head::{HEAD_BYTES_MAX, Head};
use inbound::Inbound;
pub use refusal::Refusal;

/// How long a client that is still sending is listened to after its answer: closing at once would reset
/// the connection, and with it the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection on which so much has come to its end; once `stop` comes, to the end of what runs on it. Notes when
/// answers on it may end with it, before one begins.
pub(super) async fn serve<S>(
    proxy: Arc<Proxy>,
    begun: Vec<u8>,
    stream: S,
    ends_answers: EndsAnswers,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connection = Connection {
        inbound: Inbound::new(&begun, stream),
        alarm: Alarm::default(),
        ends_answers,
        is_refused: false,
    };
    drop(begun);
    let stop = pin!(stop);
    let mut stop = Stop { coming: WhenWoken::new(stop), has_come: false };
    while let Some(read) = connection.next(&proxy, &mut stop).await {
        let (answer, mut asked) = match read {
            // On the heap until the answer begins: it is large, and most connections have no request.
            Ok((head, bytes)) => match Box::pin(connection.answer(&proxy, head, bytes)).await {
                Some(answered) => answered,
                None => return,
            },
            Err(refusal) => {
                connection.is_refused = true;
                (refusal.into_outgoing(), Asked::by_nobody())
            }
        };
        // RFC 9112 §9.6: a client whose body is not read would send its next request behind it.
        asked.is_kept = asked.is_kept && connection.inbound.body.is_over() && !stop.has_come().await;
        let delivery = Delivery::new(answer, &asked);
        let after = delivery.after;
        match delivery.deliver(&mut connection.inbound).await {
            Ok(()) if after == After::Keep => {}
            Ok(()) => break,
            Err(error) => return debug!(%error, "an answer was not delivered whole"),
        }
    }
    connection.close().await;
}

/// The stop of the process.
struct Stop<F> {
    coming: WhenWoken<F>,
    has_come: bool,
}

impl<F: Future<Output = ()> + Unpin> Stop<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.has_come = self.has_come || Pin::new(&mut self.coming).poll(cx).is_ready();
        self.has_come
    }

    async fn has_come(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll(cx))).await
    }
}

struct Connection<S> {
    inbound: Inbound<S>,
    alarm: Alarm,
    ends_answers: EndsAnswers,
    /// Whether a head on it could not be read: what follows belongs to nothing.
    is_refused: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// The head of the next request, read, and its bytes; none where none will come.
    async fn next(
        &mut self,
        proxy: &Proxy,
        stop: &mut Stop<impl Future<Output = ()> + Unpin>,
    ) -> Option<Result<(Head, BytesMut), Refusal>> {
        let Self { inbound, alarm, .. } = self;
        let (mut head, mut deadline) = (Head::default(), None);
        let read = poll_fn(|cx| {
            loop {
                match head.read(&inbound.unread) {
                    Ok(None) => {}
                    read => return Poll::Ready(Some(read)),
                }
                match inbound.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => continue,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
                    Poll::Pending => {}
                }
                // A head that has begun is waited for: its request is not to be lost.
                if !head.has_begun(&inbound.unread) && stop.poll(cx) {
                    return Poll::Ready(None);
                }
                let deadline = *deadline.get_or_insert_with(|| {
                    Stopwatch::start().after(proxy.cluster.settings().timeouts.client_header)
                });
                return alarm.poll(cx, deadline).map(|()| None);
            }
        });
        let (length, framing) = match read.await? {
            Ok(Some(read)) => read,
            Ok(None) => return None,
            Err(refusal) => return Some(Err(refusal)),
        };
        inbound.body = framing;
        Some(Ok((head, inbound.take(length)?)))
    }

    /// Reads a request's body and answers it; none when its client leaves before.
    async fn answer(
        &mut self,
        proxy: &Arc<Proxy>,
        head: Head,
        bytes: BytesMut,
    ) -> Option<(Answer<OutgoingBody>, Asked)> {
        let Self { inbound, alarm, ends_answers, .. } = self;
        let is_held_back = head.is_body_held_back();
        if head.version() == Version::HTTP_10 {
            ends_answers.note();
        }
        let asked =
            Asked { version: head.version(), is_kept: head.is_kept(), is_head: head.asks_for_head(&bytes) };
        let mut request = match head.into_request(bytes) {
            Ok(request) => request,
            Err(refusal) => return Some((refusal.into_outgoing(), asked)),
        };
        let settings = proxy.cluster.settings();
        let client = match proxy.admit(&mut request, &settings) {
            Ok(client) => client,
            Err(answer) => return Some((answer, asked)),
        };
        let body = match is_held_back {
            true => RequestBody::held_back(inbound),
            false => RequestBody::new(inbound),
        };
        let body = read_body(body, &proxy.bodies, &settings, alarm).await;
        let answering = proxy.answer(&request, body, client, &settings);
        let mut answering = pin!(answering);
        // Whether it has left comes first: a request that nobody waits for is not to be paid for.
        let answer = poll_fn(|cx| match inbound.poll_left(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => answering.as_mut().poll(cx).map(Some),
        });
        Some((answer.await?, asked))
    }

    /// Ends it in order. Who may still be sending is listened to for a moment.
    async fn close(mut self) {
        let Inbound { stream, unread, body } = &mut self.inbound;
        let expects_more = self.is_refused || !body.is_over() || !unread.is_empty();
        if stream.shutdown().await.is_err() || !expects_more {
            return;
        }
        let listening = async {
            let mut ignored = [0; 4096];
            while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
        };
        let _ = timeout(LINGER, listening).await;
    }
}

#[cfg(test)]
mod tests;
