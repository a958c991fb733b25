//! How many connections the process can have, and who may have them.

use std::sync::{Arc, LazyLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Descriptors that are for no connection of a client's or to an upstream: the standard streams, the runtime,
/// the listeners, the operator's connections, look-ups of names, files that a reload reads.
const RESERVED: u64 = 32;
/// More than a machine serves: bounds what "unlimited" comes to.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// The share of clients, and as much for connections to upstreams. The limit is the process's, hence one for all.
static SHARE: LazyLock<usize> =
    LazyLock::new(|| share_of(raise_limit().map_or(DESCRIPTORS_MAX, |limit| limit.min(DESCRIPTORS_MAX))));
static UPSTREAM_PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(*SHARE)));

/// How many clients may be connected at once: half of the descriptors but 32, since a client's request needs a
/// connection to an upstream too. A client that waits in the kernel's queue is better off than one that is
/// accepted and can't be served. HAProxy derives its `maxconn` from `ulimit -n` likewise.
pub fn clients_max() -> usize {
    *SHARE
}

/// A place among the connections to upstreams, of all endpoints together. The default is one that is not counted.
#[derive(Default)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A place, if one is left: else what is reserved would be used up.
    pub fn take() -> Option<Self> {
        let permit = UPSTREAM_PLACES.clone().try_acquire_owned().ok()?;
        Some(Self { _permit: Some(permit) })
    }
}

fn share_of(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVED) / 2).unwrap_or(usize::MAX).max(1)
}

/// The limit on descriptors (RLIMIT_NOFILE), raised as far as an unprivileged process may, as HAProxy and Go's
/// runtime do: the soft limit is low only for programs that use select(2). None where there is no limit.
fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Some systems refuse their own hard limit as a soft one; then what there was counts.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_room_for_its_upstream_and_there_is_always_room_for_one() {
        for (limit, clients) in [(0, 1), (32, 1), (33, 1), (36, 2), (64, 16), (1024, 496), (20_000, 9_984)] {
            assert_eq!(share_of(limit), clients, "{limit}");
        }
    }
}
