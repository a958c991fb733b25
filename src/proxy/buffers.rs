//! The memory of large bodies that are gone, kept for those to come.
//!
//! An allocator gives so much memory back to the kernel, which zeroes each page when it is asked for it again: for a body
//! of 200 KB that costs as much as to look through it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::slots::Slots;

/// A smaller one comes as cheap from the allocator.
const KEPT_BYTES_MIN: usize = 64 * 1024;
/// A larger one is rare.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// How much is kept in all.
const ALL_KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Memory that is in nobody's hands.
#[derive(Default)]
pub struct Buffers {
    kept: Slots<Kept>,
    kept_bytes: AtomicUsize,
}

struct Kept(Vec<u8>);

impl Buffers {
    /// An empty buffer with room for so many bytes.
    pub fn with_room_for(self: &Arc<Self>, bytes: usize) -> Buffer {
        let kept = if bytes < KEPT_BYTES_MIN { None } else { self.kept.take() };
        let kept = kept.map(|kept| {
            // Relaxed, as all here: a figure, which is right as soon as nobody is between two steps.
            self.kept_bytes.fetch_sub(kept.0.capacity(), Ordering::Relaxed);
            kept.0
        });
        // What a body has in hand is counted by its length, so that a much larger one would evade the limit on them.
        let fitting = kept.filter(|kept| (bytes..=2 * bytes).contains(&kept.capacity()));
        Buffer { bytes: fitting.unwrap_or_else(|| Vec::with_capacity(bytes)), buffers: self.clone() }
    }

    fn keep(&self, mut bytes: Vec<u8>) {
        let room = bytes.capacity();
        let all = self.kept_bytes.load(Ordering::Relaxed) + room;
        if !(KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&room) || all > ALL_KEPT_BYTES_MAX {
            return;
        }
        bytes.clear();
        self.kept_bytes.fetch_add(room, Ordering::Relaxed);
        if self.kept.put(Box::new(Kept(bytes))).is_some() {
            self.kept_bytes.fetch_sub(room, Ordering::Relaxed);
        }
    }
}

/// A buffer, whose memory is kept when it is let go.
pub struct Buffer {
    bytes: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.buffers.keep(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_where_it_fits() {
        let buffers: Arc<Buffers> = Arc::default();
        let mut first = buffers.with_room_for(200_000);
        first.extend_from_slice(b"a body");
        let place = first.as_ptr();
        drop(first);
        let smaller = buffers.with_room_for(100_000);
        assert!(smaller.as_ptr() == place && smaller.is_empty());
        drop(smaller);
        let larger = buffers.with_room_for(300_000);
        assert!(larger.capacity() >= 300_000);
        assert_eq!(buffers.kept_bytes.load(Ordering::Relaxed), 0, "what does not fit is let go");
    }

    #[test]
    fn a_body_holds_no_more_than_twice_the_memory_that_is_counted_for_it() {
        let buffers: Arc<Buffers> = Arc::default();
        for bytes in [KEPT_BYTES_MIN, 200_000, KEPT_BYTES_MAX / 2, KEPT_BYTES_MAX] {
            drop(buffers.with_room_for(KEPT_BYTES_MAX));
            let room = buffers.with_room_for(bytes).capacity();
            assert!((bytes..=2 * bytes).contains(&room), "{room} for {bytes}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers: Arc<Buffers> = Arc::default();
        for bytes in [0, KEPT_BYTES_MIN - 1, KEPT_BYTES_MAX + 1] {
            drop(buffers.with_room_for(bytes));
            assert_eq!(buffers.kept.len(), 0, "{bytes}");
        }
        let many: Vec<Buffer> = (0..300).map(|_| buffers.with_room_for(KEPT_BYTES_MIN)).collect();
        drop(many);
        assert_eq!(buffers.kept_bytes.load(Ordering::Relaxed), ALL_KEPT_BYTES_MAX);
        drop((0..10).map(|_| buffers.with_room_for(KEPT_BYTES_MAX)).collect::<Vec<_>>());
        assert!(buffers.kept_bytes.load(Ordering::Relaxed) <= ALL_KEPT_BYTES_MAX);
    }
}
