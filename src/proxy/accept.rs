//! Connections accepted, as many at once as there are places for.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::clock::Stopwatch;

/// The pause after a connection could not be accepted: something of the machine's is used up, mostly
/// descriptors (accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A trouble is over when it was not met for so long, so that one that comes and goes is told of once.
const OVER_AFTER: Duration = Duration::from_secs(10);

/// A place among the connections that are served at once; another connection has it when this is dropped.
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Accepts connections of one kind. Those for which there is no place wait in the kernel's queue.
pub struct Acceptor {
    /// Whose connections they are, for the log.
    of: &'static str,
    places_max: usize,
    places: Arc<Semaphore>,
    is_full: Trouble,
    is_failing: Trouble,
}

impl Acceptor {
    /// An acceptor with so many places, of connections from `of`.
    pub fn new(of: &'static str, places_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(places_max.min(Semaphore::MAX_PERMITS)));
        Self { of, places_max, places, is_full: Trouble::default(), is_failing: Trouble::default() }
    }

    /// The next connection that `accept` gives, once there is a place for it. May be dropped and called again:
    /// no connection is lost, as long as `accept` loses none.
    pub async fn next<T, F>(&mut self, mut accept: impl FnMut() -> F) -> (T, Place)
    where
        F: Future<Output = io::Result<T>>,
    {
        let place = self.place().await;
        loop {
            match accept().await {
                Ok(connection) => {
                    if self.is_failing.ends() {
                        info!(of = self.of, "connections are accepted again");
                    }
                    return (connection, place);
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, of = self.of, "a connection was lost")
                }
                Err(error) => {
                    if self.is_failing.begins() {
                        warn!(%error, of = self.of, "no connection can be accepted; it is tried again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn place(&mut self) -> Place {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            if self.is_full.ends() {
                info!(of = self.of, "there are places for connections again");
            }
            return Place { _permit: Some(permit) };
        }
        if self.is_full.begins() {
            warn!(
                of = self.of,
                connections = self.places_max,
                "as many connections are open as the limit on open files allows; others wait until one ends"
            );
        }
        // It is never closed, so there always comes one.
        Place { _permit: self.places.clone().acquire_owned().await.ok() }
    }
}

/// A peer that has gone again: the next one may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Something that is to be told of when it begins and when it is over, not each time it is met.
#[derive(Default)]
struct Trouble {
    met: Option<Stopwatch>,
}

impl Trouble {
    /// Whether it was not there before.
    fn begins(&mut self) -> bool {
        self.met.replace(Stopwatch::start()).is_none()
    }

    /// Whether it was there and is over, now that it was not met.
    fn ends(&mut self) -> bool {
        self.met.take_if(|met| met.elapsed() >= OVER_AFTER).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_no_place_waits_until_one_ends() {
        let mut acceptor = Acceptor::new("tests", 2);
        let count = AtomicUsize::new(0);
        let accept = || ready(Ok(count.fetch_add(1, Ordering::SeqCst)));
        let (_, first) = acceptor.next(accept).await;
        let (_, second) = acceptor.next(accept).await;
        let wait = tokio::time::timeout(Duration::from_secs(60), acceptor.next(accept));
        assert!(wait.await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 2, "nothing is accepted that has no place");
        drop(first);
        acceptor.next(accept).await;
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_out_with_pauses_and_a_lost_connection_without() {
        let mut acceptor = Acceptor::new("tests", 1);
        let calls = AtomicUsize::new(0);
        let begun = Stopwatch::start();
        let accept = || {
            ready(match calls.fetch_add(1, Ordering::SeqCst) {
                0..=2 => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                // EMFILE
                3..=12 => Err(io::Error::from_raw_os_error(24)),
                _ => Ok(()),
            })
        };
        acceptor.next(accept).await;
        assert_eq!(begun.elapsed(), ACCEPT_PAUSE * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trouble_that_comes_and_goes_is_told_of_once() {
        let mut trouble = Trouble::default();
        assert!(!trouble.ends());
        assert!(trouble.begins());
        for _ in 0..5 {
            tokio::time::advance(OVER_AFTER / 2).await;
            assert!(!trouble.ends() && !trouble.begins());
        }
        tokio::time::advance(OVER_AFTER).await;
        assert!(trouble.ends() && !trouble.ends());
        assert!(trouble.begins());
    }
}
