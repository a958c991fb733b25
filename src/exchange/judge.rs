//! The verdict on an endpoint: the table "How an outcome counts".

use hyper::StatusCode;
use hyper::http::header::{HeaderMap, RETRY_AFTER};
use jiff::Timestamp;
use qcc_fsm::{Cause, CheckMethod, Failure, Verdict};

use super::{Call, Cooling, ErrorText};

/// What an outcome says of the endpoint, and what becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the request may go on to another endpoint.
    pub moves_on: bool,
    /// How long the endpoint is to be left alone, health aside.
    pub cooling: Option<Cooling>,
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
        Self { verdict, moves_on: true, cooling: None, repeat }
    }

    /// Nothing is said of anybody.
    pub const SAYS_NOTHING: Self =
        Self { verdict: Verdict::Neutral, moves_on: true, cooling: None, repeat: Repeat::Free };

    /// The request's own fault: any endpoint would answer so.
    const REQUESTS_FAULT: Self = Self { moves_on: false, ..Self::SAYS_NOTHING };

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

/// Judges by the head of an answer; none for a 2xx, whose body decides. `method` is what the exchange
/// was: a check's method, or chat for a user's request.
pub fn judge_status(
    call: Call,
    method: CheckMethod,
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> Option<Judgement> {
    let judgement = match status.as_u16() {
        200..=299 => return None,
        401 | 403 => Judgement::fails(Cause::Auth, method),
        402 => Judgement::fails(Cause::Quota, method),
        429 => Judgement::cools(Cooling::of_rate_limit(headers, now)),
        529 => Judgement::cools(Cooling::of_overload(headers, now)),
        503 if headers.contains_key(RETRY_AFTER) => Judgement::cools(Cooling::of_overload(headers, now)),
        300..=399 | 500..=599 => Judgement::fails(Cause::Server, method),
        _ => Judgement::REQUESTS_FAULT,
    };
    Some(judgement.of_call(call))
}

/// Judges an error that came inside a 200, by its code, or by its type where the code says nothing.
pub fn judge_error_event(error: &ErrorText, method: CheckMethod) -> Judgement {
    let names = [error.code.as_deref(), error.kind.as_deref()];
    let judged = names.into_iter().flatten().find_map(|name| judge_error_name(name, method));
    judged.unwrap_or(Judgement::fails(Cause::Server, method))
}

fn judge_error_name(name: &str, method: CheckMethod) -> Option<Judgement> {
    Some(match name {
        "authentication_error" | "permission_error" | "invalid_api_key" => {
            Judgement::fails(Cause::Auth, method)
        }
        "billing_error" | "insufficient_quota" | "credit_balance_exhausted" => {
            Judgement::fails(Cause::Quota, method)
        }
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "slow_down"
        | "overloaded_error"
        | "server_is_overloaded" => Judgement::cools(Cooling::Doubling(None)),
        "invalid_request_error" | "not_found_error" | "request_too_large" => Judgement::REQUESTS_FAULT,
        "timeout_error" => Judgement::fails(Cause::Timeout, method),
        _ => return None,
    })
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
mod tests {
    use super::*;

    fn judged(call: Call, status: u16, retry_after: bool) -> Option<Judgement> {
        let mut headers = HeaderMap::new();
        if retry_after {
            headers.insert(RETRY_AFTER, "3".parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        judge_status(call, CheckMethod::Chat, status, &headers, Timestamp::UNIX_EPOCH)
    }

    fn cause(judgement: Judgement) -> Option<Cause> {
        match judgement.verdict {
            Verdict::Fail(failure) => Some(failure.cause),
            Verdict::Pass(_) | Verdict::Neutral => None,
        }
    }

    #[test]
    fn every_status_counts_as_the_table_says() {
        let failing = [(401, Cause::Auth), (403, Cause::Auth), (402, Cause::Quota)];
        let server = [500, 502, 503, 504, 520, 301, 302, 307, 308].map(|status| (status, Cause::Server));
        for (status, expected) in failing.into_iter().chain(server) {
            let judgement = judged(Call::Messages, status, false).unwrap();
            assert_eq!((cause(judgement), judgement.moves_on), (Some(expected), true), "{status}");
        }
        for status in [400, 404, 405, 408, 409, 413, 422] {
            assert_eq!(judged(Call::Messages, status, false), Some(Judgement::REQUESTS_FAULT), "{status}");
        }
        for (status, retry_after) in [(429, false), (429, true), (529, false), (503, true)] {
            let judgement = judged(Call::Messages, status, retry_after).unwrap();
            assert_eq!((judgement.verdict, judgement.moves_on), (Verdict::Neutral, true), "{status}");
            assert!(judgement.cooling.is_some());
        }
        assert_eq!(judged(Call::Messages, 200, false), None);
    }

    #[test]
    fn an_error_whose_code_is_unknown_is_judged_by_its_type() {
        let judged = |code: Option<&str>, kind: &str| {
            let error =
                ErrorText { code: code.map(str::to_owned), kind: Some(kind.to_owned()), message: None };
            judge_error_event(&error, CheckMethod::Chat)
        };
        let too_long = judged(Some("context_length_exceeded"), "invalid_request_error");
        assert_eq!(too_long, Judgement::REQUESTS_FAULT);
        assert_eq!(cause(judged(Some("invalid_api_key"), "invalid_request_error")), Some(Cause::Auth));
        assert_eq!(cause(judged(Some("odd"), "odd")), Some(Cause::Server));
        assert_eq!(judged(None, "overloaded_error").cooling, Some(Cooling::Doubling(None)));
    }

    #[test]
    fn what_cost_an_endpoint_work_is_charged_when_repeated() {
        let error = |kind: &str| ErrorText { code: None, kind: Some(kind.to_owned()), message: None };
        let event = |kind: &str| judge_error_event(&error(kind), CheckMethod::Chat);
        let status = |status, retry_after| judged(Call::Messages, status, retry_after).unwrap();
        let free = [
            failed_connect(),
            status(401, false),
            status(402, false),
            status(403, false),
            status(429, false),
            status(503, true),
            status(529, false),
            event("overloaded_error"),
            event("billing_error"),
            Judgement::SAYS_NOTHING,
        ];
        let charged = [
            status(500, false),
            status(503, false),
            status(307, false),
            event("api_error"),
            event("timeout_error"),
            judge_timeout(),
            judge_lost(),
            Judgement::broken_off(),
            Judgement::invalid_response(CheckMethod::Chat),
            // It says nothing of health, but the work was done.
            judged(Call::CountTokens, 500, false).unwrap(),
        ];
        assert!(free.iter().all(|judgement| judgement.repeat == Repeat::Free), "{free:#?}");
        assert!(charged.iter().all(|judgement| judgement.repeat == Repeat::Charged), "{charged:#?}");
    }

    #[test]
    fn counting_tokens_speaks_for_the_connection() {
        assert_eq!(cause(judge_lost().of_call(Call::CountTokens)), Some(Cause::Network));
        assert_eq!(cause(judge_timeout().of_call(Call::Models)), Some(Cause::Timeout));
    }

    #[test]
    fn counting_tokens_speaks_for_the_key_only() {
        assert_eq!(cause(judged(Call::CountTokens, 401, false).unwrap()), Some(Cause::Auth));
        for status in [402, 429, 500, 529] {
            let judgement = judged(Call::CountTokens, status, false).unwrap();
            assert_eq!((judgement.verdict, judgement.cooling), (Verdict::Neutral, None), "{status}");
            assert!(judgement.moves_on);
        }
    }
}
