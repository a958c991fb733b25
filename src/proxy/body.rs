//! A client's body, read to its end within limits of size, memory and time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::Instant;

use super::answers::OwnAnswer;
use super::bodies::{BodyRoom, NoRoom, Share};
use crate::alarm::Alarm;
use crate::config::ClusterSettings;
use crate::upstream::ReplayBody;

/// What must come of a body, over the whole of it and after a pause of `client_header`: a quarter of a slow
/// uplink (1 Mbit/s). So the largest body of 64 MiB may take 35 min, and a byte now and then holds nothing.
const BYTES_PER_SEC_MIN: u64 = 32 * 1024;
/// The memory for a body of unknown length is taken in steps of so many bytes.
const STEP_BYTES: u64 = 64 * 1024;
/// When to come back, where there was no memory: bodies go as soon as an answer begins.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// Where a body comes from.
pub trait Source {
    /// How long it is, where that is known before it comes.
    fn declared_bytes(&self) -> Option<u64>;

    /// Whether all of it was read.
    fn is_over(&self) -> bool;

    /// All of it, where it has come with its head and need not be put together.
    fn take_whole(&mut self) -> Option<Bytes>;

    /// Adds what comes next to `data`. Asks for the body, where it is held back until then.
    ///
    /// # Errors
    /// When it is malformed, or ends before its end.
    fn poll_more(&mut self, cx: &mut Context<'_>, data: &mut Vec<u8>) -> Poll<io::Result<()>>;
}

/// A body over HTTP/2. Its trailers are dropped: no upstream of these protocols reads any.
pub struct Frames<B> {
    body: B,
    is_over: bool,
}

impl<B: Body> Frames<B> {
    /// Of a body of which nothing was read.
    pub fn of(body: B) -> Self {
        Self { is_over: body.is_end_stream(), body }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin> Source
    for Frames<B>
{
    fn declared_bytes(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn take_whole(&mut self) -> Option<Bytes> {
        None
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, data: &mut Vec<u8>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(frame) => {
                let frame = frame.map_err(io::Error::other)?;
                data.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                self.is_over = self.body.is_end_stream();
            }
            None => self.is_over = true,
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads a body. `alarm` rings where it does not come in time.
///
/// # Errors
/// The answer to one that is too large, for which there is no memory, that is malformed or comes too slowly.
pub async fn read_body(
    mut body: impl Source,
    room: &Arc<BodyRoom>,
    settings: &ClusterSettings,
    alarm: &mut Alarm,
) -> Result<ReplayBody, OwnAnswer> {
    if body.is_over() {
        return Ok(ReplayBody::default());
    }
    let declared_bytes = body.declared_bytes();
    let at_least_bytes = declared_bytes.unwrap_or_default();
    if at_least_bytes > settings.max_body_bytes {
        return Err(OwnAnswer::body_too_large(settings.max_body_bytes));
    }
    let mut reading = Reading { share: Share::of(room), settings, pace: Pace::of(settings) };
    // Before a byte is asked for, and so before a 100 (Continue).
    reading.make_room(at_least_bytes).await?;
    if let Some(whole) = body.take_whole() {
        return Ok(reading.share.hold(whole).into());
    }
    let mut bytes = reading.share.buffer(usize::try_from(at_least_bytes).unwrap_or_default());
    while !body.is_over() {
        reading.more(&mut body, &mut bytes, alarm).await?;
    }
    if declared_bytes.is_none() {
        bytes.shrink_to_fit();
    }
    reading.share.shrink_to(bytes.len() as u64);
    Ok(match bytes.is_empty() {
        true => ReplayBody::default(),
        false => reading.share.hold(bytes).into(),
    })
}

struct Reading<'a> {
    share: Share,
    settings: &'a ClusterSettings,
    pace: Pace,
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

    /// Reads on, within the limits.
    async fn more(
        &mut self,
        body: &mut impl Source,
        bytes: &mut Vec<u8>,
        alarm: &mut Alarm,
    ) -> Result<(), OwnAnswer> {
        // Asked for only once the body has to be waited for: most of it is there already.
        let mut deadline = None;
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = body.poll_more(cx, bytes) {
                return Poll::Ready(Some(read));
            }
            let deadline = *deadline.get_or_insert_with(|| self.pace.next_by(bytes.len() as u64));
            alarm.poll(cx, deadline).map(|()| None)
        });
        let read = read.await.ok_or_else(OwnAnswer::body_timeout)?;
        read.map_err(|_| OwnAnswer::bad_request("qcc: the request's body is malformed or cut off"))?;
        let (size_bytes, limit_bytes) = (bytes.len() as u64, self.settings.max_body_bytes);
        if size_bytes > limit_bytes {
            return Err(OwnAnswer::body_too_large(limit_bytes));
        }
        if size_bytes > self.share.bytes() {
            self.make_room(size_bytes.next_multiple_of(STEP_BYTES).min(limit_bytes)).await?;
        }
        Ok(())
    }
}

/// How fast a body comes.
struct Pace {
    /// When it was first waited for.
    since: Option<Instant>,
    pause: Duration,
}

impl Pace {
    fn of(settings: &ClusterSettings) -> Self {
        Self { since: None, pause: settings.timeouts.client_header }
    }

    #[allow(clippy::disallowed_methods, reason = "the edge: a limit on waiting")]
    fn now() -> Instant {
        Instant::now()
    }

    /// The time since then was not the client's.
    fn forgive_since(&mut self, began: Instant) {
        if let Some(since) = &mut self.since {
            *since += Self::now() - began;
        }
    }

    /// When the next bytes after so many must be there, which are waited for from now on.
    fn next_by(&mut self, came_bytes: u64) -> Instant {
        let now = Self::now();
        let since = *self.since.get_or_insert(now);
        let in_all = Duration::from_millis(came_bytes.saturating_mul(1000) / BYTES_PER_SEC_MIN);
        (now + self.pause).min(since + self.pause + in_all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

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
        let read = read_body(Frames::of(body), room, &settings(lines), &mut Alarm::default()).await;
        read.map_err(|answer| {
            let answer = answer.on_path("/v1/messages");
            format!("{} {}", answer.status.as_u16(), answer.fields.text("x-qcc-error").unwrap())
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
