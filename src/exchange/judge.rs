//! The verdict on an endpoint: the table "How an outcome counts".

use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use qcc_fsm::{Cause, CheckMethod, Failure, Ticks, Verdict};

use super::limits::{announced_wait, exhausted_wait};
use super::names::{Reading, Said, message_says_money, message_says_unknown_model, said_by_name};
use super::{Call, Cooling, ErrorText};
use crate::fields::Fields;
use crate::upstream::ConnectError;

/// What an outcome says of the endpoint, and what becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the request may go on to another endpoint.
    pub moves_on: bool,
    /// How long the endpoint is to be left alone, health aside.
    pub cooling: Option<Cooling>,
    /// Whether the endpoint has said that it has no such model.
    pub lacks_model: bool,
    /// Whether sending the request to another endpoint is charged to the cluster's budget.
    pub repeat: Repeat,
}

/// What it takes to send a request to another endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The endpoint did no work on it: nothing was sent, or it was turned away.
    Free,
    /// The endpoint worked on it, and may have failed for the load.
    Charged,
}

/// The head of an answer, and what it is the answer to.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What was called.
    pub call: Call,
    /// A check's method, or chat for a user's request.
    pub method: CheckMethod,
    /// Its status.
    pub status: StatusCode,
    /// Its header lines.
    pub fields: &'a Fields,
    /// The time of day, where the answer has no `Date` of its own.
    pub now: Timestamp,
}

/// What a head alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHead {
    /// A success, if its body is one.
    Success,
    /// It decides.
    Judged(Judgement),
    /// What the error's own words say decides, if they come within this time.
    NeedsWords(Duration),
}

/// How long an error's words may take: the request waits to be moved on.
pub const WORDS_WITHIN: Duration = Duration::from_millis(500);
/// How long the words of a 403 may take. It refuses our key, or says that the money is gone, and either
/// way nothing may be sent there any more: every moment in which neither is known is one in which the
/// next request still chooses the endpoint. The wrong one of the two costs a first wait of another length.
const REFUSAL_WITHIN: Duration = Duration::from_millis(100);

/// How much a connection that did not come about weighs.
const CONNECT_WEIGHT: u8 = 2;

impl Judgement {
    const fn fails(cause: Cause, method: CheckMethod) -> Self {
        let repeat = match (cause, method) {
            (Cause::Auth | Cause::Quota, _) | (Cause::Network, CheckMethod::Network) => Repeat::Free,
            (Cause::Network, CheckMethod::ModelList | CheckMethod::Chat)
            | (Cause::Server | Cause::Timeout | Cause::InvalidResponse | Cause::Stream, _) => Repeat::Charged,
        };
        let verdict = Verdict::Fail(Failure::new(cause, method));
        Self { verdict, repeat, ..Self::SAYS_NOTHING }
    }

    /// Nothing is said of anybody.
    pub const SAYS_NOTHING: Self = Self {
        verdict: Verdict::Neutral,
        moves_on: true,
        cooling: None,
        lacks_model: false,
        repeat: Repeat::Free,
    };

    /// The request's own fault: any endpoint would answer so.
    const REQUESTS_FAULT: Self = Self { moves_on: false, ..Self::SAYS_NOTHING };

    /// The endpoint has no such model; another one may.
    const LACKS_MODEL: Self = Self { lacks_model: true, ..Self::SAYS_NOTHING };

    const fn cools(cooling: Cooling) -> Self {
        Self { cooling: Some(cooling), ..Self::SAYS_NOTHING }
    }

    /// The same for a call that does not speak for the endpoint's health: only the connection and
    /// authorisation count.
    pub fn of_call(self, call: Call) -> Self {
        let counts = match self.verdict {
            Verdict::Fail(failure) => {
                matches!(failure.cause, Cause::Auth | Cause::Network | Cause::Timeout)
            }
            Verdict::Pass(_) | Verdict::Neutral => false,
        };
        if call.speaks_for_health() || counts {
            self
        } else {
            Self { verdict: Verdict::Neutral, cooling: None, ..self }
        }
    }
}

impl Head<'_> {
    /// Judges by the head alone where that is enough: a refusal of our key must not wait for a body.
    pub fn judge(&self) -> ByHead {
        match self.status.as_u16() {
            200..=299 => ByHead::Success,
            403 => ByHead::NeedsWords(REFUSAL_WITHIN),
            401 | 402 | 300..=399 => ByHead::Judged(self.judge_words(None)),
            _ => ByHead::NeedsWords(WORDS_WITHIN),
        }
    }

    /// Judges an answer that is no success, by what its error says where it says something.
    pub fn judge_words(&self, error: Option<&ErrorText>) -> Judgement {
        let by_words = error.and_then(|error| self.by_words(error));
        by_words.unwrap_or_else(|| self.by_status()).of_call(self.call)
    }

    fn by_words(&self, error: &ErrorText) -> Option<Judgement> {
        let status = self.status.as_u16();
        if !(400..=599).contains(&status) || matches!(status, 401 | 402) {
            return None;
        }
        match said_by_name(error) {
            Some(Said::Money) => return Some(self.no_money()),
            Some(Said::UnknownModel) => return Some(Judgement::LACKS_MODEL),
            Some(Said::Overload) => {
                return Some(Judgement::cools(Cooling::of_overload(self.fields, self.now)));
            }
            Some(Said::Wait) => return Some(self.rate_limited()),
            // These are said of many things, of which the message tells more.
            Some(Said::RateLimit | Said::Refusal | Said::Timeout | Said::Request) | None => {}
        }
        match status {
            400 if message_says_money(error, Reading::Beginning) => Some(self.no_money()),
            403 | 429 if message_says_money(error, Reading::Anywhere) => Some(self.no_money()),
            404 if message_says_unknown_model(error) => Some(Judgement::LACKS_MODEL),
            _ if said_by_name(error) == Some(Said::RateLimit) => Some(self.rate_limited()),
            _ => None,
        }
    }

    fn by_status(&self) -> Judgement {
        match self.status.as_u16() {
            401 | 403 => Judgement::fails(Cause::Auth, self.method),
            402 => self.no_money(),
            429 => self.rate_limited(),
            529 => Judgement::cools(Cooling::of_overload(self.fields, self.now)),
            503 if self.fields.has("retry-after") => {
                Judgement::cools(Cooling::of_overload(self.fields, self.now))
            }
            300..=399 | 500..=599 => Judgement::fails(Cause::Server, self.method),
            _ => Judgement::REQUESTS_FAULT,
        }
    }

    fn rate_limited(&self) -> Judgement {
        Judgement::cools(Cooling::of_rate_limit(self.fields, self.now))
    }

    /// The endpoint leaves service until the end that is announced, if one is.
    fn no_money(&self) -> Judgement {
        let announced = announced_wait(self.fields, self.now).max(exhausted_wait(self.fields, self.now));
        let resets_in = announced.filter(|wait| *wait > Duration::ZERO).map(Ticks::from_duration);
        let failure = Failure::new(Cause::Quota, self.method).until(resets_in);
        Judgement { verdict: Verdict::Fail(failure), ..Judgement::SAYS_NOTHING }
    }
}

/// Judges an error that is the whole of a 200: no client would see it as one, so it is no answer, whoever's
/// fault it was, where it does not say of itself what it is.
pub fn judge_error_body(error: &ErrorText, method: CheckMethod) -> Judgement {
    let named = judge_named(error, method).filter(|judgement| *judgement != Judgement::REQUESTS_FAULT);
    named.unwrap_or(Judgement::invalid_response(method))
}

/// Judges an error event of a stream, by its code, or by its type where the code says nothing.
pub fn judge_error_event(error: &ErrorText, method: CheckMethod) -> Judgement {
    judge_named(error, method).unwrap_or(Judgement::fails(Cause::Server, method))
}

/// The same for one that came after content: where its words say nothing it is an answer that broke off.
pub fn judge_error_after_content(error: &ErrorText) -> Judgement {
    judge_named(error, CheckMethod::Chat).unwrap_or(Judgement::broken_off()).at_its_end()
}

fn judge_named(error: &ErrorText, method: CheckMethod) -> Option<Judgement> {
    let said = said_by_name(error);
    Some(match said {
        Some(Said::Money) => Judgement::fails(Cause::Quota, method),
        Some(Said::UnknownModel) => Judgement::LACKS_MODEL,
        Some(Said::Overload | Said::Wait) => Judgement::cools(Cooling::Doubling(None)),
        _ if message_says_money(error, Reading::Beginning) => Judgement::fails(Cause::Quota, method),
        _ if message_says_unknown_model(error) => Judgement::LACKS_MODEL,
        Some(Said::RateLimit) => Judgement::cools(Cooling::Doubling(None)),
        Some(Said::Refusal) => Judgement::fails(Cause::Auth, method),
        // The type of a 504, which counts as any error of the server's.
        Some(Said::Timeout) => Judgement::fails(Cause::Server, method),
        Some(Said::Request) => Judgement::REQUESTS_FAULT,
        None => return None,
    })
}

/// No connection, for this reason: nothing was sent, so the request goes on. What this machine is short of is
/// nobody's failure.
pub fn judge_unconnected(error: &ConnectError) -> Judgement {
    match error {
        ConnectError::Local(_) => Judgement::SAYS_NOTHING,
        ConnectError::Lookup(_)
        | ConnectError::Refused(_)
        | ConnectError::Proxy { .. }
        | ConnectError::Tls(_)
        | ConnectError::Handshake(_)
        | ConnectError::TimedOut(_) => failed_connect(),
    }
}

/// No connection: nothing was sent, so the request goes on.
pub fn failed_connect() -> Judgement {
    let failure = Failure::new(Cause::Network, CheckMethod::Network).weighing(CONNECT_WEIGHT);
    let judgement = Judgement::fails(Cause::Network, CheckMethod::Network);
    Judgement { verdict: Verdict::Fail(failure), ..judgement }
}

/// Sent, but no head in time: what found it out is the exchange itself. Whether the request goes on is the billing's matter.
pub fn judge_timeout() -> Judgement {
    Judgement::fails(Cause::Timeout, CheckMethod::Chat)
}

/// Sent, but the connection broke before a head.
pub fn judge_lost() -> Judgement {
    Judgement::fails(Cause::Network, CheckMethod::Chat)
}

impl Judgement {
    /// Whether it says anything of the endpoint, be it for a while only.
    pub fn speaks_of_endpoint(&self) -> bool {
        matches!(self.verdict, Verdict::Fail(_)) || self.cooling.is_some()
    }

    /// A 2xx that is not what was asked for.
    pub fn invalid_response(method: CheckMethod) -> Self {
        Self::fails(Cause::InvalidResponse, method)
    }

    /// An answer that broke off, or fell silent, after its head.
    pub fn broken_off() -> Self {
        Self::fails(Cause::Stream, CheckMethod::Chat)
    }

    /// The same after the client has got a part of the answer: it can't be moved on.
    pub fn at_its_end(self) -> Self {
        Self { moves_on: false, ..self }
    }
}

#[cfg(test)]
mod tests;
