//! A request as it came in, held so that it can be sent again.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::http::uri::PathAndQuery;
use qcc_fsm::Ticks;

use super::answers::OwnAnswer;
use super::head::RequestHead;
use crate::cluster::{Session, SessionKey, Wanted};
use crate::config::{ClusterSettings, EndpointSettings, Protocol};
use crate::exchange::{Call, RequestFacts, with_model};
use crate::upstream::ReplayBody;

/// How long an answer may take that no model works on: a count of tokens, a list of models. Clients wait
/// for it before they do anything else (Claude Code 3 s for the list), so a stuck endpoint is left early.
const LIGHT_ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A client's request, read to its end.
pub struct Incomer<'h> {
    /// The name of the token that it came with.
    pub client: Option<Arc<str>>,
    /// Its method and its headers.
    pub head: &'h RequestHead,
    /// Its path and query, byte for byte.
    pub target: &'h PathAndQuery,
    /// Its body.
    pub body: ReplayBody,
    /// What it calls.
    pub call: Call,
    /// What its body says.
    pub facts: RequestFacts,
    /// The session that it is of, if it shows one.
    pub session: Option<SessionKey>,
    /// The protocol of its path.
    pub protocol: Protocol,
}

impl<'h> Incomer<'h> {
    /// A request with its body.
    ///
    /// # Errors
    /// The answer to one whose path is not under `/v1/`.
    pub fn new(head: &'h RequestHead, body: ReplayBody, client: Option<Arc<str>>) -> Result<Self, OwnAnswer> {
        let target = head.uri.path_and_query().ok_or_else(OwnAnswer::not_found)?;
        let call = Call::of_path(target.path()).ok_or_else(OwnAnswer::not_found)?;
        let protocol = call.protocol(target.path(), &head.fields);
        // Only a POST makes the endpoint work: what another method gets there says nothing of its health.
        let is_work = head.method == Method::POST || !call.speaks_for_health();
        let whole = body.contiguous();
        let (facts, clues) = RequestFacts::with_clues(&whole);
        Ok(Self {
            client,
            facts,
            session: clues.session(&head.fields),
            protocol,
            head,
            target,
            body,
            call: if is_work { call } else { Call::Other },
        })
    }

    /// Whether an event stream is asked for.
    pub fn wants_stream(&self) -> bool {
        let streams =
            matches!(self.call, Call::Messages | Call::ChatCompletions | Call::Completions | Call::Responses);
        streams && self.facts.stream
    }

    /// Whether its body is encoded, so that it does not show what is asked for.
    pub fn is_encoded(&self) -> bool {
        self.head.fields.has("content-encoding")
    }

    /// How long the head of its answer may take.
    pub fn patience(&self, settings: &ClusterSettings) -> Duration {
        let limits = &settings.timeouts;
        match self.call {
            Call::CountTokens | Call::Models => limits.answer.min(LIGHT_ANSWER_WITHIN),
            Call::Messages | Call::ChatCompletions | Call::Completions | Call::Responses
                if self.wants_stream() =>
            {
                limits.first_byte
            }
            Call::Messages
            | Call::ChatCompletions
            | Call::Completions
            | Call::Responses
            | Call::Embeddings
            | Call::Other => limits.answer,
        }
    }

    /// Its body for this endpoint, which may know the model by a name of its own.
    pub fn body_for(&self, endpoint: &EndpointSettings) -> ReplayBody {
        match self.facts.model.as_deref().and_then(|model| endpoint.model_map.name_of(model)) {
            Some(name) => with_model(&self.body, name),
            None => self.body.clone(),
        }
    }

    /// What it needs of an endpoint.
    pub fn wanted(&self, settings: &ClusterSettings) -> Wanted<'_> {
        Wanted {
            protocol: self.protocol,
            model: self.facts.model.as_deref(),
            can_be_trial: self.call.speaks_for_health(),
            session: self.session.map(|key| Session { key, ttl: Ticks::from_duration(settings.session_ttl) }),
            patience: self.patience(settings),
        }
    }
}
