use super::*;

fn judged_with(
    call: Call,
    status: u16,
    pairs: &[(&'static str, &'static str)],
    error: Option<&str>,
) -> Option<Judgement> {
    let fields = pairs.iter().copied().collect();
    let status = StatusCode::from_u16(status).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let head = Head { call, method: CheckMethod::Chat, status, fields: &fields, now };
    match head.judge() {
        ByHead::Success => None,
        ByHead::Judged(judgement) => Some(judgement),
        ByHead::NeedsWords(_) => {
            let error = error.and_then(|body| ErrorText::of(body.as_bytes()));
            Some(head.judge_words(error.as_ref()))
        }
    }
}

fn judged(call: Call, status: u16, retry_after: bool) -> Option<Judgement> {
    let pairs: &[_] = if retry_after { &[("retry-after", "3")] } else { &[] };
    judged_with(call, status, pairs, None)
}

/// The judgement on an error body, `{"error": {…}}`.
fn said(status: u16, error: &str) -> Judgement {
    judged_with(Call::Messages, status, &[], Some(&format!("{{\"error\":{error}}}"))).unwrap()
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
        let error = ErrorText { code: code.map(str::to_owned), kind: Some(kind.to_owned()), message: None };
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
    let error = |kind: &str| ErrorText { kind: Some(kind.to_owned()), ..ErrorText::default() };
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
        Judgement::LACKS_MODEL,
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

fn is_cooled(judgement: Judgement) -> bool {
    judgement.verdict == Verdict::Neutral && judgement.moves_on && judgement.cooling.is_some()
}

#[test]
fn a_code_or_type_that_says_money_is_quota_under_whatever_status() {
    for name in
        ["insufficient_quota", "credit_balance_exhausted", "billing_error", "team_spend_limit_exceeded"]
    {
        for status in [400, 402, 403, 404, 429, 500, 503, 529] {
            for member in ["code", "type"] {
                let judgement = said(status, &format!("{{\"{member}\":\"{name}\",\"message\":\"no\"}}"));
                assert_eq!(
                    (cause(judgement), judgement.moves_on),
                    (Some(Cause::Quota), true),
                    "{status} {name}"
                );
            }
        }
    }
}

#[test]
fn a_message_that_says_money_is_quota_where_refusals_for_money_come() {
    let message =
        r#"{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}"#;
    for status in [400, 403, 429] {
        assert_eq!(cause(said(status, message)), Some(Cause::Quota), "{status}");
    }
    assert_eq!(said(404, message), Judgement::REQUESTS_FAULT);
    let quoting =
        r#"{"type":"invalid_request_error","message":"messages.0: 'Your credit balance is too low'"}"#;
    assert_eq!(said(400, quoting), Judgement::REQUESTS_FAULT);
    let elsewhere = r#"{"type":"invalid_request_error","message":"no","param":"insufficient_quota"}"#;
    assert_eq!(said(400, elsewhere), Judgement::REQUESTS_FAULT);
    let minute = r#"{"type":"rate_limit_error","message":"Quota exceeded: 50 requests per minute"}"#;
    assert!(is_cooled(said(429, minute)));
}

#[test]
fn a_quota_waits_for_the_end_that_is_announced() {
    let resets = |status, pairs: &[_]| {
        let judgement =
            judged_with(Call::Messages, status, pairs, Some(r#"{"error":{"code":"insufficient_quota"}}"#));
        match judgement.unwrap().verdict {
            Verdict::Fail(failure) => failure.resets_in,
            Verdict::Pass(_) | Verdict::Neutral => panic!("{status}"),
        }
    };
    assert_eq!(resets(429, &[("retry-after", "90")]), Some(Ticks::from_secs(90)));
    assert_eq!(resets(402, &[("retry-after", "90")]), Some(Ticks::from_secs(90)));
    let window = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1h")];
    assert_eq!(resets(429, &window), Some(Ticks::from_secs(3600)));
    assert_eq!(resets(429, &[]), None);
    assert_eq!(resets(429, &[("retry-after", "0")]), None);
    assert_eq!(resets(429, &[("x-ratelimit-reset-requests", "1h")]), None, "a guess is no announcement");
}

#[test]
fn waiting_and_overload_are_known_by_their_names() {
    for code in ["rate_limit_exceeded", "slow_down", "server_is_overloaded"] {
        for status in [400, 403, 429, 500, 503] {
            assert!(is_cooled(said(status, &format!("{{\"code\":\"{code}\"}}"))), "{status} {code}");
        }
    }
    for status in [500, 502, 503, 529] {
        assert!(is_cooled(said(status, r#"{"type":"overloaded_error"}"#)), "{status}");
    }
}

#[test]
fn an_unknown_model_is_the_endpoints_lack_and_no_failure() {
    let by_code = r#"{"message":"no channel","type":"new_api_error","code":"model_not_found"}"#;
    for status in [400, 403, 404, 503] {
        assert_eq!(said(status, by_code), Judgement::LACKS_MODEL, "{status}");
    }
    let anthropic = r#"{"type":"not_found_error","message":"model: claude-none"}"#;
    assert_eq!(said(404, anthropic), Judgement::LACKS_MODEL);
    assert_eq!(said(400, anthropic), Judgement::REQUESTS_FAULT);
    assert_eq!(said(404, r#"{"type":"not_found_error","message":"Not found"}"#), Judgement::REQUESTS_FAULT);
    assert_eq!(judge_error_event(&error(anthropic), CheckMethod::Chat), Judgement::LACKS_MODEL);
    let counted =
        judged_with(Call::CountTokens, 404, &[], Some(&format!("{{\"error\":{by_code}}}"))).unwrap();
    assert_eq!(counted, Judgement::LACKS_MODEL);
}

fn error(error: &str) -> ErrorText {
    ErrorText::of(format!("{{\"error\":{error}}}").as_bytes()).unwrap()
}

#[test]
fn a_refused_key_is_judged_before_any_body() {
    let fields = Fields::default();
    let by_head = |status| {
        let (call, method, now) = (Call::Messages, CheckMethod::Chat, Timestamp::UNIX_EPOCH);
        Head { call, method, status: StatusCode::from_u16(status).unwrap(), fields: &fields, now }.judge()
    };
    for status in [401, 402, 301, 307] {
        assert!(matches!(by_head(status), ByHead::Judged(_)), "{status}");
    }
    assert_eq!(by_head(403), ByHead::NeedsWords(REFUSAL_WITHIN));
    assert_eq!(cause(said(403, r#"{"type":"permission_error","message":"no"}"#)), Some(Cause::Auth));
}

#[test]
fn an_error_in_a_200_is_judged_by_the_same_words() {
    let judged = |text: &str| judge_error_event(&error(text), CheckMethod::Chat);
    assert_eq!(cause(judged(r#"{"code":"org_spend_limit_exceeded"}"#)), Some(Cause::Quota));
    let credit = r#"{"type":"invalid_request_error","message":"Your credit balance is too low"}"#;
    assert_eq!(cause(judged(credit)), Some(Cause::Quota));
    assert!(is_cooled(judged(r#"{"type":"rate_limit_error","message":"slow down"}"#)));
}

#[test]
fn an_error_after_content_is_a_broken_stream_unless_its_words_say_more() {
    let judged = |text: &str| judge_error_after_content(&error(text));
    for text in [r#"{"message":"odd"}"#, r#"{"type":"api_error","message":"Internal server error"}"#] {
        assert_eq!((cause(judged(text)), judged(text).moves_on), (Some(Cause::Stream), false));
    }
    assert_eq!(cause(judged(r#"{"code":"insufficient_quota"}"#)), Some(Cause::Quota));
    assert!(judged(r#"{"type":"overloaded_error"}"#).cooling.is_some());
}

const NAMES: [&str; 14] = [
    "insufficient_quota",
    "x_spend_limit_exceeded",
    "rate_limit_exceeded",
    "rate_limit_error",
    "slow_down",
    "overloaded_error",
    "model_not_found",
    "authentication_error",
    "permission_error",
    "timeout_error",
    "invalid_request_error",
    "not_found_error",
    "api_error",
    "odd",
];
const MESSAGES: [&str; 6] = [
    "no",
    "model: x",
    "The model `x` does not exist",
    "Your credit balance is too low",
    "spend limit",
    "you said: your credit balance is too low",
];

proptest::proptest! {
    #[test]
    fn every_answer_has_one_meaning_and_no_neutral_row_fails(
        call in proptest::sample::select(vec![Call::Messages, Call::CountTokens, Call::Responses, Call::Other]),
        status in 200u16..=599,
        code in proptest::option::of(proptest::sample::select(NAMES.to_vec())),
        kind in proptest::option::of(proptest::sample::select(NAMES.to_vec())),
        message in proptest::sample::select(MESSAGES.to_vec()),
    ) {
        let body = serde_json::json!({"error": {"type": kind, "code": code, "message": message}}).to_string();
        let judgement = judged_with(call, status, &[("retry-after", "1")], Some(&body));
        proptest::prop_assert_eq!(judgement.is_none(), (200..300).contains(&status));
        let Some(judgement) = judgement else { return Ok(()) };
        let cause = cause(judgement);
        if (400..500).contains(&status) && !matches!(status, 401..=403 | 429) {
            proptest::prop_assert!(matches!(cause, None | Some(Cause::Quota)), "{:?}", judgement);
        }
        if !call.speaks_for_health() {
            proptest::prop_assert!(matches!(cause, None | Some(Cause::Auth)), "{:?}", judgement);
            proptest::prop_assert_eq!(judgement.cooling, None);
        }
        proptest::prop_assert!(judgement.cooling.is_none() || judgement.verdict == Verdict::Neutral);
        proptest::prop_assert!(!judgement.lacks_model || judgement.verdict == Verdict::Neutral);
    }

    #[test]
    fn no_body_makes_it_fail(
        status in 200u16..=599,
        body in "\\{\"error\":[{}\\[\\]\",:a-z\\\\]{0,60}",
    ) {
        let _ = judged_with(Call::Messages, status, &[], Some(&body));
        if let Some(error) = ErrorText::of(body.as_bytes()) {
            let _ = judge_error_event(&error, CheckMethod::Chat);
        }
    }
}
