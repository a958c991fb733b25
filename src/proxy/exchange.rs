//! One exchange with one endpoint, up to the point at which its answer is known to be one.

use std::time::Duration;

use hyper::Response;
use qcc_fsm::{Cause, CheckMethod, Verdict};
use tokio::time::timeout;

use super::beginning::{begin_stream, begin_whole};
use super::held::Held;
use super::relay::{Watch, Watched};
use super::request::Incomer;
use crate::clock::Stopwatch;
use crate::cluster::{Attempt, Endpoint};
use crate::config::{Billing, ClusterSettings, RetryAmbiguous};
use crate::exchange::{
    Call, Judgement, apply_cooldown, failed_connect, judge_lost, judge_status, judge_timeout,
};
use crate::upstream::{AnswerBody, Connection, Returned, SendError, with_causes};

/// How often a request that an endpoint did not get is sent there, in all. Where even a connection of its own
/// does not take it, the endpoint doesn't.
const SENDS_MAX: u32 = 3;

/// What one exchange came to.
pub(super) enum Exchanged {
    /// An answer for the client.
    Answer(Box<Held>, Option<Box<Watched>>),
    /// The endpoint left service before anything was sent.
    NotSent,
    /// The request may go on.
    Failed(Option<Box<Held>>),
    /// The request may not go on: it may have been billed.
    Lost,
    /// Our key was refused by the one endpoint that it is for.
    Unservable,
}

/// One exchange with one endpoint.
pub(super) async fn exchange(
    mut attempt: Attempt,
    incomer: &Incomer,
    settings: &ClusterSettings,
) -> Exchanged {
    let endpoint = attempt.endpoint().clone();
    let stopwatch = Stopwatch::start();
    let (response, connection) = match send(&mut attempt, incomer, settings).await {
        Sent::Answer(response, connection) => (response, connection),
        Sent::Refused => {
            attempt.retract();
            return Exchanged::NotSent;
        }
        Sent::NoConnection(text) => {
            settle(&mut attempt, &failed_connect(), Some(text));
            return Exchanged::Failed(None);
        }
        Sent::Broken(judgement, text) => {
            settle(&mut attempt, &judgement.of_call(incomer.call), Some(text));
            let may_repeat = may_repeat(incomer.call, &endpoint, settings.retry_ambiguous);
            return if may_repeat { Exchanged::Failed(None) } else { Exchanged::Lost };
        }
    };
    let held = Held::new(response, connection, endpoint.name());
    let shown_now = attempt.cluster().clock.shown_now();
    let judged = judge_status(incomer.call, CheckMethod::Chat, held.status(), held.headers(), shown_now);
    match judged {
        Some(judgement) => refused(attempt, held, judgement, incomer.call).await,
        None => {
            let model = incomer.facts.model.clone().filter(|_| incomer.call.names_chat_model());
            let watched =
                Watched { attempt, watch: Watch::Whole, stopwatch, model, latency: None, content_by: None };
            accepted(watched, held, incomer, settings).await
        }
    }
}

enum Sent {
    Answer(Response<AnswerBody>, Returned),
    Refused,
    NoConnection(String),
    Broken(Judgement, String),
}

/// Gets a connection, looks once more whether the endpoint is still in service, and sends.
async fn send(attempt: &mut Attempt, incomer: &Incomer, settings: &ClusterSettings) -> Sent {
    let endpoint = attempt.endpoint().clone();
    let gate = endpoint.admission();
    let mut connected = endpoint.origin.connection(&gate).await;
    let mut sends = 0;
    loop {
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => return Sent::NoConnection(error.to_string()),
        };
        if !attempt.confirm() {
            connection.give_back();
            return Sent::Refused;
        }
        attempt.begin();
        sends += 1;
        match send_on(connection, attempt, incomer, incomer.patience(settings)).await {
            Ok((response, returned)) => return Sent::Answer(response, returned),
            Err(None) => {
                let text = format!("no answer within {:?}", incomer.patience(settings));
                return Sent::Broken(judge_timeout(), text);
            }
            Err(Some(SendError::Refused)) => return Sent::Refused,
            // A pooled connection that had died unnoticed, say: nothing was sent, so a new one is no new try.
            Err(Some(SendError::Unsent(why))) if why.is_of_connection() && sends < SENDS_MAX => {
                connected = endpoint.origin.new_connection(&gate).await;
            }
            Err(Some(SendError::Unsent(why))) => return Sent::NoConnection(why.to_string()),
            Err(Some(SendError::Lost(error))) => {
                let text = format!("the connection broke before an answer: {}", with_causes(&error));
                return Sent::Broken(judge_lost(), text);
            }
        }
    }
}

async fn send_on(
    connection: Connection,
    attempt: &Attempt,
    incomer: &Incomer,
    patience: Duration,
) -> Result<(Response<AnswerBody>, Returned), Option<SendError>> {
    let Incomer { method, target, headers, body, .. } = incomer;
    let origin = &attempt.endpoint().origin;
    let request = origin.request(method.clone(), target, headers.clone(), body.clone());
    match timeout(patience, connection.send(request, attempt.stamp())).await {
        Ok(sent) => sent.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Whether an exchange that was lost before its answer may be sent to another endpoint.
fn may_repeat(call: Call, endpoint: &Endpoint, allowed: RetryAmbiguous) -> bool {
    if matches!(call, Call::CountTokens | Call::Models) {
        return true;
    }
    call.is_at_home_anywhere()
        && match allowed {
            RetryAmbiguous::Never => false,
            RetryAmbiguous::PerToken => endpoint.settings.billing == Billing::PerToken,
            RetryAmbiguous::Always => true,
        }
}

/// An answer whose status is no success. The verdict is given before anything else is read.
async fn refused(mut attempt: Attempt, mut held: Held, judgement: Judgement, call: Call) -> Exchanged {
    let is_refusal_of_key =
        matches!(judgement.verdict, Verdict::Fail(failure) if failure.cause == Cause::Auth);
    settle(&mut attempt, &judgement, None);
    let line = held.error_line().await;
    if judgement.speaks_of_endpoint() {
        attempt.endpoint().note_error(&line);
    }
    match judgement.moves_on && (call.is_at_home_anywhere() || is_refusal_of_key) {
        // The client's own credential was not refused, and a client that thinks so asks its user to log in.
        true if is_refusal_of_key && !call.is_at_home_anywhere() => Exchanged::Unservable,
        true if is_refusal_of_key => Exchanged::Failed(None),
        true => Exchanged::Failed(Some(Box::new(held))),
        false => Exchanged::Answer(Box::new(held), None),
    }
}

/// An answer whose status is a success: its beginning decides.
async fn accepted(
    mut watched: Watched,
    mut held: Held,
    incomer: &Incomer,
    settings: &ClusterSettings,
) -> Exchanged {
    let has_streamed = incomer.is_encoded() && incomer.call.speaks_for_health() && held.is_event_stream();
    let judged = if incomer.wants_stream() || has_streamed {
        begin_stream(&mut watched, &mut held, incomer.call, settings).await
    } else {
        begin_whole(&mut held, incomer.call, incomer.patience(settings)).await
    };
    match judged {
        Ok(()) => Exchanged::Answer(Box::new(held), Some(Box::new(watched))),
        Err((judgement, text, was_lost)) => {
            settle(&mut watched.attempt, &judgement, Some(text));
            let endpoint = watched.attempt.endpoint();
            if was_lost && !may_repeat(incomer.call, endpoint, settings.retry_ambiguous) {
                Exchanged::Lost
            } else if judgement.moves_on {
                // A success that is none is nothing to show: as the last answer it would look like one.
                Exchanged::Failed(None)
            } else {
                Exchanged::Answer(Box::new(held), None)
            }
        }
    }
}

/// Reports a judgement: the verdict, the cooldown, the words.
pub(super) fn settle(attempt: &mut Attempt, judgement: &Judgement, text: Option<String>) {
    let endpoint = attempt.endpoint().clone();
    // Before the verdict, which publishes them to whoever sees the state that it leads to.
    if let Some(text) = text.filter(|_| judgement.speaks_of_endpoint()) {
        endpoint.note_error(&text);
    }
    if let Some(cooling) = judgement.cooling {
        apply_cooldown(&endpoint, cooling, attempt.cluster().clock.now());
    }
    let _ = attempt.report(judgement.verdict);
}
