//! When an endpoint in service is looked at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{Epoch, Tick, Ticks};

use super::identity::Identity;
use crate::cluster::{Endpoint, Vitals};

/// How far an interval varies, so that endpoints are not checked in step: 20 % each way.
const JITTER: f64 = 0.2;

/// The next idle check of each endpoint, and what was said of it.
#[derive(Default)]
pub(super) struct Schedule {
    next: HashMap<Key, Tick>,
    told: HashMap<Key, Epoch>,
}

impl Schedule {
    /// Forgets endpoints that are gone.
    pub fn keep_only(&mut self, endpoints: &[Arc<Endpoint>]) {
        if self.next.len() + self.told.len() > 2 * endpoints.len() {
            let is_there = |of: &Key| endpoints.iter().any(|endpoint| of.is(&endpoint.vitals));
            self.next.retain(|of, _| is_there(of));
            self.told.retain(|of, _| is_there(of));
        }
    }

    /// Whether the endpoint is to be checked now: its time has come, and no traffic has vouched for it
    /// since the interval began. The first checks are spread over the interval.
    pub fn is_due(&mut self, endpoint: &Arc<Endpoint>, now: Tick, interval: Duration) -> bool {
        let span = Ticks::from_duration(interval);
        let Some(next) = self.next.get(&key(endpoint)).copied() else {
            self.next.insert(key(endpoint), now + Ticks(fastrand::u32(1..=span.0.max(1))));
            return false;
        };
        if now < next {
            return false;
        }
        let jitter = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        self.next.insert(key(endpoint), now + Ticks(((f64::from(span.0) * jitter) as u32).max(1)));
        // Zero: nothing ever vouched for it.
        let vouched_at = endpoint.vitals.vouched_at();
        vouched_at == Tick(0) || now.since(vouched_at) >= span
    }

    /// When the endpoint's time comes next.
    pub fn next(&self, endpoint: &Arc<Endpoint>) -> Option<Tick> {
        self.next.get(&key(endpoint)).copied()
    }

    /// Whether nothing was said yet of this period of the endpoint's health.
    pub fn is_news(&mut self, endpoint: &Arc<Endpoint>, epoch: Epoch) -> bool {
        self.told.insert(key(endpoint), epoch) != Some(epoch)
    }
}

/// By an endpoint's figures, which a reload keeps.
type Key = Identity<Vitals>;

fn key(endpoint: &Arc<Endpoint>) -> Key {
    Identity::of(&endpoint.vitals)
}
