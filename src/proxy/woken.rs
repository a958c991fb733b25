//! A future beside a busy one, left alone until it asks for a look.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled when it was woken itself, and not whenever its task is: what many wait for has a lock
/// that each look takes.
pub struct WhenWoken<F> {
    future: F,
    bell: Option<Arc<Bell>>,
}

impl<F> WhenWoken<F> {
    /// It is polled for the first time when this is.
    pub fn new(future: F) -> Self {
        Self { future, bell: None }
    }
}

impl<F: Future + Unpin> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let bell = match &mut this.bell {
            Some(bell) if bell.is_for(cx.waker()) => {
                if !bell.was_rung() {
                    return Poll::Pending;
                }
                bell
            }
            // At first, and in another task.
            bell => bell.insert(Bell::of(cx.waker())),
        };
        let waker = Waker::from(bell.clone());
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker))
    }
}

/// Wakes a task, and tells by whom it was woken.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Bell {
    fn of(task: &Waker) -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(false), task: task.clone() })
    }

    fn is_for(&self, task: &Waker) -> bool {
        self.task.will_wake(task)
    }

    /// Whether it was rung since this was asked. A look without a write first, since mostly it was not: relaxed, as
    /// the task's own waking comes after the ring. Acquire then, to see what was rung for.
    fn was_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what it is rung for is seen by whom it wakes.
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::*;

    struct Counted(AtomicBool);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_polled_at_first_and_when_it_was_woken_and_in_another_task() {
        let (notify, mut polls) = (Notify::new(), 0);
        let mut notified = pin!(notify.notified());
        let mut future = WhenWoken::new(poll_fn(|cx| {
            polls += 1;
            notified.as_mut().poll(cx)
        }));
        let tasks = [(); 2].map(|()| Arc::new(Counted(AtomicBool::new(false))));
        let wakers = tasks.clone().map(Waker::from);
        let mut poll = |task: usize| Pin::new(&mut future).poll(&mut Context::from_waker(&wakers[task]));
        for task in [0, 0, 0, 1, 1] {
            assert!(poll(task).is_pending());
        }
        notify.notify_waiters();
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [false, true], "it wakes its last task");
        assert!(poll(1).is_ready());
        assert_eq!(polls, 3);
    }
}
