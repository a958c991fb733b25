//! From a request to its answer: one endpoint after another, each once at most, until one answers.
//!
//! The commit point: once the head of an answer goes to the client, the request is never moved. For a
//! stream that is at its first content, or after `commit_after`; for a whole answer when its beginning
//! is seen to be one.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use qcc_fsm::Tick;
use tokio::time::{Instant, sleep_until};

use super::Proxy;
use super::exchange::{Exchanged, exchange};
use super::held::Held;
use super::outgoing::OutgoingBody;
use super::request::Incomer;
use crate::answer::Answer;
use crate::cluster::{Attempt, Choice, Endpoint, RetryPermit, Wanted};
use crate::config::{ClusterSettings, Protocol};
use crate::exchange::{Call, Cooling, Repeat};

const X_QCC_ATTEMPTS: &str = "x-qcc-attempts";

/// What a request has been through.
#[derive(Default)]
pub(super) struct Journey {
    tried: Vec<Arc<Endpoint>>,
    pub attempts: u32,
    /// The last answer that could be shown to the client.
    pub last: Option<Box<Held>>,
    /// The shortest wait that a rate limit among its answers asked for.
    pub shortest_wait: Option<Duration>,
    /// Whether no other endpoint may be tried.
    is_over: bool,
    /// What another attempt would take, once there was one.
    repeat: Option<Repeat>,
    /// Why this machine could not open a connection for it.
    pub unreachable: Option<String>,
    /// Where it was lost last, having been sent.
    pub lost_at: Option<String>,
    /// Why it was not repeated, though it failed.
    pub unrepeated: Option<Unrepeated>,
}

/// Why a request that failed was not sent to another endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unrepeated {
    /// It was lost, and may have been billed.
    MayBeBilled,
    /// The cluster's budget is spent.
    BudgetSpent,
}

impl Journey {
    fn note_answer(&mut self, held: Box<Held>, now: Timestamp) {
        if held.status() == StatusCode::TOO_MANY_REQUESTS
            && let Cooling::Announced(wait) = Cooling::of_rate_limit(held.fields(), now)
        {
            self.shortest_wait = Some(self.shortest_wait.map_or(wait, |shortest| shortest.min(wait)));
        }
        self.last = Some(held);
    }

    /// Whether this endpoint had it.
    pub fn has_tried(&self, endpoint: &Endpoint) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(&tried.vitals, &endpoint.vitals))
    }
}

impl Proxy {
    /// Serves a request.
    pub(super) async fn serve(
        self: &Arc<Self>,
        incomer: &Incomer<'_>,
        settings: &ClusterSettings,
    ) -> Answer<OutgoingBody> {
        let mut wanted = incomer.wanted(settings);
        wanted.protocol = self.protocol_served(incomer);
        let mut journey = Journey::default();
        #[allow(clippy::disallowed_methods, reason = "the edge: a limit on waiting")]
        let began = Instant::now();
        let give_up_at = began + settings.queue_timeout;
        let mut now = self.cluster.clock.tick_at(began);
        self.cluster.retries.count_request(now);
        while journey.attempts < settings.max_attempts && !journey.is_over {
            let permit = match journey.repeat {
                None | Some(Repeat::Free) => None,
                Some(Repeat::Charged) => {
                    let permit = self.cluster.retries.take(now);
                    if permit.is_none() {
                        journey.unrepeated = Some(Unrepeated::BudgetSpent);
                        break;
                    }
                    permit
                }
            };
            let Some(attempt) = self.next_attempt(&wanted, &journey, now, give_up_at).await else {
                permit.into_iter().for_each(RetryPermit::give_back);
                break;
            };
            let endpoint = attempt.endpoint().clone();
            match exchange(attempt, incomer, settings).await {
                Exchanged::NotSent => {
                    permit.into_iter().for_each(RetryPermit::give_back);
                    now = self.cluster.clock.now();
                    continue;
                }
                Exchanged::Answer(answer) => return counted(answer, journey.attempts + 1),
                Exchanged::Failed(held, repeat) => {
                    if let Some(held) = held {
                        journey.note_answer(held, self.cluster.clock.shown_now());
                    }
                    journey.repeat = Some(repeat);
                }
                Exchanged::Unreachable(why) => {
                    journey.unreachable = Some(why);
                    journey.repeat = Some(Repeat::Free);
                }
                Exchanged::LostOnce => {
                    journey.lost_at = Some(endpoint.name().to_owned());
                    journey.repeat = Some(Repeat::Charged);
                }
                Exchanged::Lost => {
                    journey.lost_at = Some(endpoint.name().to_owned());
                    journey.unrepeated = Some(Unrepeated::MayBeBilled);
                    journey.is_over = true;
                }
                Exchanged::Unservable => journey.is_over = true,
            }
            journey.attempts += 1;
            journey.tried.push(endpoint);
            now = self.cluster.clock.now();
        }
        self.give_up(journey, &wanted, settings)
    }

    /// `/v1/models` and the like belong to both protocols; where no endpoint speaks the one that the
    /// headers hint at, it is the other.
    fn protocol_served(&self, incomer: &Incomer<'_>) -> Protocol {
        let hinted = incomer.protocol;
        if !matches!(incomer.call, Call::Models | Call::Other) {
            return hinted;
        }
        let is_spoken = self.cluster.roster().speaks(hinted);
        match hinted {
            _ if is_spoken => hinted,
            Protocol::Anthropic => Protocol::OpenAi,
            Protocol::OpenAi => Protocol::Anthropic,
        }
    }

    /// An endpoint to try, once there is one: the request waits for a change of state, for the end of a
    /// cooldown or for a trial to become due, not longer than `queue_timeout` in all. One that has failed
    /// somewhere already does not wait.
    async fn next_attempt(
        &self,
        wanted: &Wanted<'_>,
        journey: &Journey,
        now: Tick,
        give_up_at: Instant,
    ) -> Option<Attempt> {
        // Mostly there is one, and nobody need be told of changes.
        match self.cluster.choose(wanted, &journey.tried, now) {
            Choice::Go(attempt) => return Some(attempt),
            Choice::Nothing => return None,
            Choice::Wait { .. } => {}
        }
        loop {
            let changed = self.cluster.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let at = match self.cluster.choose(wanted, &journey.tried, self.cluster.clock.now()) {
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
                biased;
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

/// The answer, with the number of attempts that it took.
pub(super) fn counted(mut answer: Answer<OutgoingBody>, attempts: u32) -> Answer<OutgoingBody> {
    answer.fields.set(X_QCC_ATTEMPTS, itoa::Buffer::new().format(attempts));
    answer
}
