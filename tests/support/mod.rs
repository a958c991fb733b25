//! What every whole-program test stands on: a scripted upstream, gates, the program itself, clients.

// Each test binary compiles this module for itself and uses only a part of it.
#![allow(dead_code, unused_imports)]
// Support code runs only inside tests, where a panic is the report and the wall clock is the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

pub mod answer;
pub mod client;
pub mod config;
pub mod faults;
pub mod gate;
pub mod h2_client;
pub mod http;
pub mod http2;
pub mod llm;
pub mod process;
pub mod proxy;
pub mod recorded;
pub mod recorder;
pub mod tls;
pub mod under;
pub mod upstream;

pub use answer::{Answer, End, Step};
pub use client::{Client, Raw, Reply, exchange};
pub use config::{Cluster, Endpoint};
pub use gate::Gate;
pub use h2_client::Http2Client;
pub use http2::Http2Upstream;
pub use proxy::Qcc;
pub use recorded::Recorded;
pub use recorder::Recorder;
pub use upstream::Upstream;

use std::future::Future;
use std::time::{Duration, Instant};

/// The longest anything in a test may take: a wait past it is a failure that names what was awaited.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Awaits `future`, or fails naming it when `LIMIT` is over.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {LIMIT:?}: {what}"),
    }
}

/// Polls until `look` finds something, for facts that only a document shows (status, log).
pub async fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(())).await;
}

/// Watches for `window` that something does not happen. It orders nothing: it only gives a wrong
/// program the time to be caught, and a right one passes whatever the machine's speed.
pub async fn never_within(what: &str, window: Duration, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + window;
    while Instant::now() < deadline {
        assert!(!happened(), "happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
