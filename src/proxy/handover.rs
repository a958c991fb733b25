//! A limit on how long a client may take nothing of one answer over HTTP/2.
//!
//! Each stream has a window of its own (RFC 9113 §5.2.1). A client that opens none takes nothing, and still reads its
//! connection and answers its pings, so that neither `stalled` nor hyper's pings find it out.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};
use tracing::debug;

tokio::task_local! {
    /// That of the stream which the task serves.
    static HANDOVER: Arc<Handover>;
}

/// What of an answer was handed over to be sent.
#[derive(Debug, Default)]
pub struct Handover {
    /// Odd from when a part is handed over until another one is asked for. Relaxed: one task reads and writes it.
    steps: AtomicU64,
}

impl Handover {
    /// That of the stream which this task serves; one that nobody looks at in any other task.
    pub fn of_this_stream() -> Arc<Self> {
        HANDOVER.try_with(Arc::clone).unwrap_or_default()
    }

    /// A part is handed over.
    pub fn hand(&self) {
        self.steps.store(self.steps.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }

    /// Another part is asked for, as what there was is on its way.
    pub fn ask(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps + steps % 2, Ordering::Relaxed);
    }

    /// A number for the part that nothing has been asked for since.
    fn untaken(&self) -> Option<u64> {
        Some(self.steps.load(Ordering::Relaxed)).filter(|steps| steps % 2 == 1)
    }
}

/// Runs the streams of a connection, and drops the one of whose answer nothing is taken, which resets it.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    limit: Duration,
}

impl Streams {
    /// `limit` is the longest time for which nothing of an answer may be taken.
    pub fn taken_within(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let handover: Arc<Handover> = Arc::default();
        let limit = self.limit;
        tokio::spawn(HANDOVER.scope(handover.clone(), async move {
            if as_long_as_taken(stream, &handover, limit).await.is_none() {
                debug!(?limit, "a client has taken nothing of an answer over HTTP/2, and is given up");
            }
        }));
    }
}

async fn as_long_as_taken<F: Future>(stream: F, handover: &Handover, limit: Duration) -> Option<F::Output> {
    let mut stream = pin!(stream);
    let mut stall: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = stream.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(part) = handover.untaken() else {
            stall = None;
            return Poll::Pending;
        };
        let (_, timer) = match stall.take() {
            Some((same, timer)) if same == part => stall.insert((part, timer)),
            Some(_) | None => stall.insert((part, Box::pin(sleep(limit)))),
        };
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Stopwatch;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_given_up_and_one_that_is_awaited_is_not() {
        let handover = Handover::default();
        let silent = as_long_as_taken(std::future::pending::<()>(), &handover, LIMIT);
        timeout(LIMIT * 100, silent).await.unwrap_err();
        handover.hand();
        let begun = Stopwatch::start();
        assert_eq!(as_long_as_taken(std::future::pending::<()>(), &handover, LIMIT).await, None);
        assert_eq!(begun.elapsed(), LIMIT);
        handover.ask();
        let silent = as_long_as_taken(std::future::pending::<()>(), &handover, LIMIT);
        timeout(LIMIT * 100, silent).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_taker_is_served_to_the_end() {
        let handover = Handover::default();
        let stream = async {
            for _ in 0..20 {
                handover.ask();
                handover.hand();
                sleep(LIMIT * 9 / 10).await;
            }
        };
        assert_eq!(as_long_as_taken(stream, &handover, LIMIT).await, Some(()));
    }
}
