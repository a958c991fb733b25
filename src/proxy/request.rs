//! A request as it came in, held so that it can be sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::http::header::{CONTENT_ENCODING, HeaderMap};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request};
use qcc_fsm::Ticks;
use tokio::time::timeout;

use super::answers::OwnAnswer;
use crate::cluster::{Session, SessionKey, Wanted};
use crate::config::{ClusterSettings, EndpointSettings, Protocol};
use crate::exchange::{Call, RequestFacts, with_model};
use crate::upstream::ReplayBody;

/// How long an answer may take that no model works on: a count of tokens, a list of models. Clients wait
/// for it before they do anything else (Claude Code 3 s for the list), so a stuck endpoint is left early.
const LIGHT_ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A client's request, read to its end.
pub struct Incomer {
    /// The name of the token that it came with.
    pub client: Option<Arc<str>>,
    /// Its method.
    pub method: Method,
    /// Its path and query, byte for byte.
    pub target: PathAndQuery,
    /// Its headers.
    pub headers: HeaderMap,
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

impl Incomer {
    /// Reads a request whose path is under `/v1/`.
    ///
    /// # Errors
    /// The answer to a body that is too large, stops coming, or is malformed.
    pub async fn read(
        request: Request<Incoming>,
        client: Option<Arc<str>>,
        settings: &ClusterSettings,
    ) -> Result<Self, OwnAnswer> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let call = Call::of_path(target.path()).ok_or_else(OwnAnswer::not_found)?;
        let body = collect(body, settings.max_body_bytes, settings.timeouts.client_header).await?;
        let protocol = call.protocol(target.path(), &parts.headers);
        // Only a POST makes the endpoint work: what another method gets there says nothing of its health.
        let is_work = parts.method == Method::POST || !call.speaks_for_health();
        let whole = body.contiguous();
        let (facts, clues) = RequestFacts::with_clues(&whole);
        Ok(Self {
            client,
            facts,
            session: clues.session(&parts.headers),
            protocol,
            method: parts.method,
            headers: parts.headers,
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
        self.headers.contains_key(CONTENT_ENCODING)
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
    pub fn wanted(&self, settings: &ClusterSettings) -> Wanted {
        Wanted {
            protocol: self.protocol,
            model: self.facts.model.clone(),
            can_be_trial: self.call.speaks_for_health(),
            session: self.session.map(|key| Session { key, ttl: Ticks::from_duration(settings.session_ttl) }),
            patience: self.patience(settings),
        }
    }
}

async fn collect(mut body: Incoming, limit_bytes: u64, idle: Duration) -> Result<ReplayBody, OwnAnswer> {
    if body.size_hint().lower() > limit_bytes {
        return Err(OwnAnswer::body_too_large(limit_bytes));
    }
    let mut pieces = Pieces::default();
    let mut size_bytes = 0u64;
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(OwnAnswer::body_timeout()),
            Ok(None) => return Ok(pieces.into_body()),
            Ok(Some(Err(_))) => {
                return Err(OwnAnswer::bad_request("qcc: the request's body is malformed or cut off"));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are dropped: no upstream of these protocols reads any.
        if let Ok(data) = frame.into_data() {
            size_bytes += data.len() as u64;
            if size_bytes > limit_bytes {
                return Err(OwnAnswer::body_too_large(limit_bytes));
            }
            pieces.push(data);
        }
    }
}

/// A body as it came, in pieces. What comes in very many small ones is put together: kept apart, pieces of
/// one byte would take thirty times the memory that `max_body` allows.
#[derive(Default)]
struct Pieces {
    whole: Vec<Bytes>,
    small: BytesMut,
}

/// So many pieces are kept as they came, whatever their size: more than a usual body has.
const PIECES_KEPT: usize = 64;
/// A piece of less is small.
const SMALL_BYTES: usize = 4 * 1024;

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if self.whole.len() >= PIECES_KEPT && piece.len() < SMALL_BYTES {
            self.small.extend_from_slice(&piece);
            if self.small.len() >= SMALL_BYTES {
                self.whole.push(self.small.split().freeze());
            }
            return;
        }
        if !self.small.is_empty() {
            self.whole.push(self.small.split().freeze());
        }
        self.whole.push(piece);
    }

    fn into_body(mut self) -> ReplayBody {
        if !self.small.is_empty() {
            self.whole.push(self.small.freeze());
        }
        ReplayBody::new(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_body_in_small_pieces_is_the_same_body_in_few(
            sizes in proptest::collection::vec(proptest::sample::select(vec![1, 7, 100, 5_000]), 0..3_000),
        ) {
            let (mut pieces, mut body) = (Pieces::default(), Vec::new());
            for (place, &size) in sizes.iter().enumerate() {
                let piece = vec![place as u8; size];
                body.extend_from_slice(&piece);
                pieces.push(piece.into());
            }
            let large = sizes.iter().filter(|&&size| size >= SMALL_BYTES).count();
            let kept = pieces.whole.len();
            assert!(kept <= PIECES_KEPT + 2 * large + body.len() / SMALL_BYTES, "{kept} pieces");
            assert!(pieces.into_body().contiguous() == body);
        }
    }
}
