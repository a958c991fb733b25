//! Whether a 200 is the answer that was asked for: seen at its beginning, before the client gets any of it.

use std::pin::pin;
use std::time::Duration;

use qcc_fsm::CheckMethod;
use serde::de::IgnoredAny;
use tokio::time::timeout;

use super::held::Held;
use super::patience::by;
use super::relay::{Watch, Watched};
use crate::clock::Stopwatch;
use crate::config::ClusterSettings;
use crate::exchange::{
    Call, ErrorText, INSPECTED_BYTES_MAX, Judgement, Progress, Shape, StreamWatch, judge_error_after_content,
    judge_error_body, judge_error_event, judge_timeout, shape_of_answer,
};
use crate::upstream::BodyError;

/// The most bytes of a stream that are held back before its content begins.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Why a success is none: the judgement, its words, and whether the exchange was lost half-way.
pub(super) type NoSuccess = (Judgement, String, bool);

/// Holds a stream back until its content begins, so that it can still be moved to another endpoint.
pub(super) async fn begin_stream(
    watched: &mut Watched,
    held: &mut Held,
    call: Call,
    settings: &ClusterSettings,
) -> Result<(), NoSuccess> {
    let limit = settings.timeouts.first_byte;
    let left = limit.saturating_sub(watched.stopwatch.elapsed());
    if !held.is_event_stream() {
        let reading = read_to_shape(held, call);
        let text = match timeout(left, reading).await.map_err(|_| silent(limit))?.map_err(lost)? {
            Shape::Error(error) => {
                return Err(error_body(&error));
            }
            Shape::Answer | Shape::Foreign | Shape::Unclear | Shape::Hidden => {
                "200 without the event stream that was asked for"
            }
        };
        return Err((Judgement::invalid_response(CheckMethod::Chat), text.to_owned(), false));
    }
    if held.is_compressed() {
        // Its events can't be seen: its first bytes are its beginning, its end is its end.
        return match timeout(left, held.read_on()).await.map_err(|_| silent(limit))?.map_err(lost)? {
            Some(_) => Ok(()),
            None => Err(without_content(held, "200 with an empty stream")),
        };
    }
    let mut stream = StreamWatch::new(call);
    let reading = read_to_content(held, &mut stream);
    match timeout(settings.commit_after.min(left), reading).await {
        Ok(read) => read?,
        Err(_) if left <= settings.commit_after => return Err(silent(limit)),
        // The head goes out as it stands, and the relay goes on watching.
        Err(_) => {}
    }
    let has_content = stream.has_content();
    watched.watch = Watch::Stream(stream);
    watched.content_by = Some(watched.stopwatch.after(limit));
    if has_content {
        watched.pass();
    }
    Ok(())
}

async fn read_to_content(held: &mut Held, stream: &mut StreamWatch) -> Result<(), NoSuccess> {
    while held.prefix_bytes() < HELD_BYTES_MAX {
        let Some(bytes) = held.read_on().await.map_err(lost)? else {
            return Err(without_content(held, "200 with a stream that ended without content"));
        };
        match stream.push(&bytes) {
            Progress::Waiting => {}
            Progress::Content => return Ok(()),
            Progress::Error(error) => {
                let judgement = if stream.has_content() {
                    // Both came at once; on the way to the client they would have been cut so too.
                    held.cut_off();
                    judge_error_after_content(&error)
                } else {
                    judge_error_event(&error, CheckMethod::Chat)
                };
                return Err((judgement, format!("200 with an error event: {}", error.line()), false));
            }
        }
    }
    Ok(())
}

pub(super) async fn begin_whole(held: &mut Held, call: Call, patience: Duration) -> Result<(), NoSuccess> {
    let shape = match by(|| Stopwatch::start().after(patience), pin!(read_to_shape(held, call))).await {
        None => return Err((judge_timeout(), format!("no answer within {patience:?}"), true)),
        Some(read) => read.map_err(lost)?,
    };
    // None of the calls that any endpoint serves is answered with nothing.
    let is_empty = held.ends_by_close() && held.prefix_bytes() == 0 && call.is_at_home_anywhere();
    if held.lacks_end() || is_empty {
        let (judgement, text, was_lost) =
            without_content(held, "200 with a body that ended within the answer");
        // Where nothing came, nothing shows that it was cut.
        let judgement = if is_empty { judgement.of_call(call) } else { judgement };
        return Err((judgement, text, was_lost));
    }
    if !call.speaks_for_health() {
        return Ok(());
    }
    match shape {
        Shape::Answer | Shape::Hidden => Ok(()),
        Shape::Error(error) => Err(error_body(&error)),
        Shape::Foreign | Shape::Unclear => {
            let text = "200 with a body that is no answer".to_owned();
            Err((Judgement::invalid_response(CheckMethod::Chat), text, false))
        }
    }
}

/// Reads an answer until its shape shows: where the network cuts it says nothing of it. One that has shown
/// nothing in all that is looked at, empty lines included, counts as an answer: what it is stands further on.
async fn read_to_shape(held: &mut Held, call: Call) -> Result<Shape, BodyError> {
    let mut looks = Looks::default();
    loop {
        let is_over = held.read_on().await?.is_none();
        let is_full = held.prefix_bytes() >= INSPECTED_BYTES_MAX;
        if !(looks.are_due(held.prefix_bytes()) || is_over || is_full) {
            continue;
        }
        let beginning = held.beginning();
        let shape = shape_of_answer(call, &beginning);
        let is_seen = match shape {
            Shape::Answer => true,
            Shape::Foreign => !beginning.text().trim_ascii().is_empty(),
            Shape::Error(_) => serde_json::from_slice::<IgnoredAny>(beginning.text()).is_ok(),
            Shape::Unclear | Shape::Hidden => false,
        };
        if is_seen || is_over {
            return Ok(shape);
        }
        if is_full {
            let is_clear = matches!(shape, Shape::Error(_) | Shape::Hidden);
            return Ok(if is_clear { shape } else { Shape::Answer });
        }
    }
}

/// When to look again at what grows: each look begins at its first byte, so one for each of thousands of
/// small pieces would cost the more the smaller they are.
#[derive(Default)]
struct Looks {
    next_at_bytes: usize,
}

impl Looks {
    /// Whether there is an eighth more than at the last look.
    fn are_due(&mut self, bytes: usize) -> bool {
        let is_due = bytes >= self.next_at_bytes;
        if is_due {
            self.next_at_bytes = bytes + bytes.div_ceil(8);
        }
        is_due
    }
}

fn silent(limit: Duration) -> NoSuccess {
    (judge_timeout(), format!("no content within {limit:?}"), true)
}

/// What ended before it was an answer. Where the end of the connection is the end of the body, it may as well have
/// been cut, having been worked on.
fn without_content(held: &Held, text: &str) -> NoSuccess {
    let judgement = match held.ends_by_close() && held.prefix_bytes() > 0 {
        true => Judgement::broken_off(),
        false => Judgement::invalid_response(CheckMethod::Chat),
    };
    (judgement, text.to_owned(), held.ends_by_close())
}

fn lost(error: BodyError) -> NoSuccess {
    (Judgement::broken_off(), format!("the answer broke off before its content: {error}"), true)
}

fn error_body(error: &ErrorText) -> NoSuccess {
    let judgement = judge_error_body(error, CheckMethod::Chat);
    (judgement, format!("200 with an error: {}", error.line()), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_byte_by_byte_is_looked_at_a_few_times() {
        let mut looks = Looks::default();
        let due: Vec<usize> = (1..=INSPECTED_BYTES_MAX).filter(|&bytes| looks.are_due(bytes)).collect();
        assert_eq!(due[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(due.len() < 80, "{} looks", due.len());
    }
}
