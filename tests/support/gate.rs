//! Gates force an order between things that run at once, without sleeping.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::within;

/// Whoever comes to a gate waits until the test lets it through.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    name: String,
    arrivals: watch::Sender<usize>,
    passes: Semaphore,
}

/// More than any test sends through one gate.
const FOR_GOOD: usize = 1 << 20;

impl Gate {
    pub fn new(name: &str) -> Self {
        let inner = Inner { name: name.into(), arrivals: watch::channel(0).0, passes: Semaphore::new(0) };
        Self(Arc::new(inner))
    }

    /// Comes to the gate and waits to be let through.
    pub async fn pass(&self) {
        self.0.arrivals.send_modify(|count| *count += 1);
        self.0.passes.acquire().await.expect("a gate is never closed for good").forget();
    }

    /// Awaits that `count` have come to the gate, those already let through included.
    pub async fn arrived(&self, count: usize) {
        let what = format!("{count} arrivals at the gate `{}`", self.0.name);
        let mut arrivals = self.0.arrivals.subscribe();
        within(&what, arrivals.wait_for(|now| *now >= count)).await.expect("the sender lives in self");
    }

    pub fn arrivals(&self) -> usize {
        *self.0.arrivals.borrow()
    }

    /// Lets `count` through, in the order they came.
    pub fn release(&self, count: usize) {
        self.0.passes.add_permits(count);
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.release(FOR_GOOD);
    }
}
