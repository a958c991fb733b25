//! What a busy task has beside its work, left alone until it asks for a look.
//!
//! A task polls all that it waits for whenever one of them woke it. Mostly the others have nothing to say, and to ask
//! them takes a lock: one that all connections share, where all wait for the same.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::passing::pass_writes_to;

/// A future that is polled at first, and then when it was woken.
pub struct WhenWoken<F> {
    future: F,
    bell: Bell,
}

impl<F> WhenWoken<F> {
    /// It is polled for the first time when this is.
    pub fn new(future: F) -> Self {
        Self { future, bell: Bell::default() }
    }
}

impl<F: Future + Unpin> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(waker) = self.bell.answer(cx.waker()) else { return Poll::Pending };
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }
}

/// A stream that is read as long as something comes, and then when it was woken.
pub struct ReadWhenWoken<S> {
    stream: S,
    bell: Bell,
}

impl<S> ReadWhenWoken<S> {
    /// Its reads have one task at a time, as those of every stream.
    pub fn new(stream: S) -> Self {
        Self { stream, bell: Bell::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadWhenWoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(waker) = self.bell.answer(cx.waker()) else { return Poll::Pending };
        let polled = Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(&waker), buf);
        if polled.is_ready() {
            self.bell.ring();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadWhenWoken<S> {
    pass_writes_to!(stream);

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Tells whether it was rung, for the task that asked last.
#[derive(Default)]
struct Bell(Option<Arc<Line>>);

/// From what rings to a task.
struct Line {
    was_rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// The waker that rings it: if it was rung, if nobody asked yet, or if another task did.
    fn answer(&mut self, task: &Waker) -> Option<Waker> {
        let line = match &mut self.0 {
            Some(line) if line.task.will_wake(task) => line.is_to_answer().then_some(line)?,
            line => line.insert(Arc::new(Line { was_rung: AtomicBool::new(false), task: task.clone() })),
        };
        Some(Waker::from(line.clone()))
    }

    /// Has it answered when it is asked next.
    fn ring(&self) {
        if let Some(line) = &self.0 {
            line.was_rung.store(true, Ordering::Release);
        }
    }
}

impl Line {
    /// A look without a write first, since mostly nobody rang. It may be relaxed: the task runs after its own waking.
    /// Acquire then, so that it sees what was rung for.
    fn is_to_answer(&self) -> bool {
        self.was_rung.load(Ordering::Relaxed) && self.was_rung.swap(false, Ordering::Acquire)
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: whom it wakes sees what it is rung for.
        self.was_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::sync::Notify;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_is_polled_at_first_and_when_it_was_woken_and_in_another_task() {
        let (notify, mut polls) = (Notify::new(), 0);
        let mut notified = pin!(notify.notified());
        let mut future = WhenWoken::new(poll_fn(|cx| {
            polls += 1;
            notified.as_mut().poll(cx)
        }));
        let tasks = [(); 2].map(|()| Arc::new(Task::default()));
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

    /// Counts how often it is asked.
    struct Counted<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn a_stream_is_read_as_long_as_something_comes_and_when_it_was_woken() {
        let (near, mut far) = duplex(64);
        let mut stream = ReadWhenWoken::new(Counted(near, 0));
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        // How much is read, 2 bytes at most, and how often it was asked since the beginning.
        let mut read = || {
            let mut room = [0; 2];
            let mut buf = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&waker), &mut buf);
            let length = polled.is_ready().then_some(buf.filled().len());
            (length, stream.stream.1)
        };
        assert_eq!([read(), read(), read()], [(None, 1); 3]);
        far.write_all(&[7; 3]).await.unwrap();
        assert!(task.0.swap(false, Ordering::Relaxed), "it wakes its task");
        assert_eq!([read(), read(), read(), read()], [(Some(2), 2), (Some(1), 3), (None, 4), (None, 4)]);
        drop(far);
        assert!(task.0.load(Ordering::Relaxed), "it wakes its task");
        assert_eq!([read(), read()], [(Some(0), 5), (Some(0), 6)]);
    }
}
