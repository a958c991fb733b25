//! The verdict on an answer: every status, with any headers and any body, compressed ones too, has one, and
//! it is of the row that its status belongs to.

use std::time::Duration;

use hyper::StatusCode;
use hyper::http::header::HeaderValue;
use qcc::exchange::{
    Beginning, ByHead, Call, Cooling, ErrorText, Head, INSPECTED_BYTES_MAX, Judgement,
    judge_error_after_content, judge_error_event, shape_of_answer,
};
use qcc::fields::Fields;
use qcc_fsm::{Cause, CheckMethod, Failure, Verdict};

const CALLS: [Call; 8] = [
    Call::Messages,
    Call::CountTokens,
    Call::ChatCompletions,
    Call::Completions,
    Call::Responses,
    Call::Embeddings,
    Call::Models,
    Call::Other,
];
const CODINGS: [&str; 8] = ["", "identity", "gzip", "deflate", "br", "zstd", "x-gzip", "gzip, br"];
const NAMES: [&str; 12] = [
    "retry-after",
    "retry-after-ms",
    "date",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-unified-status",
    "anthropic-ratelimit-unified-reset",
    "anthropic-ratelimit-unified-5h-status",
    "anthropic-ratelimit-unified-5h-reset",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset",
];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The call, the status in two bytes, the coding, then lines of headers (the name's place and the value)
/// up to an empty one, and the body.
pub fn run(bytes: &[u8]) {
    let [call, high, low, coding, rest @ ..] = bytes else { return };
    let call = CALLS[usize::from(*call) % CALLS.len()];
    let status = 200 + u16::from_be_bytes([*high, *low]) % 400;
    let (fields, body) = fields(CODINGS[usize::from(*coding) % CODINGS.len()], rest);
    let body = &body[..body.len().min(INSPECTED_BYTES_MAX)];
    let beginning = Beginning::of(body.into(), &fields);
    assert!(beginning.text().len() <= INSPECTED_BYTES_MAX);
    let error = ErrorText::of(beginning.text());
    let _ = shape_of_answer(call, &beginning);
    check_success(call, &fields);
    check_status(call, status, &fields, error.as_ref());
    if let Some(error) = error {
        let event = judge_error_event(&error, CheckMethod::Chat);
        check_one(&event);
        assert!(!judge_error_after_content(&error).moves_on);
    }
}

fn fields<'a>(coding: &str, mut bytes: &'a [u8]) -> (Fields, &'a [u8]) {
    let mut fields = Fields::default();
    if !coding.is_empty() {
        fields.push("content-encoding", coding);
    }
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let line = &bytes[..end];
        bytes = &bytes[end + 1..];
        let Some((name, value)) = line.split_first() else { break };
        // What a head may hold.
        if HeaderValue::from_bytes(value).is_ok() {
            fields.push(NAMES[usize::from(*name) % NAMES.len()], value);
        }
    }
    (fields, bytes)
}

fn check_success(call: Call, fields: &Fields) {
    let cooling = Cooling::of_success(call, fields, || jiff::Timestamp::UNIX_EPOCH);
    assert!(cooling.is_none() || call.speaks_for_health(), "a limit of its own");
    let is_announced = |cooling| matches!(cooling, Cooling::Announced(wait) if wait <= DAY);
    assert!(cooling.is_none_or(is_announced), "{cooling:?}");
}

fn check_status(call: Call, status: u16, fields: &Fields, error: Option<&ErrorText>) {
    let head = Head {
        call,
        method: CheckMethod::Chat,
        status: StatusCode::from_u16(status).expect("a status"),
        fields,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let judgement = match head.judge() {
        ByHead::Success => return assert!(status < 300, "{status}"),
        ByHead::Judged(judgement) => {
            assert_eq!(
                judgement,
                head.judge_words(error),
                "{status}: what the head decides, words don't change"
            );
            judgement
        }
        ByHead::NeedsWords(_) => head.judge_words(error),
    };
    assert!(status >= 300, "{status}");
    check_one(&judgement);
    let cause = cause(&judgement);
    let allowed: &[Option<Cause>] = match status {
        401 => &[Some(Cause::Auth)],
        403 => &[Some(Cause::Auth), Some(Cause::Quota), None],
        402 => &[Some(Cause::Quota), None],
        400..=499 => &[Some(Cause::Quota), None],
        _ => &[Some(Cause::Server), Some(Cause::Quota), None],
    };
    assert!(allowed.contains(&cause), "{status}: {judgement:?}");
    if !call.speaks_for_health() {
        assert!(matches!(cause, None | Some(Cause::Auth)) && judgement.cooling.is_none(), "{judgement:?}");
    }
}

/// What speaks for a failure does not cool as well, and what a model lacks is no failure.
fn check_one(judgement: &Judgement) {
    match judgement.verdict {
        Verdict::Pass(_) => panic!("an error that passes: {judgement:?}"),
        Verdict::Fail(Failure { cause, resets_in, .. }) => {
            assert!(judgement.cooling.is_none() && !judgement.lacks_model, "{judgement:?}");
            assert!(resets_in.is_none_or(|span| cause == Cause::Quota && span.to_duration() <= DAY));
        }
        Verdict::Neutral => assert!(!judgement.lacks_model || judgement.cooling.is_none()),
    }
    if let Some(Cooling::Announced(wait)) = judgement.cooling {
        assert!(wait <= DAY, "{wait:?}");
    }
}

fn cause(judgement: &Judgement) -> Option<Cause> {
    match judgement.verdict {
        Verdict::Fail(failure) => Some(failure.cause),
        Verdict::Pass(_) | Verdict::Neutral => None,
    }
}
