//! One check: the request that the method names, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode};
use qcc_fsm::{Cause, CheckMethod, Outcome, Verdict};
use tokio::time::timeout;
use tracing::{debug, info};

use super::chat;
use crate::answer::Answer;
use crate::clock::Stopwatch;
use crate::cluster::{Attempt, Endpoint};
use crate::config::{ClusterSettings, Protocol};
use crate::exchange::{
    ByHead, Call, Cooling, ErrorText, Head, Judgement, apply_cooldown, failed_connect, judge_error_body,
    judge_lost, judge_timeout, judge_unconnected,
};
use crate::fields::Fields;
use crate::upstream::{AnswerBody, ConnectError, Connection, Draft, ReplayBody, SendError, with_causes};

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The version of the Messages API that a check speaks.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A check that is about to be sent.
pub(super) struct Check {
    attempt: Attempt,
    method: CheckMethod,
    limit: Duration,
    model: Option<String>,
}

/// What a check came to.
#[derive(Debug)]
pub(super) struct Finding {
    pub verdict: Verdict,
    pub text: String,
    pub latency: Duration,
}

/// What an answer means for a check.
enum Meaning {
    Passed,
    Judged(Judgement, String),
    /// The endpoint has no model list: the check says nothing.
    NoModelList,
}

impl Check {
    pub fn new(attempt: Attempt, settings: &ClusterSettings) -> Self {
        let named = attempt.method().unwrap_or(CheckMethod::Chat);
        // Where there is no model list, the chat check stands in for it.
        let lacks_list = attempt.endpoint().vitals.lacks_model_list();
        let method = match named {
            CheckMethod::ModelList if lacks_list => CheckMethod::Chat,
            CheckMethod::ModelList | CheckMethod::Network | CheckMethod::Chat => named,
        };
        let model = settings.health.check_model.clone();
        Self { attempt, method, limit: settings.health.check_timeout, model }
    }

    /// Sends the check and reports its verdict.
    pub async fn run(mut self) -> Finding {
        let stopwatch = Stopwatch::start();
        let meaning = match timeout(self.limit, self.exchange()).await {
            Ok(meaning) => meaning,
            Err(_) => Meaning::Judged(judge_timeout(), format!("no answer within {:?}", self.limit)),
        };
        let latency = stopwatch.elapsed();
        let (verdict, text) = self.report(meaning, latency);
        self.log(&verdict, &text, latency);
        Finding { verdict, text, latency }
    }

    fn report(&mut self, meaning: Meaning, latency: Duration) -> (Verdict, String) {
        let endpoint = self.attempt.endpoint().clone();
        match meaning {
            Meaning::Passed => {
                let _: Outcome = self.attempt.pass(latency);
                (Verdict::Pass(qcc_fsm::Evidence::Check(self.method)), "passed".to_owned())
            }
            Meaning::NoModelList => {
                endpoint.vitals.note_no_model_list();
                let _: Outcome = self.attempt.report(Verdict::Neutral);
                (Verdict::Neutral, "has no model list".to_owned())
            }
            Meaning::Judged(judgement, text) => {
                let mut text = endpoint.shown(&text);
                let judgement = self.found_by_this(judgement);
                // It says nothing of the endpoint, but no such check will ever bring it back.
                if judgement.lacks_model {
                    text += "; set check_model to a model that this endpoint has";
                }
                if judgement.lacks_model || judgement.speaks_of_endpoint() {
                    endpoint.note_error(&text);
                }
                if let Some(cooling) = judgement.cooling {
                    apply_cooldown(&endpoint, cooling, self.attempt.cluster().clock.now());
                }
                let _: Outcome = self.attempt.report(judgement.verdict);
                (judgement.verdict, text)
            }
        }
    }

    /// A model list has rate limits of its own, which say nothing of requests. An HTTP answer or a lost
    /// exchange was found out by this check's method; a connection that failed, by the network's.
    fn found_by_this(&self, judgement: Judgement) -> Judgement {
        let cooling = judgement.cooling.filter(|_| self.method == CheckMethod::Chat);
        let verdict = match judgement.verdict {
            Verdict::Fail(failure) if failure.method == CheckMethod::Chat => {
                // A key refused by the light request was refused a model list.
                let is_refusal = self.method == CheckMethod::Network && failure.cause == Cause::Auth;
                let method = if is_refusal { CheckMethod::ModelList } else { self.method };
                Verdict::Fail(qcc_fsm::Failure { method, ..failure })
            }
            verdict @ (Verdict::Fail(_) | Verdict::Pass(_) | Verdict::Neutral) => verdict,
        };
        Judgement { verdict, cooling, ..judgement }
    }

    async fn exchange(&mut self) -> Meaning {
        let code = chat::new_code();
        match self.send(&code).await {
            Ok(response) => self.judge(response, &code).await,
            Err(judged) => Meaning::Judged(judged.0, judged.1),
        }
    }

    async fn send(&mut self, code: &str) -> Result<Answer<AnswerBody>, (Judgement, String)> {
        let endpoint = self.attempt.endpoint().clone();
        let gate = endpoint.admission();
        let unconnected = |error: ConnectError| (judge_unconnected(&error), error.to_string());
        let mut connection = endpoint.origin.connection(&gate).await.map_err(unconnected)?;
        self.attempt.begin();
        let mut was_sent = false;
        loop {
            let may_have_died = connection.is_reused() && !was_sent;
            was_sent = true;
            match self.send_on(connection, &endpoint, code).await {
                Ok(answered) => return Ok(answered),
                Err(error) if may_have_died && self.may_repeat(&error) => {
                    connection = endpoint.origin.new_connection(&gate).await.map_err(unconnected)?;
                }
                Err(SendError::Unsent(why)) => return Err((failed_connect(), why.to_string())),
                Err(SendError::Lost(error)) => {
                    return Err((
                        judge_lost(),
                        format!("the connection broke before an answer: {}", with_causes(&*error)),
                    ));
                }
                Err(SendError::Silent) => {
                    return Err((judge_timeout(), format!("no answer within {:?}", self.limit)));
                }
                Err(SendError::Switched) => {
                    let judgement = Judgement::invalid_response(CheckMethod::Chat);
                    return Err((judgement, "101: it changed the protocol unasked".to_owned()));
                }
                Err(SendError::Refused) => {
                    return Err((Judgement::SAYS_NOTHING, "overtaken by a change".to_owned()));
                }
            }
        }
    }

    /// Whether a check that a kept connection did not carry may be sent again: a chat that may have been taken is
    /// billed.
    fn may_repeat(&self, error: &SendError) -> bool {
        match error {
            SendError::Unsent(_) => true,
            SendError::Lost(_) => self.method != CheckMethod::Chat,
            SendError::Refused | SendError::Silent | SendError::Switched => false,
        }
    }

    async fn send_on(
        &self,
        connection: Connection,
        endpoint: &Endpoint,
        code: &str,
    ) -> Result<Answer<AnswerBody>, SendError> {
        let mut fields = Fields::from_iter([("accept", "application/json")]);
        if endpoint.settings.protocol == Protocol::Anthropic {
            fields.push("anthropic-version", ANTHROPIC_VERSION);
        }
        let (method, target, body) = match self.method {
            CheckMethod::ModelList | CheckMethod::Network => {
                (Method::GET, PathAndQuery::from_static("/v1/models"), ReplayBody::default())
            }
            CheckMethod::Chat => {
                fields.push("content-type", "application/json");
                let protocol = endpoint.settings.protocol;
                let model = self.model.clone().or_else(|| endpoint.vitals.last_model());
                let model = model.as_deref().unwrap_or(chat::small_model(protocol));
                let name = endpoint.settings.model_map.name_of(model).unwrap_or(model);
                let body = chat::request(protocol, name, code);
                (Method::POST, chat::target(protocol), Bytes::from(body).into())
            }
        };
        let draft = Draft { method: &method, target: &target, fields: &fields, body };
        connection.send(draft, self.attempt.stamp(), self.limit).await
    }

    async fn judge(&self, answer: Answer<AnswerBody>, code: &str) -> Meaning {
        let Answer { status, fields, body } = answer;
        let now = self.attempt.cluster().clock.shown_now();
        let head = Head { call: Call::Messages, method: CheckMethod::Chat, status, fields: &fields, now };
        match self.method {
            CheckMethod::Network if !is_refusal(status) => return Meaning::Passed,
            CheckMethod::ModelList if lacks_model_list(status) => return Meaning::NoModelList,
            CheckMethod::Network | CheckMethod::ModelList | CheckMethod::Chat => {}
        }
        let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Meaning::Judged(judge_lost(), format!("the answer broke off: {error}")),
        };
        if head.judge() != ByHead::Success {
            let error = ErrorText::of(&body);
            let line = error.as_ref().map_or_else(String::new, |error| format!(" {}", error.line()));
            return Meaning::Judged(head.judge_words(error.as_ref()), format!("{}{line}", status.as_u16()));
        }
        if let Some(cooling) = Cooling::of_success(head.call, head.fields, || now)
            && self.method == CheckMethod::Chat
        {
            apply_cooldown(self.attempt.endpoint(), cooling, self.attempt.cluster().clock.now());
        }
        match self.method {
            CheckMethod::Chat => judge_chat(&body, self.attempt.endpoint().settings.protocol, code),
            CheckMethod::ModelList | CheckMethod::Network => judge_model_list(&body),
        }
    }

    fn log(&self, verdict: &Verdict, text: &str, latency: Duration) {
        let endpoint = self.attempt.endpoint().name();
        let method = self.method.as_str();
        let latency_ms = latency.as_millis() as u64;
        match (self.attempt.is_trial(), verdict) {
            (true, Verdict::Pass(_)) => info!(endpoint, method, latency_ms, "recovery check passed"),
            (true, Verdict::Fail(_)) => {
                info!(endpoint, method, latency_ms, error = text, "recovery check failed")
            }
            (true, Verdict::Neutral) => {
                info!(endpoint, method, latency_ms, reason = text, "recovery check said nothing")
            }
            (false, Verdict::Pass(_)) => debug!(endpoint, method, latency_ms, "check passed"),
            (false, Verdict::Fail(_)) => info!(endpoint, method, latency_ms, error = text, "check failed"),
            (false, Verdict::Neutral) => {
                debug!(endpoint, method, latency_ms, reason = text, "check said nothing")
            }
        }
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn lacks_model_list(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// 200 alone is nothing: relays answer so for a dead key.
fn judge_chat(body: &[u8], protocol: Protocol, code: &str) -> Meaning {
    if chat::says(protocol, body, code) {
        return Meaning::Passed;
    }
    if let Some(error) = ErrorText::of(body) {
        let judgement = judge_error_body(&error, CheckMethod::Chat);
        return Meaning::Judged(judgement, format!("200 with an error: {}", error.line()));
    }
    let what = if body.trim_ascii().is_empty() {
        "an empty body"
    } else {
        "an answer without the verification code"
    };
    Meaning::Judged(Judgement::invalid_response(CheckMethod::Chat), format!("200 with {what}"))
}

/// A list in either vendor's shape. A page instead is what a relay without a model list shows.
fn judge_model_list(body: &[u8]) -> Meaning {
    if let Some(error) = ErrorText::of(body) {
        let judgement = judge_error_body(&error, CheckMethod::Chat);
        return Meaning::Judged(judgement, format!("200 with an error: {}", error.line()));
    }
    match body.trim_ascii().first() {
        Some(b'{' | b'[') => Meaning::Passed,
        Some(_) => Meaning::NoModelList,
        None => {
            let judgement = Judgement::invalid_response(CheckMethod::Chat);
            Meaning::Judged(judgement, "200 with an empty body".to_owned())
        }
    }
}
