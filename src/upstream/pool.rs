//! Connections kept for the next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use super::connection::Connection;
use super::head::HeadWriter;
use super::http1::Http1;
use super::http2::Http2;
use super::wire::History;

/// How many idle HTTP/1.1 connections an endpoint keeps. More are seldom used within the time that they may lie
/// idle, and descriptors are bounded.
const IDLE_MAX: usize = 256;

/// The connections of an endpoint.
pub(super) struct Pool {
    /// What is sent on them is addressed by it.
    pub head: HeadWriter,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    /// HTTP/1.1, the most recently used last.
    idle: VecDeque<Box<Http1>>,
    /// HTTP/2, in use or not. The first ones are filled first, so that the others can be let go.
    shared: Vec<Arc<Http2>>,
    /// Requests that took a connection from here.
    served: u64,
}

impl Connections {
    fn pop(&mut self) -> Option<Box<Http1>> {
        let connection = self.idle.pop_back()?;
        self.served += 1;
        Some(connection)
    }
}

impl Pool {
    /// With no connection yet.
    pub(super) fn new(head: HeadWriter) -> Self {
        Self { head, connections: Mutex::default() }
    }

    /// A connection for a request.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Connection> {
        if let Some(connection) = self.take_shared() {
            return Some(connection);
        }
        loop {
            let mut connection = self.lock().pop()?;
            if connection.is_fresh() && connection.becomes_ready().await {
                return Some(Connection::http1(connection, History::Kept, self));
            }
        }
    }

    /// A place on a connection that others use too.
    pub(super) fn take_shared(self: &Arc<Self>) -> Option<Connection> {
        let mut connections = self.lock();
        let place =
            connections.shared.iter().filter(|shared| shared.is_fresh()).find_map(|shared| shared.place())?;
        connections.served += 1;
        Some(Connection::http2(place, History::Kept, self))
    }

    /// Keeps a connection that has nothing to do. Beyond the bound the oldest is closed.
    pub(super) fn put(&self, mut connection: Box<Http1>) {
        connection.rest();
        if !connection.is_fresh() {
            return;
        }
        let mut connections = self.lock();
        connections.idle.push_back(connection);
        let surplus = match connections.idle.len() > IDLE_MAX {
            true => connections.idle.pop_front(),
            false => None,
        };
        drop(connections);
        drop(surplus);
    }

    /// Keeps a connection that others may use too.
    pub(super) fn share(&self, connection: Arc<Http2>) {
        self.lock().shared.push(connection);
    }

    /// Lets go of what is closed or too old, and of HTTP/2 connections that are idle beside another: what runs
    /// on them goes on.
    pub(super) fn prune(&self) {
        let mut connections = self.lock();
        connections.idle.retain(|idle| idle.is_fresh());
        let mut idle_seen = 0;
        connections.shared.retain(|shared| {
            idle_seen += usize::from(shared.is_fresh() && shared.is_idle());
            shared.is_fresh() && (idle_seen <= 1 || !shared.is_idle())
        });
    }

    /// Closes what nobody uses.
    pub(super) fn close_idle(&self) {
        let mut connections = self.lock();
        let idle = std::mem::take(&mut connections.idle);
        connections.shared.retain(|shared| !shared.is_idle());
        drop(connections);
        drop(idle);
    }

    /// How many connections a request could have at once.
    pub(super) fn ready(&self) -> usize {
        let connections = self.lock();
        connections.idle.len() + connections.shared.iter().filter(|shared| shared.has_room()).count()
    }

    /// How many requests have taken a connection from here.
    pub(super) fn served(&self) -> u64 {
        self.lock().served
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        // A panic while a list is pushed or popped leaves a list.
        self.connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
