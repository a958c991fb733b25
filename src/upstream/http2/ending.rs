//! The end of a connection, told to those who have handed a request over to it.
//!
//! A request that is handed over in the moment in which its connection ends may stay in hyper's channel, where nobody
//! takes it up and nothing is said of it as long as there is a sender (hyper issue 4122 has the order of events). Who
//! only waits for an answer then waits for nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// What came of a request that was handed over.
pub(super) enum HandedOver<T> {
    /// The connection has said what.
    Told(T),
    /// The connection has ended, and it says nothing.
    Untold,
}

/// Awaits what `sending` comes to; no longer than the connection lives, whose end is `ended`. It must be told only when
/// the connection is dropped, so that it has said by then what it ever will.
pub(super) async fn unless_ended<T>(
    sending: &mut (impl Future<Output = T> + Unpin),
    ended: impl Future,
) -> HandedOver<T> {
    let mut ended = pin!(ended);
    tokio::select! {
        biased;
        told = &mut *sending => return HandedOver::Told(told),
        _ = ended.as_mut() => {}
    }
    poll_fn(|cx| match pin!(&mut *sending).poll(cx) {
        Poll::Ready(told) => Poll::Ready(HandedOver::Told(told)),
        Poll::Pending => Poll::Ready(HandedOver::Untold),
    })
    .await
}
