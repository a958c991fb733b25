//! The last check before the wire.
//!
//! Between a choice and the moment at which the request's first byte is written, the endpoint may be found to be down.
//! The attempt loop looks again when it has a connection, and the connection once more in the very call that writes:
//! a request whose ticket is no longer current is never on the wire. In the same call it looks whether a kept connection
//! was closed meanwhile: then nothing is written, so the request can't have been taken, and another connection may carry
//! it.

use std::io;

use qcc_fsm::Stamp;

/// Says whether a request that was chosen at `stamp` may still be sent.
pub trait Admission: Send + Sync {
    /// Whether the endpoint is still in the period that the stamp is of.
    fn is_current(&self, stamp: Stamp) -> bool;
}

/// What a connection was before the request in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// Opened for this request.
    New,
    /// It lay idle, so that the upstream may have closed it.
    Kept,
}

/// Whether a write failed since the peer takes no more. What it has said waits to be read all the same: its answer, or
/// that it has not taken the request.
pub(super) fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
