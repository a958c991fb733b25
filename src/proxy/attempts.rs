//! From a request to its answer: one endpoint after another, each once at most, until one answers.
//!
//! The commit point: once the head of an answer goes to the client, the request is never moved. For a
//! stream that is at its first content, or after `commit_after`; for a whole answer when its beginning
//! is seen to be one.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::http::header::{HeaderValue, RETRY_AFTER};
use qcc_fsm::{Cause, CheckMethod, Verdict};
use tokio::time::{Instant, sleep_until, timeout};

use super::Proxy;
use super::answers::{OwnAnswer, whole_secs};
use super::held::Held;
use super::outgoing::OutgoingBody;
use super::relay::{Relay, Watch, Watched};
use super::request::Incomer;
use crate::clock::Stopwatch;
use crate::cluster::{Attempt, Choice, Endpoint, Wanted};
use crate::config::{Billing, ClusterSettings, Protocol, RetryAmbiguous};
use crate::exchange::{
    Call, ErrorText, Judgement, Progress, Shape, StreamWatch, apply_cooldown, failed_connect,
    judge_error_event, judge_lost, judge_status, judge_timeout, shape_of_answer,
};
use crate::upstream::{Connection, Returned, SendError};

/// The most bytes of a stream that are held back before its content begins.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// What a request has been through.
#[derive(Default)]
struct Journey {
    tried: Vec<Arc<Endpoint>>,
    attempts: u32,
    /// The last answer that could be shown to the client.
    last: Option<Held>,
    /// Where it was lost, when it may not be repeated.
    lost: Option<String>,
}

/// What one exchange came to.
enum Exchanged {
    /// An answer for the client.
    Answer(Box<Held>, Option<Watched>),
    /// The endpoint left service before anything was sent.
    NotSent,
    /// The request may go on.
    Failed(Option<Box<Held>>),
    /// The request may not go on: it may have been billed.
    Lost,
}

impl Proxy {
    /// Serves a request.
    pub(super) async fn serve(
        self: &Arc<Self>,
        incomer: Incomer,
        settings: &ClusterSettings,
    ) -> Response<OutgoingBody> {
        let mut wanted = incomer.wanted(settings);
        wanted.protocol = self.protocol_served(&incomer);
        let mut journey = Journey::default();
        #[allow(clippy::disallowed_methods, reason = "the edge: a limit on waiting")]
        let give_up_at = Instant::now() + settings.queue_timeout;
        while journey.attempts < settings.max_attempts {
            let Some(attempt) = self.next_attempt(&wanted, &journey, give_up_at).await else { break };
            let endpoint = attempt.endpoint().clone();
            match exchange(attempt, &incomer, settings).await {
                Exchanged::NotSent => continue,
                Exchanged::Answer(held, watched) => {
                    return answer(*held, watched, journey.attempts + 1, settings);
                }
                Exchanged::Failed(held) => journey.last = held.map(|held| *held).or(journey.last),
                Exchanged::Lost => journey.lost = Some(endpoint.name().to_owned()),
            }
            journey.attempts += 1;
            journey.tried.push(endpoint);
            if journey.lost.is_some() {
                break;
            }
        }
        self.give_up(journey, &wanted, settings)
    }

    /// `/v1/models` and the like belong to both protocols; where no endpoint speaks the one that the
    /// headers hint at, it is the other.
    fn protocol_served(&self, incomer: &Incomer) -> Protocol {
        let hinted = incomer.protocol;
        let is_shared = matches!(incomer.call, Call::Models | Call::Other);
        let roster = self.cluster.roster();
        let is_spoken = roster.endpoints().iter().any(|endpoint| endpoint.settings.protocol == hinted);
        match hinted {
            _ if is_spoken || !is_shared => hinted,
            Protocol::Anthropic => Protocol::OpenAi,
            Protocol::OpenAi => Protocol::Anthropic,
        }
    }

    /// An endpoint to try, once there is one: the request waits for a change of state, for the end of a
    /// cooldown or for a trial to become due, not longer than `queue_timeout` in all. One that has failed
    /// somewhere already does not wait.
    async fn next_attempt(&self, wanted: &Wanted, journey: &Journey, give_up_at: Instant) -> Option<Attempt> {
        loop {
            let changed = self.cluster.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let at = match self.cluster.choose(wanted, &journey.tried) {
                Choice::Go(attempt) => return Some(attempt),
                Choice::Nothing => return None,
                Choice::Wait { at } => at.map(|tick| self.cluster.clock.instant(tick)),
            };
            #[allow(clippy::disallowed_methods, reason = "the edge: a limit on waiting")]
            let now = Instant::now();
            if now >= give_up_at || journey.attempts > 0 {
                return None;
            }
            // The moment may have come already, and somebody else have used it: no spinning then.
            let soonest = now + Duration::from_millis(100);
            let until = at.map_or(give_up_at, |at| at.max(soonest).min(give_up_at));
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn give_up(
        &self,
        journey: Journey,
        wanted: &Wanted,
        settings: &ClusterSettings,
    ) -> Response<OutgoingBody> {
        let mut response = if let Some(endpoint) = journey.lost {
            OwnAnswer::upstream_lost(format!(
                "qcc: the exchange with endpoint {endpoint} broke off before an answer; it was not repeated \
                 elsewhere, since it may have been billed"
            ))
            .in_protocol(wanted.protocol)
        } else if let Some(mut held) = journey.last {
            if held.status().as_u16() == 429 {
                self.set_earliest_retry(&mut held, wanted);
            }
            return answer(held, None, journey.attempts, settings);
        } else {
            self.all_down(wanted).in_protocol(wanted.protocol)
        };
        response.headers_mut().insert("x-qcc-attempts", HeaderValue::from(journey.attempts));
        response
    }

    /// A client that is told to wait waits for the endpoint that is back first, not for the last one
    /// that refused.
    fn set_earliest_retry(&self, held: &mut Held, wanted: &Wanted) {
        if let Some(wait) = self.earliest_return(wanted) {
            held.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_secs(wait)));
            held.headers_mut().remove("retry-after-ms");
        }
    }

    fn earliest_return(&self, wanted: &Wanted) -> Option<Duration> {
        let at = self.cluster.earliest_return(wanted)?;
        Some(at.since(self.cluster.clock.now()).to_duration())
    }

    fn all_down(&self, wanted: &Wanted) -> OwnAnswer {
        let message = self.causes(wanted);
        match self.earliest_return(wanted) {
            Some(wait) => OwnAnswer::all_down(message, wait),
            None => OwnAnswer::all_refused(message),
        }
    }

    /// Why no endpoint takes the request, one by one.
    fn causes(&self, wanted: &Wanted) -> String {
        let now = self.cluster.clock.now();
        let roster = self.cluster.roster();
        let mut causes = Vec::new();
        for endpoint in roster.in_file_order() {
            let word = endpoint.health();
            let why = if endpoint.settings.protocol != wanted.protocol {
                continue;
            } else if !endpoint.serves(wanted.protocol, wanted.model.as_deref()) {
                "does not serve this model".to_owned()
            } else if !word.is_available() && !word.is_sidelined() {
                "is taken out of use".to_owned()
            } else if let Some(cause) = word.cause {
                let hint = match cause {
                    Cause::Auth => ", its key needs a hand",
                    Cause::Quota => ", its account needs a hand",
                    _ => "",
                };
                let text = endpoint.vitals.last_error().map(|text| format!(": {text}")).unwrap_or_default();
                format!("is down ({cause}{hint}{text})")
            } else if endpoint.vitals.cooldown.is_active(now) {
                "is rate-limited".to_owned()
            } else {
                "was tried".to_owned()
            };
            causes.push(format!("{} {why}", endpoint.name()));
        }
        let causes =
            if causes.is_empty() { "none speaks this protocol".to_owned() } else { causes.join("; ") };
        format!("qcc: no endpoint of cluster {} can take the request: {causes}", self.cluster.name)
    }
}

/// One exchange with one endpoint.
async fn exchange(mut attempt: Attempt, incomer: &Incomer, settings: &ClusterSettings) -> Exchanged {
    let endpoint = attempt.endpoint().clone();
    let stopwatch = Stopwatch::start();
    let (response, connection) = match send(&mut attempt, incomer, settings).await {
        Sent::Answer(response, connection) => (response, connection),
        Sent::NotSent => {
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
            let model = incomer.facts.model.clone();
            let watched =
                Watched { attempt, watch: Watch::Whole, stopwatch, model, latency: None, content_by: None };
            accepted(watched, held, incomer, settings).await
        }
    }
}

enum Sent {
    Answer(Response<hyper::body::Incoming>, Returned),
    NotSent,
    NoConnection(String),
    Broken(Judgement, String),
}

/// Gets a connection, looks once more whether the endpoint is still in service, and sends.
async fn send(attempt: &mut Attempt, incomer: &Incomer, settings: &ClusterSettings) -> Sent {
    let endpoint = attempt.endpoint().clone();
    let gate = endpoint.admission();
    let mut connected = endpoint.origin.connection(&gate).await;
    loop {
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => return Sent::NoConnection(error.to_string()),
        };
        if !attempt.confirm() {
            connection.give_back();
            return Sent::NotSent;
        }
        attempt.begin();
        let is_reused = connection.is_reused();
        match send_on(connection, attempt, incomer, incomer.patience(settings)).await {
            Ok((response, returned)) => return Sent::Answer(response, returned),
            Err(None) => {
                let text = format!("no answer within {:?}", incomer.patience(settings));
                return Sent::Broken(judge_timeout(), text);
            }
            Err(Some(SendError::Refused)) => return Sent::NotSent,
            // A pooled connection that had died unnoticed: nothing was sent, so a new one is no new try.
            Err(Some(SendError::Unsent(_))) if is_reused => {
                connected = endpoint.origin.new_connection(&gate).await;
            }
            Err(Some(SendError::Unsent(error))) => return Sent::NoConnection(error.to_string()),
            Err(Some(SendError::Lost(error))) => {
                return Sent::Broken(judge_lost(), format!("the connection broke before an answer: {error}"));
            }
        }
    }
}

async fn send_on(
    connection: Connection,
    attempt: &Attempt,
    incomer: &Incomer,
    patience: Duration,
) -> Result<(Response<hyper::body::Incoming>, Returned), Option<SendError>> {
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
        attempt.endpoint().vitals.note_error(line);
    }
    match judgement.moves_on && (call.is_at_home_anywhere() || is_refusal_of_key) {
        // The client's own credential was not refused, and a client that thinks so asks its user to log in.
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
    let judged = if incomer.wants_stream() {
        begin_stream(&mut watched, &mut held, incomer.call, settings).await
    } else {
        begin_whole(&mut held, incomer.call, incomer.patience(settings)).await
    };
    match judged {
        Ok(()) => Exchanged::Answer(Box::new(held), Some(watched)),
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

/// Why a success is none: the judgement, its words, and whether the exchange was lost half-way.
type NoSuccess = (Judgement, String, bool);

/// Holds a stream back until its content begins, so that it can still be moved to another endpoint.
async fn begin_stream(
    watched: &mut Watched,
    held: &mut Held,
    call: Call,
    settings: &ClusterSettings,
) -> Result<(), NoSuccess> {
    if !held.is_event_stream() {
        held.read_beginning().await.map_err(lost)?;
        let text = match shape_of_answer(call, &held.beginning(), held.is_compressed()) {
            Shape::Error(error) => {
                return Err((error_judged(&error), format!("200 with an error: {}", error.line()), false));
            }
            Shape::Answer | Shape::Foreign => "200 without the event stream that was asked for",
        };
        return Err((Judgement::invalid_response(CheckMethod::Chat), text.to_owned(), false));
    }
    if held.is_compressed() {
        // Its events can't be seen: its first bytes are its beginning, its end is its end.
        return match held.read_on().await.map_err(lost)? {
            Some(_) => Ok(()),
            None => Err((
                Judgement::invalid_response(CheckMethod::Chat),
                "200 with an empty stream".into(),
                false,
            )),
        };
    }
    let mut stream = StreamWatch::new(call);
    let reading = read_to_content(held, &mut stream);
    let left = settings.timeouts.first_byte.saturating_sub(watched.stopwatch.elapsed());
    match timeout(settings.commit_after.min(left), reading).await {
        Ok(read) => read?,
        Err(_) if left <= settings.commit_after => {
            return Err((
                judge_timeout(),
                format!("no content within {:?}", settings.timeouts.first_byte),
                true,
            ));
        }
        // The head goes out as it stands, and the relay goes on watching.
        Err(_) => {}
    }
    let has_content = stream.has_content();
    watched.watch = Watch::Stream(stream);
    watched.content_by = Some(watched.stopwatch.after(settings.timeouts.first_byte));
    if has_content {
        watched.pass();
    }
    Ok(())
}

async fn read_to_content(held: &mut Held, stream: &mut StreamWatch) -> Result<(), NoSuccess> {
    while held.prefix_bytes() < HELD_BYTES_MAX {
        let Some(bytes) = held.read_on().await.map_err(lost)? else {
            let text = "200 with a stream that ended without content";
            return Err((Judgement::invalid_response(CheckMethod::Chat), text.into(), false));
        };
        match stream.push(&bytes) {
            Progress::Waiting => {}
            Progress::Content => return Ok(()),
            Progress::Error(error) => {
                return Err((
                    error_judged(&error),
                    format!("200 with an error event: {}", error.line()),
                    false,
                ));
            }
        }
    }
    Ok(())
}

async fn begin_whole(held: &mut Held, call: Call, patience: Duration) -> Result<(), NoSuccess> {
    match timeout(patience, held.read_beginning()).await {
        Err(_) => return Err((judge_timeout(), format!("no answer within {patience:?}"), true)),
        Ok(read) => read.map_err(lost)?,
    }
    if !call.speaks_for_health() {
        return Ok(());
    }
    match shape_of_answer(call, &held.beginning(), held.is_compressed()) {
        Shape::Answer => Ok(()),
        Shape::Error(error) => {
            Err((error_judged(&error), format!("200 with an error: {}", error.line()), false))
        }
        Shape::Foreign => {
            let text = "200 with a body that is no answer".to_owned();
            Err((Judgement::invalid_response(CheckMethod::Chat), text, false))
        }
    }
}

fn lost(error: hyper::Error) -> NoSuccess {
    (Judgement::broken_off(), format!("the answer broke off before its content: {error}"), true)
}

fn error_judged(error: &ErrorText) -> Judgement {
    judge_error_event(error, CheckMethod::Chat)
}

/// Reports a judgement: the verdict, the cooldown, the words.
pub(super) fn settle(attempt: &mut Attempt, judgement: &Judgement, text: Option<String>) {
    let endpoint = attempt.endpoint().clone();
    // Before the verdict, which publishes them to whoever sees the state that it leads to.
    if let Some(text) = text.filter(|_| judgement.speaks_of_endpoint()) {
        endpoint.vitals.note_error(text);
    }
    if let Some(cooling) = judgement.cooling {
        apply_cooldown(&endpoint, cooling, attempt.cluster().clock.now());
    }
    let _ = attempt.report(judgement.verdict);
}

/// The answer for the client: the head without what concerns only the upstream's connection, the body
/// as it comes.
fn answer(
    mut held: Held,
    watched: Option<Watched>,
    attempts: u32,
    settings: &ClusterSettings,
) -> Response<OutgoingBody> {
    let head = held.head_for_client(attempts);
    let relay = Relay::new(held, watched, settings.timeouts.idle);
    head.map(|()| OutgoingBody::Relay(Box::new(relay)))
}
