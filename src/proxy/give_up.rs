//! What a client gets when its request can't be served.

use std::time::Duration;

use qcc_fsm::Cause;

use super::Proxy;
use super::answers::{OwnAnswer, whole_secs};
use super::attempts::{Journey, Unrepeated, counted};
use super::held::Held;
use super::outgoing::OutgoingBody;
use crate::answer::Answer;
use crate::cluster::Wanted;
use crate::config::ClusterSettings;
use crate::text::printable;

impl Proxy {
    /// The last answer of an upstream where there is one, else an answer of our own that names each
    /// endpoint's cause.
    pub(super) fn give_up(
        &self,
        journey: Journey,
        wanted: &Wanted<'_>,
        settings: &ClusterSettings,
    ) -> Answer<OutgoingBody> {
        let answer = if let Some(lost) = lost(&journey) {
            lost.in_protocol(wanted.protocol)
        } else if let Some(mut held) = journey.last {
            if held.status().as_u16() == 429 {
                let wait = match wanted.can_be_trial {
                    true => self.earliest_return(wanted),
                    // Its rate limits cool no endpoint, so they alone tell.
                    false => journey.shortest_wait,
                };
                set_retry(&mut held, wait);
            }
            held.into_answer(None, settings.timeouts.idle)
        } else {
            self.all_down(wanted, &journey).in_protocol(wanted.protocol)
        };
        counted(answer, journey.attempts)
    }

    fn earliest_return(&self, wanted: &Wanted<'_>) -> Option<Duration> {
        let at = self.cluster.earliest_return(wanted)?;
        Some(at.since(self.cluster.clock.now()).to_duration())
    }

    fn all_down(&self, wanted: &Wanted<'_>, journey: &Journey) -> OwnAnswer {
        let message = self.causes(wanted, journey);
        if let Some(why) = &journey.unreachable {
            return OwnAnswer::no_connection(format!(
                "qcc: {why}; the limit on open files may have to be raised. {message}"
            ));
        }
        match self.earliest_return(wanted) {
            Some(wait) => OwnAnswer::all_down(message, wait),
            None => OwnAnswer::all_refused(message),
        }
    }

    /// Why no endpoint takes the request, one by one.
    fn causes(&self, wanted: &Wanted<'_>, journey: &Journey) -> String {
        let now = self.cluster.clock.now();
        let roster = self.cluster.roster();
        let mut causes = Vec::new();
        for endpoint in roster.in_file_order() {
            let word = endpoint.health();
            let why = if endpoint.settings.protocol != wanted.protocol {
                continue;
            } else if !endpoint.serves(wanted.protocol, wanted.model) {
                "does not serve this model".to_owned()
            } else if let Some(model) = wanted.model
                && endpoint.vitals.skipped_models.contains(model, now)
            {
                format!("does not have model {}", printable(model))
            } else if !word.is_available() && !word.is_sidelined() {
                "is taken out of use".to_owned()
            } else if let Some(cause) = word.cause {
                let hint = match cause {
                    Cause::Auth => ", its key needs a hand",
                    Cause::Quota => ", its account needs a hand",
                    Cause::Server
                    | Cause::Timeout
                    | Cause::Network
                    | Cause::InvalidResponse
                    | Cause::Stream => "",
                };
                let text = endpoint.vitals.last_error().map(|text| format!(": {text}")).unwrap_or_default();
                format!("is down ({cause}{hint}{text})")
            } else if endpoint.vitals.cooldown.is_active(now) {
                "is rate-limited".to_owned()
            } else if journey.unrepeated == Some(Unrepeated::BudgetSpent) && !journey.has_tried(endpoint) {
                "was not tried, since too many requests are failing".to_owned()
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

/// A client that is told to wait waits for the endpoint that is back first, not for the last one that
/// refused.
fn set_retry(held: &mut Held, wait: Option<Duration>) {
    if let Some(wait) = wait {
        held.fields_mut().set("retry-after", whole_secs(wait).to_string());
        held.fields_mut().remove("retry-after-ms");
    }
}

/// Where the request was sent and lost, and is not to be sent again. An upstream's answer says more than
/// that the budget is spent.
fn lost(journey: &Journey) -> Option<OwnAnswer> {
    let unrepeated = journey.unrepeated?;
    let why = match (unrepeated, &journey.last) {
        (Unrepeated::MayBeBilled, _) => "it was not repeated elsewhere, since it may have been billed",
        (Unrepeated::BudgetSpent, None) => {
            "it may have been billed, and was not repeated elsewhere, since too many requests are failing"
        }
        (Unrepeated::BudgetSpent, Some(_)) => return None,
    };
    let endpoint = journey.lost_at.as_ref()?;
    let message = format!("qcc: the exchange with endpoint {endpoint} broke off before an answer; {why}");
    let answer = OwnAnswer::upstream_lost(message);
    Some(match unrepeated {
        Unrepeated::MayBeBilled => answer,
        // Its billing would have allowed it.
        Unrepeated::BudgetSpent => answer.for_its_client_to_repeat(),
    })
}
