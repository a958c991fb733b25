//! How long an HTTP/2 connection may do nothing.
//!
//! hyper's timer for a request's head is HTTP/1's alone: over HTTP/2 a client could connect and be silent, or send
//! parts of a head, for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::sleep;

use super::handover::Handover;

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    begun: AtomicU64,
    under_way: AtomicUsize,
}

/// A request until its answer has been sent.
pub struct UnderWay(Arc<Activity>);

impl Activity {
    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        // Relaxed, as all here: they only count.
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Ends when there was no request for the limit, and within twice as long.
    pub async fn ends(&self, limit: Duration) {
        let mut begun_before = None;
        loop {
            let begun = Some(self.begun.load(Ordering::Relaxed));
            if begun == begun_before && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
            begun_before = begun;
            sleep(limit).await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body whose request is under way as long as it lasts.
pub struct Lasting<B> {
    body: B,
    handover: Arc<Handover>,
    _under_way: UnderWay,
}

impl<B> Lasting<B> {
    /// The body of the request's answer, in the task that serves its stream.
    pub fn new(body: B, under_way: UnderWay) -> Self {
        Self { body, handover: Handover::of_this_stream(), _under_way: under_way }
    }
}

impl<B: Body + Unpin> Body for Lasting<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.handover.ask();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.handover.hand();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_ends_and_one_with_a_request_does_not() {
        let activity: Arc<Activity> = Arc::default();
        timeout(LIMIT * 2, activity.ends(LIMIT)).await.unwrap();
        let request = activity.begin();
        timeout(LIMIT * 100, activity.ends(LIMIT)).await.unwrap_err();
        drop(request);
        timeout(LIMIT * 2, activity.ends(LIMIT)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn requests_one_after_another_keep_a_connection() {
        let activity: Arc<Activity> = Arc::default();
        let requests = async {
            for _ in 0..20 {
                sleep(LIMIT - Duration::from_secs(1)).await;
                drop(activity.begin());
            }
        };
        tokio::select! {
            biased;
            () = requests => {}
            () = activity.ends(LIMIT) => panic!("it was in use"),
        }
    }
}
