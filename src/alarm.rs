//! A limit on waiting that costs a look at the clock: a timer is set anew only when it rings.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for one deadline after another, most of which never come.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the deadline is reached. Before that the task may be woken for an earlier one, which is over.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // The limit may be a nearer one now.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::clock::Stopwatch;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_counts_now_be_it_earlier_or_later_than_the_one_before() {
        let mut alarm = Alarm::default();
        let begun = Stopwatch::start();
        let after = |secs| begun.after(Duration::from_secs(secs));
        for secs in [30, 40, 20, 50] {
            let polled = poll_fn(|cx| Poll::Ready(alarm.poll(cx, after(secs)))).await;
            assert!(polled.is_pending());
        }
        for secs in [5, 10, 100] {
            poll_fn(|cx| alarm.poll(cx, after(secs))).await;
            assert_eq!(begun.elapsed().as_secs(), secs);
        }
        poll_fn(|cx| alarm.poll(cx, after(90))).await;
        assert_eq!(begun.elapsed().as_secs(), 100, "it is over already");
    }
}
