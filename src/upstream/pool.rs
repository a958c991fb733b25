//! Connections kept for the next request. Taking one and giving it back is without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::connection::Connection;
use super::head::HeadWriter;
use super::http1::Http1;
use super::http2::Http2;
use super::wire::History;
use crate::slots::Slots;

/// The connections of an endpoint.
pub(super) struct Pool {
    /// What is sent on them is addressed by it.
    pub head: HeadWriter,
    /// HTTP/1.1. More than there are slots are seldom used within the time that they may lie idle, and descriptors are
    /// bounded.
    idle: Slots<Http1>,
    /// HTTP/2, in use or not. The first ones are filled first, so that the others can be let go.
    shared: ArcSwap<Vec<Arc<Http2>>>,
    /// Requests that took a connection from here.
    served: AtomicU64,
}

impl Pool {
    /// With no connection yet.
    pub(super) fn new(head: HeadWriter) -> Self {
        Self { head, idle: Slots::default(), shared: ArcSwap::default(), served: AtomicU64::new(0) }
    }

    /// A connection for a request.
    pub(super) fn take(self: &Arc<Self>) -> Option<Connection> {
        if let Some(connection) = self.take_shared() {
            return Some(connection);
        }
        loop {
            let mut connection = self.idle.take()?;
            if connection.is_fresh() {
                self.count_served();
                return Some(Connection::http1(connection, History::Kept, self));
            }
        }
    }

    /// A place on a connection that others use too.
    pub(super) fn take_shared(self: &Arc<Self>) -> Option<Connection> {
        let shared = self.shared.load();
        let mut places = shared.iter().filter(|shared| shared.is_fresh()).filter_map(|shared| shared.place());
        let place = places.next()?;
        self.count_served();
        Some(Connection::http2(place, History::Kept, self))
    }

    /// Keeps a connection that has nothing to do; beyond the bound it is closed.
    pub(super) fn put(&self, mut connection: Box<Http1>) {
        connection.rest();
        drop(self.idle.put(connection));
    }

    /// Keeps a connection that others may use too.
    pub(super) fn share(&self, connection: &Arc<Http2>) {
        self.shared.rcu(|shared| shared.iter().chain([connection]).cloned().collect::<Vec<_>>());
    }

    /// Lets go of what is closed or too old, and of HTTP/2 connections that are idle beside another: what runs
    /// on them goes on.
    pub(super) fn prune(&self) {
        self.idle.retain(Http1::is_fresh);
        self.retain_shared(|shared, idle_seen| shared.is_fresh() && (idle_seen == 0 || !shared.is_idle()));
    }

    /// Closes what nobody uses.
    pub(super) fn close_idle(&self) {
        self.idle.retain(|_| false);
        self.retain_shared(|shared, _| !shared.is_idle());
    }

    /// `keep` is told how many idle ones before it are kept.
    fn retain_shared(&self, keep: impl Fn(&Http2, usize) -> bool) {
        if self.shared.load().is_empty() {
            return;
        }
        self.shared.rcu(|shared| {
            let mut kept: Vec<Arc<Http2>> = Vec::with_capacity(shared.len());
            for connection in shared.iter() {
                if keep(connection, kept.iter().filter(|kept| kept.is_idle()).count()) {
                    kept.push(connection.clone());
                }
            }
            kept
        });
    }

    /// How many connections a request could have at once.
    pub(super) fn ready(&self) -> usize {
        self.idle.len() + self.shared.load().iter().filter(|shared| shared.has_room()).count()
    }

    /// How many requests have taken a connection from here. Relaxed, as the counting: a figure.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn count_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}
