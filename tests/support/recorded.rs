//! A request as an upstream saw it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use super::http::{Headers, find, find_all};
use super::llm;

/// One order over everything that any upstream of this process receives.
pub(super) static ARRIVALS: AtomicU64 = AtomicU64::new(1);

/// The sequence number that the next request will get, whichever upstream it reaches.
pub fn next_arrival() -> u64 {
    ARRIVALS.load(Ordering::SeqCst)
}

/// A request as it came, recorded at the moment its head was complete.
#[derive(Debug)]
pub struct Recorded {
    pub arrival: u64,
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub headers: Headers,
    /// The head as it came.
    pub head: Vec<u8>,
    pub(super) body: OnceLock<Vec<u8>>,
    pub(super) answered: AtomicBool,
    pub(super) abandoned: AtomicBool,
}

impl Recorded {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn header_all(&self, name: &str) -> Vec<&str> {
        find_all(&self.headers, name)
    }

    /// Empty while the body has not fully come.
    pub fn body(&self) -> &[u8] {
        self.body.get().map_or(&[], Vec::as_slice)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap_or(Value::Null)
    }

    pub fn is_post(&self) -> bool {
        self.method == "POST"
    }

    pub fn is_model_list(&self) -> bool {
        self.method == "GET" && self.path().ends_with("/v1/models")
    }

    /// A request that a test made carries its mark; any other POST is the program's own check.
    pub fn is_user(&self) -> bool {
        self.is_post() && llm::has_mark(self.body())
    }

    pub fn is_chat_check(&self) -> bool {
        self.is_post() && !llm::has_mark(self.body())
    }

    pub fn says(&self, marker: &str) -> bool {
        String::from_utf8_lossy(self.body()).contains(marker)
    }

    pub fn was_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst)
    }

    /// The peer closed its connection before the answer was complete.
    pub fn was_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}
