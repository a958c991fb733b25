//! Lines to stderr, without waiting for whoever reads them.
//!
//! stderr may be a pipe, and its reader may be slow, stuck or gone. A thread that serves requests must not wait for
//! it, so lines are handed to a thread that does nothing else, and dropped, but counted, when it can't keep up.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::clock::Stopwatch;

/// How many lines may wait to be written. A line has some hundred bytes.
const LINES_MAX: usize = 1024;
/// How long the end of the program waits for lines to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
const FLUSH_LOOK_EVERY: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// Takes one line a write, and never blocks.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Message>,
    /// How many found the queue full, since the start.
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    pub fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&waiting, sink, &counted))?;
        Ok(Self { queue, lost })
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.to_vec())) {
            // Relaxed, here and below: it only counts.
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Dropped, it waits for what was logged to be written, a second at most.
pub struct Flush(pub Lines);

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        let waited = Stopwatch::start();
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(same)) = self.0.queue.try_send(message) {
            if waited.elapsed() >= FLUSH_WITHIN {
                return;
            }
            message = same;
            thread::sleep(FLUSH_LOOK_EVERY);
        }
        let _ = written.recv_timeout(FLUSH_WITHIN.saturating_sub(waited.elapsed()));
    }
}

fn write_all(waiting: &Receiver<Message>, mut sink: impl Write, lost: &AtomicU64) {
    let mut told = 0;
    let mut next = waiting.recv().ok();
    while let Some(message) = next {
        match message {
            // Where it can't be written there is nobody to tell.
            Message::Line(line) => drop(sink.write_all(&line)),
            Message::Flush(done) => drop(done.try_send(())),
        }
        next = match waiting.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                // It has caught up, so the line finds room.
                let lines = lost.load(Ordering::Relaxed);
                if lines > told {
                    told = lines;
                    warn!(lines, "log lines were lost since the start: stderr is not read fast enough");
                }
                waiting.recv().ok()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Writes only when it is let.
    struct Held {
        passes: Receiver<()>,
        written: Arc<std::sync::Mutex<Vec<u8>>>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.passes.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_sink_that_is_stuck_and_what_is_lost_is_counted() {
        let (pass, passes) = channel();
        let written = Arc::default();
        let mut lines = Lines::to(Held { passes, written: Arc::clone(&written) }).unwrap();
        for _ in 0..LINES_MAX + 100 {
            lines.write_all(b"line\n").unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        // One may be with the sink already.
        assert!((99..=100).contains(&lost), "{lost}");
        drop(Flush(lines.clone()));
        drop(pass);
        drop(Flush(lines));
        assert_eq!(written.lock().unwrap().len() as u64, 5 * (LINES_MAX as u64 + 100 - lost));
    }
}
