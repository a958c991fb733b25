//! An upstream of HTTP/1.1 that reads and says what it is told to, piece by piece.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::super::connect::{Pending, Stream, Transport};
use super::super::http1::Http1;
use super::*;

/// What an upstream says once so many bytes of requests have come.
struct Piece {
    after_bytes: usize,
    said: Vec<u8>,
}

/// How the last piece is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Silence,
    Fin,
}

struct Upstream {
    pieces: VecDeque<Piece>,
    end: End,
    /// What came of requests.
    taken: Vec<u8>,
    /// How much it takes at once. Before and after that it makes its peer wait.
    at_once_bytes: usize,
    makes_reads_wait: bool,
    makes_writes_wait: bool,
    /// Whom the requests are for, and whether it was in service as the first byte came.
    service: Arc<Service>,
    begun_in_service: Option<bool>,
}

impl Upstream {
    fn saying(pieces: impl IntoIterator<Item = Piece>, end: End, at_once_bytes: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            pieces: pieces.into_iter().collect(),
            end,
            taken: Vec::new(),
            at_once_bytes,
            makes_reads_wait: true,
            makes_writes_wait: true,
            service: Service::running(),
            begun_in_service: None,
        }))
    }

    fn next(&mut self) -> Option<&mut Vec<u8>> {
        let come = self.taken.len();
        let next = self.pieces.front_mut().filter(|piece| piece.after_bytes <= come)?;
        Some(&mut next.said)
    }

    fn is_over(&self) -> bool {
        self.pieces.is_empty() && self.end == End::Fin
    }
}

struct Wire(Arc<Mutex<Upstream>>);

impl Wire {
    fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.0.lock().unwrap()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut upstream = self.upstream();
        if upstream.is_over() {
            return Poll::Ready(Ok(()));
        }
        // Whoever waits is asked again, so that all that is registered is what was asked for last.
        cx.waker().wake_by_ref();
        upstream.makes_reads_wait = !upstream.makes_reads_wait;
        let waits = upstream.makes_reads_wait;
        let Some(said) = upstream.next().filter(|_| !waits) else { return Poll::Pending };
        let length = said.len().min(buf.remaining());
        buf.put_slice(&said[..length]);
        said.drain(..length);
        if said.is_empty() {
            upstream.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let turn = std::task::ready!(coop::poll_proceed(cx));
        let mut upstream = self.upstream();
        upstream.makes_writes_wait = !upstream.makes_writes_wait;
        if upstream.makes_writes_wait {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        turn.made_progress();
        let length = buf.len().min(upstream.at_once_bytes);
        let is_in_service = upstream.service.is_current(stamp());
        upstream.begun_in_service.get_or_insert(is_in_service);
        upstream.taken.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Wire {
    fn pending(&self) -> Pending {
        let mut upstream = self.upstream();
        match (upstream.is_over(), upstream.next()) {
            (true, _) => Pending::End,
            (false, Some(_)) => Pending::Bytes,
            (false, None) => Pending::Nothing,
        }
    }
}

fn connected(origin: &Origin, upstream: &Arc<Mutex<Upstream>>) -> Connection {
    let stream = Stream::Plain(Socket::Other(Box::new(Wire(upstream.clone()))));
    let gate: Arc<dyn Admission> = upstream.lock().unwrap().service.clone();
    Connection::http1(Http1::new(stream, gate, None), History::New, &origin.connections.pool)
}

fn nowhere() -> Origin {
    origin(([127, 0, 0, 1], 1).into())
}

#[tokio::test]
async fn a_request_whose_first_byte_must_wait_is_not_written_once_the_endpoint_has_left() {
    for is_out_of_turns in [false, true] {
        let (origin, upstream) = (nowhere(), Upstream::saying([], End::Silence, 1000));
        // Where its task is out of turns it is that which has the write wait, else the peer.
        upstream.lock().unwrap().makes_writes_wait = is_out_of_turns;
        let mut sending = pin!(connected(&origin, &upstream).send(question(), stamp(), PATIENCE));
        poll_fn(|cx| {
            while is_out_of_turns && coop::has_budget_remaining() {
                if let Poll::Ready(turn) = coop::poll_proceed(cx) {
                    turn.made_progress();
                }
            }
            assert!(sending.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let service = upstream.lock().unwrap().service.clone();
        service.leave();
        let sent = tokio::time::timeout(std::time::Duration::from_millis(50), sending).await;
        let upstream = upstream.lock().unwrap();
        let is_refused = matches!(sent, Ok(Err(SendError::Refused)));
        let expected = if is_out_of_turns { (false, Some(true)) } else { (true, None) };
        assert_eq!((is_refused, upstream.begun_in_service), expected, "{is_out_of_turns}");
    }
}

/// An answer, and what is to be made of it.
#[derive(Clone, Debug)]
struct Answer {
    informational: usize,
    framing: Framing,
    pieces: Vec<Vec<u8>>,
    /// Whether it comes before the request has.
    is_early: bool,
    surplus: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
    NoContent,
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(self.informational);
        let whole = self.pieces.concat();
        let (line, body) = match self.framing {
            Framing::Length => (format!("content-length: {}\r\n", whole.len()), whole),
            Framing::Chunked => {
                let chunk = |piece: &Vec<u8>| {
                    let size = format!("{:X};a=b\r\n", piece.len()).into_bytes();
                    [&size, piece, &b"\r\n"[..]].concat()
                };
                let mut body = self.pieces.iter().flat_map(chunk).collect::<Vec<u8>>();
                body.extend(b"0\r\nx-trailer: y\r\n\r\n");
                ("transfer-encoding: chunked\r\n".to_owned(), body)
            }
            Framing::UntilClose => (String::new(), whole),
            Framing::NoContent => ("content-length: 5\r\n".to_owned(), Vec::new()),
        };
        bytes.extend(format!("HTTP/1.1 {} X\r\n{line}x-a: b\r\n\r\n", self.status()).into_bytes());
        bytes.extend(body);
        if self.framing != Framing::UntilClose {
            bytes.extend(&self.surplus);
        }
        bytes
    }

    fn status(&self) -> u16 {
        if self.framing == Framing::NoContent { 204 } else { 200 }
    }

    fn body(&self) -> Vec<u8> {
        if self.framing == Framing::NoContent { Vec::new() } else { self.pieces.concat() }
    }

    /// Whether the connection is kept. After an early answer it may be, and where what comes unasked is not read yet.
    fn leaves_connection(&self) -> Option<bool> {
        match self.framing {
            Framing::UntilClose => Some(false),
            _ if self.is_early || !self.surplus.is_empty() => None,
            Framing::Length | Framing::Chunked | Framing::NoContent => Some(true),
        }
    }
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..60);
    let framing = prop_oneof![
        4 => Just(Framing::Length), 4 => Just(Framing::Chunked), 1 => Just(Framing::UntilClose), 1 => Just(Framing::NoContent)
    ];
    let surplus = prop_oneof![4 => Just(Vec::new()), 1 => bytes()];
    let answer = (0..3usize, framing, proptest::collection::vec(bytes(), 0..5), any::<bool>(), surplus)
        .prop_map(|(informational, framing, pieces, is_early, surplus)| Answer {
            informational,
            framing,
            pieces,
            is_early,
            surplus,
        });
    proptest::collection::vec(answer, 1..4)
}

/// The length of a request to `origin`.
fn request_bytes(origin: &Origin) -> usize {
    origin.connections.pool.head.bytes(&question(), 0).as_ref().len() + b"question".len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn whatever_an_upstream_says_in_whatever_pieces_each_request_gets_its_own_answer(
        answers in answers(),
        piece_bytes in 1..200usize,
        at_once_bytes in 1..400usize,
    ) {
        let origin = nowhere();
        let request = request_bytes(&origin);
        let pieces = answers.iter().enumerate().flat_map(|(number, answer)| {
            let after_bytes = if answer.is_early { number * request + 1 } else { (number + 1) * request };
            let bytes = answer.bytes();
            let cut = move |said: &[u8]| Piece { after_bytes, said: said.to_vec() };
            bytes.chunks(piece_bytes).map(cut).collect::<Vec<_>>()
        });
        let ends = answers.last().is_some_and(|answer| answer.framing == Framing::UntilClose);
        let upstream = Upstream::saying(pieces, if ends { End::Fin } else { End::Silence }, at_once_bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut connection, mut had_surplus) = (connected(&origin, &upstream), false);
            for answer in &answers {
                let is_last = std::ptr::eq(answer, answers.last().unwrap());
                if answer.framing == Framing::UntilClose && !is_last {
                    return;
                }
                let sending = connection.send(question(), stamp(), PATIENCE);
                let sent = tokio::time::timeout(std::time::Duration::from_secs(1), sending).await.unwrap();
                let response = match sent {
                    // What came unasked was found at the last look.
                    Err(SendError::Unsent(Unsent::Stale)) if had_surplus => return,
                    sent => sent.unwrap(),
                };
                had_surplus = !answer.surplus.is_empty();
                assert_eq!((response.status.as_u16(), response.fields.text("x-a")), (answer.status(), Some("b")));
                let body = response.body.collect().await.unwrap().to_bytes();
                assert_eq!(body, answer.body(), "{answer:?}");
                let kept = origin.connections.pool.take();
                if let Some(leaves) = answer.leaves_connection() {
                    assert_eq!(kept.is_some(), leaves, "{answer:?}");
                }
                let Some(kept) = kept else { return };
                connection = kept;
            }
        });
        let upstream = upstream.lock().unwrap();
        prop_assert!(upstream.taken.len() <= answers.len() * request);
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_while_its_request_is_written_is_lost_or_broken_off_and_never_whole() {
    let origin = nowhere();
    for framing in [Framing::Length, Framing::Chunked] {
        let pieces = vec![b"some".to_vec(), b"thing".to_vec()];
        let answer = Answer { informational: 1, framing, pieces, is_early: true, surplus: Vec::new() };
        let bytes = answer.bytes();
        let head_bytes = memchr::memmem::rfind(&bytes, b"x-a: b\r\n\r\n").unwrap() + b"x-a: b\r\n\r\n".len();
        for cut in 0..=bytes.len() {
            let said = (cut > 0).then(|| Piece { after_bytes: 1, said: bytes[..cut].to_vec() });
            let upstream = Upstream::saying(said, End::Fin, 3);
            // It closes before anything is written where it says nothing.
            let sent = connected(&origin, &upstream).send(question(), stamp(), PATIENCE).await;
            match sent {
                Err(SendError::Unsent(Unsent::Closed)) => assert_eq!(cut, 0),
                Err(SendError::Lost(_)) => assert!((1..head_bytes).contains(&cut), "{framing:?} {cut}"),
                Ok(response) => {
                    let body = response.body.collect().await.map(|body| body.to_bytes());
                    assert_eq!(
                        (cut >= head_bytes, body.is_ok()),
                        (true, cut == bytes.len()),
                        "{framing:?} {cut}"
                    );
                    assert!(body.is_err() || body.is_ok_and(|body| body == answer.body()));
                }
                Err(error) => panic!("{framing:?} {cut} {error:?}"),
            }
            assert!(
                origin.connections.pool.take().is_none(),
                "half a request may be on it: {framing:?} {cut}"
            );
        }
    }
}
