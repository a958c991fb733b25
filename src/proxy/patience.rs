//! A limit on waiting that costs nothing where nothing is waited for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

/// What a future comes to; none where it does not by the deadline. That is asked for only once the future has to wait:
/// most of what is read is there already, and then no clock is read and no timer set.
pub async fn by<F: Future>(deadline: impl FnOnce() -> Instant, mut future: Pin<&mut F>) -> Option<F::Output> {
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => timeout_at(deadline(), future).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::clock::Stopwatch;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_is_there_already_has_no_deadline() {
        let deadline = || panic!("nobody waits");
        assert_eq!(by(deadline, pin!(ready(5))).await, Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_awaited_until_the_deadline_and_no_longer() {
        for (takes, comes) in [(LIMIT / 2, true), (LIMIT * 2, false)] {
            let begun = Stopwatch::start();
            assert_eq!(by(|| begun.after(LIMIT), pin!(sleep(takes))).await.is_some(), comes);
            assert_eq!(begun.elapsed(), takes.min(LIMIT));
        }
        let begun = Stopwatch::start();
        assert_eq!(by(|| begun.after(LIMIT), pin!(pending::<()>())).await, None);
    }
}
