//! Whose turn it is to open a connection that others will use too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many connections to an endpoint are opened at once, at most.
const OPENING_MAX: usize = 16;

/// Those who want a connection, in as many rows as they need connections. The first of a row opens one; when it is
/// there the others find room on it. One row for all would be too slow for many, who would be counted as not connected;
/// no rows at all, and a hundred requests at once would open a hundred.
pub(super) struct Turns {
    waiting: Arc<AtomicUsize>,
    rows: [Arc<Mutex<()>>; OPENING_MAX],
}

/// A turn; the next one of the row has its own when this is dropped.
pub(super) struct Turn {
    _row: OwnedMutexGuard<()>,
    _waiting: Waiting,
}

struct Waiting(Arc<AtomicUsize>);

impl Default for Turns {
    fn default() -> Self {
        Self { waiting: Arc::default(), rows: std::array::from_fn(|_| Arc::default()) }
    }
}

impl Turns {
    /// Awaits a turn, where a connection has `places`.
    pub(super) async fn take(&self, places: usize) -> Turn {
        // Relaxed: it only counts.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(self.waiting.clone());
        let row = self.rows[before / places.max(1) % OPENING_MAX].clone();
        Turn { _row: row.lock_owned().await, _waiting: waiting }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
