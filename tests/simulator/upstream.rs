//! An upstream's side of one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::answers::{Answer, Ask};
use crate::dial::{NONE, header};
use crate::mood::Plan;
use crate::network::{End, Side};
use crate::world;

/// Longer than a run.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

pub async fn serve(place: usize, mut side: Side, exchange: Arc<AtomicUsize>) {
    let mut unread = Vec::new();
    loop {
        let idle = world::with(|state| state.places[place].closes_idle_after).unwrap_or(FOREVER);
        let request = timeout(idle, read_request(&mut side, &mut unread)).await;
        let Ok(Some((head, body))) = request else {
            let under_way = exchange.load(Ordering::Relaxed);
            world::with_if_any(|state| {
                if under_way != NONE {
                    state.note_doomed(under_way);
                }
            });
            return side.cut(End::Fin);
        };
        let number = exchange.load(Ordering::Relaxed);
        let ask = Ask::of(&head, &body);
        let (plan, words, pace) = world::with(|state| state.accept(place, number, &ask));
        let answer = world::with(|state| {
            let answer = Answer::to(&ask, plan, number, words, state.places[place].has_model_list);
            state.note_answer(number, &ask, &answer);
            answer
        });
        let sent = send(&mut side, &answer, plan, pace, number, &exchange).await;
        if !sent {
            return;
        }
    }
}

async fn read_request(side: &mut Side, unread: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = memchr::memmem::find(unread, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).into_owned();
            let length: usize =
                header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if unread.len() >= end + 4 + length {
                let body = unread[end + 4..end + 4 + length].to_vec();
                unread.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if side.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether the connection goes on.
async fn send(
    side: &mut Side,
    answer: &Answer,
    plan: Plan,
    pace: Duration,
    number: usize,
    exchange: &AtomicUsize,
) -> bool {
    let wire = answer.on_wire();
    let total: usize = wire.iter().map(Vec::len).sum();
    let share = |thousandths: u16| (total * usize::from(thousandths) / 1000).clamp(1, total - 1);
    let (mut left, ending) = match plan {
        Plan::CutBeforeHead(end) => (0, Some(end)),
        Plan::Cut(thousandths, end) => (share(thousandths), Some(end)),
        Plan::Hang => (0, None),
        Plan::Stall(thousandths) => (share(thousandths), None),
        _ => (total, None),
    };
    let is_cut = left < total;
    for (place, piece) in wire.iter().enumerate() {
        let part = &piece[..piece.len().min(left)];
        left -= part.len();
        if place > 1 {
            sleep(pace).await;
        }
        if !is_cut && place + 1 == wire.len() {
            // Before its last byte: the program may write the next request as soon as that has come.
            exchange.store(NONE, Ordering::Relaxed);
            world::with(|state| state.note_answered(number));
        }
        if !part.is_empty() && side.write_all(part).await.is_err() {
            return false;
        }
        if left == 0 && is_cut {
            break;
        }
    }
    match (is_cut, ending) {
        (false, _) => true,
        (true, Some(end)) => {
            sleep(pace).await;
            world::with(|state| state.note_doomed(number));
            side.cut(end);
            false
        }
        // Until the other side gives up.
        (true, None) => {
            let _ = side.read(&mut [0; 64]).await;
            false
        }
    }
}
