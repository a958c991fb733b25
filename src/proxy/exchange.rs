//! One exchange with one endpoint, up to the point at which its answer is known to be one.

use std::time::Duration;

use jiff::Timestamp;
use qcc_fsm::{Cause, CheckMethod, Verdict};
use tokio::time::sleep;
use tracing::info;

use super::beginning::{NoSuccess, begin_stream, begin_whole};
use super::held::Held;
use super::outgoing::OutgoingBody;
use super::relay::{Watch, Watched};
use super::request::Incomer;
use crate::answer::Answer;
use crate::clock::Stopwatch;
use crate::cluster::{Attempt, Endpoint};
use crate::config::{Billing, ClusterSettings, RetryAmbiguous};
use crate::exchange::{
    ByHead, Call, Cooling, Head, Judgement, Repeat, WORDS_WITHIN, apply_cooldown, failed_connect, judge_lost,
    judge_timeout,
};
use crate::upstream::{AnswerBody, ConnectError, Draft, SendError, with_causes};

/// How often a request that an endpoint did not get is sent there, in all. Where even a connection of its own
/// does not take it, the endpoint doesn't.
const SENDS_MAX: u32 = 3;
/// What this machine is short of may be there again after so long: idle connections take a moment to close.
const ROOM_WITHIN: Duration = Duration::from_millis(50);

/// What one exchange came to.
pub(super) enum Exchanged {
    /// An answer for the client.
    Answer(Answer<OutgoingBody>),
    /// The endpoint left service before anything was sent.
    NotSent,
    /// The request may go on, with the answer of the upstream that can be shown.
    Failed(Option<Box<Held>>, Repeat),
    /// The same, but it was sent and may have been billed.
    LostOnce,
    /// The request may not go on: it may have been billed.
    Lost,
    /// This machine could not open a connection. The request may go on: there may be one open elsewhere.
    Unreachable(String),
    /// Our key was refused by the one endpoint that it is for.
    Unservable,
}

/// One exchange with one endpoint.
pub(super) async fn exchange(
    mut attempt: Attempt,
    incomer: &Incomer<'_>,
    settings: &ClusterSettings,
) -> Exchanged {
    let endpoint = attempt.endpoint().clone();
    let stopwatch = Stopwatch::start();
    let response = match send(&mut attempt, incomer, settings).await {
        Sent::Answer(response) => response,
        Sent::Refused => {
            attempt.retract();
            return Exchanged::NotSent;
        }
        // Nothing is said of the endpoint; a trial is given back.
        Sent::Unreachable(text) => return Exchanged::Unreachable(text),
        Sent::NoConnection(text) => {
            settle(&mut attempt, &failed_connect(), Some(text));
            return Exchanged::Failed(None, failed_connect().repeat);
        }
        Sent::Broken(judgement, text) => {
            settle(&mut attempt, &judgement.of_call(incomer.call), Some(text));
            let may_repeat = may_repeat(incomer.call, &endpoint, settings.retry_ambiguous);
            return if may_repeat { Exchanged::LostOnce } else { Exchanged::Lost };
        }
    };
    let mut held = Held::new(response, &endpoint);
    let clock = attempt.cluster().clock;
    let by_head = match held.status().is_success() {
        true => ByHead::Success,
        false => head_of(&held, incomer.call, clock.shown_now()).judge(),
    };
    match by_head {
        ByHead::Success => {
            if let Some(cooling) = Cooling::of_success(incomer.call, held.fields(), || clock.shown_now()) {
                apply_cooldown(&endpoint, cooling, clock.now());
            }
            let model = incomer.facts.model.as_ref().filter(|_| incomer.call.names_chat_model()).cloned();
            let mut watched =
                Watched { attempt, watch: Watch::Whole, stopwatch, model, latency: None, content_by: None };
            let begun = begin(&mut watched, &mut held, incomer, settings).await;
            accepted(watched, held, begun, incomer, settings)
        }
        ByHead::Judged(judgement) => {
            Box::pin(refused_by_head(attempt, held, judgement, incomer, settings)).await
        }
        ByHead::NeedsWords(within) => {
            let error = held.read_error(within).await;
            let judgement = head_of(&held, incomer.call, clock.shown_now()).judge_words(error.as_ref());
            let line = held.error_line(error.as_ref());
            settle(&mut attempt, &judgement, Some(line));
            refused(&attempt, held, judgement, incomer, settings)
        }
    }
}

fn head_of(held: &Held, call: Call, now: Timestamp) -> Head<'_> {
    Head { call, method: CheckMethod::Chat, status: held.status(), fields: held.fields(), now }
}

enum Sent {
    Answer(Answer<AnswerBody>),
    Refused,
    Unreachable(String),
    NoConnection(String),
    Broken(Judgement, String),
}

/// Gets a connection, looks once more whether the endpoint is still in service, and sends.
async fn send(attempt: &mut Attempt, incomer: &Incomer<'_>, settings: &ClusterSettings) -> Sent {
    let endpoint = attempt.endpoint().clone();
    let gate = endpoint.admission();
    let mut connected = endpoint.origin.connection(&gate).await;
    let patience = incomer.patience(settings);
    let (mut sends, mut has_made_room) = (0, false);
    loop {
        let connection = match connected {
            Ok(connection) => connection,
            Err(ConnectError::Local(_)) if !has_made_room => {
                has_made_room = true;
                attempt.cluster().close_idle_connections();
                sleep(ROOM_WITHIN).await;
                connected = endpoint.origin.new_connection(&gate).await;
                continue;
            }
            Err(error @ ConnectError::Local(_)) => return Sent::Unreachable(error.to_string()),
            Err(error) => return Sent::NoConnection(error.to_string()),
        };
        if !attempt.confirm() {
            connection.give_back();
            return Sent::Refused;
        }
        attempt.begin();
        sends += 1;
        let draft = Draft {
            method: &incomer.head.method,
            target: incomer.target,
            fields: &incomer.head.fields,
            body: incomer.body_for(&endpoint.settings),
        };
        match connection.send(draft, attempt.stamp(), patience).await {
            Ok(response) => return Sent::Answer(response),
            Err(SendError::Silent) => {
                return Sent::Broken(judge_timeout(), format!("no answer within {patience:?}"));
            }
            Err(SendError::Refused) => return Sent::Refused,
            // A pooled connection that had died unnoticed, say: nothing was sent, so a new one is no new try.
            Err(SendError::Unsent(why)) if why.is_of_connection() && sends < SENDS_MAX => {
                connected = endpoint.origin.new_connection(&gate).await;
            }
            Err(SendError::Unsent(why)) => return Sent::NoConnection(why.to_string()),
            Err(SendError::Lost(error)) => {
                let text = format!("the connection broke before an answer: {}", with_causes(&*error));
                return Sent::Broken(judge_lost(), text);
            }
            Err(SendError::Switched) => {
                let judgement = Judgement::invalid_response(CheckMethod::Chat);
                return Sent::Broken(judgement, "101: it changed the protocol unasked".to_owned());
            }
        }
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

/// An answer whose status alone decides: the verdict is given before anything else is read, and its words
/// are only shown.
async fn refused_by_head(
    mut attempt: Attempt,
    mut held: Held,
    judgement: Judgement,
    incomer: &Incomer<'_>,
    settings: &ClusterSettings,
) -> Exchanged {
    settle(&mut attempt, &judgement, None);
    let error = held.read_error(WORDS_WITHIN).await;
    if judgement.speaks_of_endpoint() {
        attempt.endpoint().note_error(&held.error_line(error.as_ref()));
    }
    refused(&attempt, held, judgement, incomer, settings)
}

/// What becomes of a request that was answered with an error.
fn refused(
    attempt: &Attempt,
    held: Held,
    judgement: Judgement,
    incomer: &Incomer<'_>,
    settings: &ClusterSettings,
) -> Exchanged {
    let call = incomer.call;
    let is_refusal_of_key =
        matches!(judgement.verdict, Verdict::Fail(failure) if failure.cause == Cause::Auth);
    skip_model(attempt, &judgement, incomer);
    match judgement.moves_on && (call.is_at_home_anywhere() || is_refusal_of_key) {
        // The client's own credential was not refused, and a client that thinks so asks its user to log in.
        true if is_refusal_of_key && !call.is_at_home_anywhere() => Exchanged::Unservable,
        true if is_refusal_of_key => Exchanged::Failed(None, judgement.repeat),
        true => Exchanged::Failed(Some(Box::new(held)), judgement.repeat),
        false => Exchanged::Answer(held.into_answer(None, settings.timeouts.idle)),
    }
}

/// The endpoint has said that it has no such model: others are asked for it for a while.
fn skip_model(attempt: &Attempt, judgement: &Judgement, incomer: &Incomer<'_>) {
    let model = incomer.facts.model.as_deref().filter(|_| incomer.call.is_at_home_anywhere());
    let (true, Some(model)) = (judgement.lacks_model, model) else { return };
    let endpoint = attempt.endpoint();
    if endpoint.vitals.skipped_models.skip(model, attempt.cluster().clock.now()) {
        let model = endpoint.shown(model);
        let client = incomer.client.as_deref();
        info!(endpoint = endpoint.name(), model, client, "endpoint does not have the model");
    }
}

/// Reads the beginning of an answer whose status is a success.
async fn begin(
    watched: &mut Watched,
    held: &mut Held,
    incomer: &Incomer<'_>,
    settings: &ClusterSettings,
) -> Result<(), NoSuccess> {
    let has_streamed = held.is_event_stream() && incomer.call.speaks_for_health() && incomer.is_encoded();
    if incomer.wants_stream() || has_streamed {
        begin_stream(watched, held, incomer.call, settings).await
    } else {
        begin_whole(held, incomer.call, incomer.patience(settings)).await
    }
}

/// What becomes of it, as its beginning was.
fn accepted(
    mut watched: Watched,
    held: Held,
    begun: Result<(), NoSuccess>,
    incomer: &Incomer<'_>,
    settings: &ClusterSettings,
) -> Exchanged {
    match begun {
        Ok(()) => {
            if incomer.call.warms_prompt_cache() {
                watched.attempt.note_session_served();
            }
            Exchanged::Answer(held.into_answer(Some(watched), settings.timeouts.idle))
        }
        Err((judgement, text, was_lost)) => {
            settle(&mut watched.attempt, &judgement, Some(text));
            skip_model(&watched.attempt, &judgement, incomer);
            let endpoint = watched.attempt.endpoint();
            if was_lost {
                let may_repeat = may_repeat(incomer.call, endpoint, settings.retry_ambiguous);
                if may_repeat { Exchanged::LostOnce } else { Exchanged::Lost }
            } else if judgement.moves_on {
                // A success that is none is nothing to show: as the last answer it would look like one.
                Exchanged::Failed(None, judgement.repeat)
            } else {
                Exchanged::Answer(held.into_answer(None, settings.timeouts.idle))
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
