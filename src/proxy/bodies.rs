//! The memory that the bodies of all requests under way take up: bounded, however many clients there are.
//!
//! A body is kept until no endpoint may need it any more, so `max_body` alone bounds nothing. Each takes a share of
//! `max_bodies` before its bytes are read, and gives it back with its last slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::buffers::{Buffer, Buffers};

/// What is taken, and a bell for those who wait.
#[derive(Default)]
pub struct BodyRoom {
    taken_bytes: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
    buffers: Arc<Buffers>,
}

/// There was no room for as long as the request may wait.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

impl BodyRoom {
    /// Compared and exchanged, not added and taken back: what does not fit must not make others wait.
    fn try_take(&self, bytes: u64, limit_bytes: u64) -> bool {
        let with = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit_bytes);
        // SeqCst, as all three here: either whoever waits sees what was given back, or is seen waiting.
        self.taken_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, with).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.taken_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    async fn take(&self, bytes: u64, limit_bytes: u64) {
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_take(bytes, limit_bytes) {
                return;
            }
            freed.await;
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one body takes of the room. Dropped, it gives it back.
pub struct Share {
    room: Arc<BodyRoom>,
    bytes: u64,
}

impl Share {
    /// Nothing yet.
    pub fn of(room: &Arc<BodyRoom>) -> Self {
        Self { room: room.clone(), bytes: 0 }
    }

    /// Takes as much as makes it `bytes`, if it is less, in a room of `limit_bytes`; false where others have it.
    pub fn try_grow_to(&mut self, bytes: u64, limit_bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_grown = more == 0 || self.room.try_take(more, limit_bytes);
        if has_grown {
            self.bytes += more;
        }
        has_grown
    }

    /// The same, but waits for what others have, for `patience` at most.
    ///
    /// # Errors
    /// When it waited in vain.
    pub async fn grow_to(&mut self, bytes: u64, limit_bytes: u64, patience: Duration) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        timeout(patience, self.room.take(more, limit_bytes)).await.map_err(|_| NoRoom)?;
        self.bytes += more;
        Ok(())
    }

    /// An empty buffer for so many bytes.
    pub fn buffer(&self, bytes: usize) -> Buffer {
        self.room.buffers.with_room_for(bytes)
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.room.give_back(less);
    }

    /// Bytes that hold this share until the last slice of them is gone.
    pub fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn share(room: &Arc<BodyRoom>, bytes: u64) -> Result<Share, NoRoom> {
        let mut share = Share::of(room);
        share.grow_to(bytes, 100, PATIENCE).await.map(|()| share)
    }

    #[tokio::test(start_paused = true)]
    async fn shares_never_add_up_to_more_than_the_room() {
        let room = Arc::default();
        let mut one = share(&room, 60).await.unwrap();
        let two = share(&room, 40).await.unwrap();
        assert_eq!(share(&room, 1).await.err(), Some(NoRoom));
        one.shrink_to(50);
        let three = share(&room, 10).await.unwrap();
        drop((one, two, three));
        share(&room, 100).await.unwrap();
        assert_eq!(room.taken_bytes.load(Ordering::SeqCst), 0);
        assert_eq!(room.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_goes_on_as_soon_as_there_is_room() {
        let room: Arc<BodyRoom> = Arc::default();
        let bytes = share(&room, 100).await.unwrap().hold(vec![0; 100]);
        let slice = bytes.slice(99..);
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { share(&room, 100).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(bytes);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a slice of the bytes is left");
        drop(slice);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_while_waiting_takes_nothing() {
        let room: Arc<BodyRoom> = Arc::default();
        let all = share(&room, 100).await.unwrap();
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { share(&room, 50).await.is_ok() }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop(all);
        share(&room, 100).await.unwrap();
        assert_eq!(room.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_waits_forever_for_what_is_given_back() {
        let room: Arc<BodyRoom> = Arc::default();
        let tasks: Vec<_> = (1..=64)
            .map(|number| {
                let room = room.clone();
                tokio::spawn(async move {
                    for round in 0..200 {
                        let mut share = Share::of(&room);
                        share.grow_to(1 + (number * 7 + round) % 100, 100, PATIENCE * 6).await.unwrap();
                        assert!(room.taken_bytes.load(Ordering::SeqCst) <= 100);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(room.taken_bytes.load(Ordering::SeqCst), 0);
    }
}
