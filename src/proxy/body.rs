//! A client's body, read to its end within limits of size, memory and time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use super::answers::OwnAnswer;
use super::bodies::{BodyRoom, NoRoom, Share};
use super::patience::by;
use crate::config::ClusterSettings;
use crate::upstream::ReplayBody;

/// What must come of a body, over the whole of it and after a pause of `client_header`: a quarter of a slow
/// uplink (1 Mbit/s). So the largest body of 64 MiB may take 35 min, and a byte now and then holds nothing.
const BYTES_PER_SEC_MIN: u64 = 32 * 1024;
/// The memory for a body of unknown length is taken in steps of so many bytes.
const STEP_BYTES: u64 = 64 * 1024;
/// When to come back, where there was no memory: bodies go as soon as an answer begins.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// Reads a body. Trailers are dropped: no upstream of these protocols reads any.
///
/// # Errors
/// The answer to one that is too large, for which there is no memory, that is malformed or comes too slowly.
pub async fn read_body<B>(
    mut body: B,
    room: &Arc<BodyRoom>,
    settings: &ClusterSettings,
) -> Result<ReplayBody, OwnAnswer>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(ReplayBody::default());
    }
    let hint = body.size_hint();
    if hint.lower() > settings.max_body_bytes {
        return Err(OwnAnswer::body_too_large(settings.max_body_bytes));
    }
    let mut reading =
        Reading { share: Share::of(room), settings, pace: Pace::of(settings), bytes: Pieces::None };
    // Before a byte is asked for, and so before a 100 (Continue).
    reading.make_room(hint.lower()).await?;
    // One whose length is known tells that it is over before it is asked for more.
    while !body.is_end_stream() {
        let frame = by(|| reading.pace.next_by(), pin!(body.frame())).await;
        let Some(frame) = frame.ok_or_else(OwnAnswer::body_timeout)? else { break };
        let cut_off = |_| OwnAnswer::bad_request("qcc: the request's body is malformed or cut off");
        if let Ok(data) = frame.map_err(cut_off)?.into_data() {
            reading.take(data, hint.exact()).await?;
        }
    }
    Ok(reading.finish())
}

struct Reading<'a> {
    share: Share,
    settings: &'a ClusterSettings,
    pace: Pace,
    bytes: Pieces,
}

impl Reading<'_> {
    async fn make_room(&mut self, bytes: u64) -> Result<(), OwnAnswer> {
        let ClusterSettings { max_bodies_bytes, queue_timeout, .. } = *self.settings;
        if self.share.try_grow_to(bytes, max_bodies_bytes) {
            return Ok(());
        }
        let began = Pace::now();
        let grown = self.share.grow_to(bytes, max_bodies_bytes, queue_timeout).await;
        self.pace.forgive_since(began);
        grown.map_err(|NoRoom| OwnAnswer::bodies_too_large(COME_BACK_AFTER))
    }

    async fn take(&mut self, data: Bytes, declared_bytes: Option<u64>) -> Result<(), OwnAnswer> {
        let limit_bytes = self.settings.max_body_bytes;
        let size_bytes = self.pace.count(data.len() as u64);
        if size_bytes > limit_bytes {
            return Err(OwnAnswer::body_too_large(limit_bytes));
        }
        if size_bytes > self.share.bytes() {
            self.make_room(size_bytes.next_multiple_of(STEP_BYTES).min(limit_bytes)).await?;
        }
        self.bytes.push(data, declared_bytes);
        Ok(())
    }

    fn finish(mut self) -> ReplayBody {
        self.share.shrink_to(self.pace.came_bytes);
        match self.bytes {
            Pieces::None => ReplayBody::default(),
            Pieces::One(bytes) => self.share.hold(bytes).into(),
            Pieces::Many(mut bytes) => {
                bytes.shrink_to_fit();
                self.share.hold(bytes).into()
            }
        }
    }
}

/// A body as far as it came. One that comes at once is not copied; pieces are put together, since each of them
/// would hold the whole of what it was read into.
enum Pieces {
    None,
    One(Bytes),
    Many(Vec<u8>),
}

impl Pieces {
    fn push(&mut self, data: Bytes, declared_bytes: Option<u64>) {
        match self {
            _ if data.is_empty() => {}
            Self::None => *self = Self::One(data),
            Self::One(first) => {
                let declared =
                    declared_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
                let mut bytes = Vec::with_capacity(declared.max(first.len() + data.len()));
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(&data);
                *self = Self::Many(bytes);
            }
            Self::Many(bytes) => bytes.extend_from_slice(&data),
        }
    }
}

/// How fast a body comes.
struct Pace {
    /// When it was first waited for.
    since: Option<Instant>,
    pause: Duration,
    came_bytes: u64,
}

impl Pace {
    fn of(settings: &ClusterSettings) -> Self {
        Self { since: None, pause: settings.timeouts.client_header, came_bytes: 0 }
    }

    #[allow(clippy::disallowed_methods, reason = "the edge: a limit on waiting")]
    fn now() -> Instant {
        Instant::now()
    }

    /// How many bytes there are with these.
    fn count(&mut self, bytes: u64) -> u64 {
        self.came_bytes += bytes;
        self.came_bytes
    }

    /// The time since then was not the client's.
    fn forgive_since(&mut self, began: Instant) {
        if let Some(since) = &mut self.since {
            *since += Self::now() - began;
        }
    }

    /// When the next bytes must be there, which are waited for from now on.
    fn next_by(&mut self) -> Instant {
        let now = Self::now();
        let since = *self.since.get_or_insert(now);
        let in_all = Duration::from_millis(self.came_bytes.saturating_mul(1000) / BYTES_PER_SEC_MIN);
        (now + self.pause).min(since + self.pause + in_all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use hyper::body::{Frame, SizeHint};
    use tokio::time::{Sleep, sleep};

    use super::*;
    use crate::config::{Environment, parse_str};

    fn settings(lines: &str) -> ClusterSettings {
        let text = format!(
            "[clusters.a]\n{lines}\n[[clusters.a.endpoints]]\nname = 'x'\nbase_url = 'http://x'\napi_key = 'k'\n"
        );
        let parsed = parse_str(&text, "config.toml".as_ref(), &Environment::closed([])).unwrap();
        parsed.clusters["a"].clone()
    }

    /// A body that comes in pieces, each after a pause.
    struct Paced {
        pieces: VecDeque<(Duration, Bytes)>,
        pause: Option<Pin<Box<Sleep>>>,
        declared: Option<u64>,
    }

    fn paced(pieces: impl IntoIterator<Item = (Duration, usize)>) -> Paced {
        let piece = |(pause, length): (Duration, usize)| (pause, Bytes::from(vec![length as u8; length]));
        Paced { pieces: pieces.into_iter().map(piece).collect(), pause: None, declared: None }
    }

    impl Paced {
        fn declared(mut self) -> Self {
            self.declared = Some(self.pieces.iter().map(|(_, piece)| piece.len() as u64).sum());
            self
        }
    }

    impl Body for Paced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some((pause, _)) = self.pieces.front() else { return Poll::Ready(None) };
            let pause = *pause;
            ready!(self.pause.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx));
            self.pause = None;
            Poll::Ready(self.pieces.pop_front().map(|(_, piece)| Ok(Frame::data(piece))))
        }

        fn size_hint(&self) -> SizeHint {
            self.declared.map(SizeHint::with_exact).unwrap_or_default()
        }
    }

    const NOW: Duration = Duration::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    async fn read(body: Paced, room: &Arc<BodyRoom>, lines: &str) -> Result<ReplayBody, String> {
        let read = read_body(body, room, &settings(lines)).await;
        read.map_err(|answer| {
            let response = answer.into_response("/v1/messages");
            format!("{} {}", response.status().as_u16(), response.headers()["x-qcc-error"].to_str().unwrap())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_the_same_however_it_comes() {
        for sizes in [&[][..], &[5], &[0, 5], &[5, 0, 7], &[100_000, 1, 100_000], &[1; 3000]] {
            let whole: Vec<u8> = sizes.iter().flat_map(|&length| vec![length as u8; length]).collect();
            for is_declared in [true, false] {
                let body = paced(sizes.iter().map(|&length| (NOW, length)));
                let body = if is_declared { body.declared() } else { body };
                let read = read(body, &Arc::default(), "").await.unwrap();
                assert!(read.contiguous() == whole, "{sizes:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_a_byte_at_a_time_is_given_up_and_one_on_a_slow_line_is_not() {
        for (pieces, length, pause, is_read) in [
            // 29 s of silence again and again: never idle, and never done.
            (100, 1, SECOND * 29, false),
            (10_000, 1024, SECOND / 10, false),
            // 64 kB/s for three minutes.
            (1_800, 6400, SECOND / 10, true),
            (2, 1, SECOND * 14, true),
            (2, 1, SECOND * 31, false),
        ] {
            let body = paced((0..pieces).map(|_| (pause, length))).declared();
            let expected = if is_read { Ok(()) } else { Err("408 body_timeout".to_owned()) };
            let read = read(body, &Arc::default(), "").await.map(drop);
            assert_eq!(read, expected, "{pieces} pieces of {length} bytes, {pause:?} apart");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_bodies_of_all_requests_together_are_bounded() {
        let lines = "max_body = '1 MiB'\nmax_bodies = '1 MiB'\nqueue_timeout = '3s'";
        let room = Arc::default();
        let large = || paced([(NOW, 600_000), (NOW, 1)]);
        for body in [large(), large().declared()] {
            let first = read(body, &room, lines).await.unwrap();
            assert_eq!(read(large(), &room, lines).await.unwrap_err(), "529 bodies_too_large");
            assert_eq!(read(large().declared(), &room, lines).await.unwrap_err(), "529 bodies_too_large");
            read(paced([(NOW, 300_000)]), &room, lines).await.unwrap();
            let clone = first.clone();
            drop(first);
            assert!(read(large(), &room, lines).await.is_err(), "a clone of it is still to be sent");
            drop(clone);
            read(large(), &room, lines).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waited_for_memory_is_not_late_for_it() {
        let lines =
            "max_body = '1 MiB'\nmax_bodies = '1 MiB'\nqueue_timeout = '1m'\ntimeouts.client_header = '5s'";
        let room = Arc::default();
        let first = read(paced([(NOW, 1 << 20)]), &room, lines).await.unwrap();
        let later = tokio::spawn(async move {
            sleep(SECOND * 30).await;
            drop(first);
        });
        read(paced([(SECOND, 5), (SECOND, 5)]), &room, lines).await.unwrap();
        later.await.unwrap();
    }
}
