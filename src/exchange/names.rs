//! What the words of an error say: the vendors' codes and types first, a few fixed sentences where those
//! say too little.
//!
//! Sources: <https://platform.claude.com/docs/en/api/errors>,
//! <https://platform.openai.com/docs/guides/error-codes>, and what relays built on one-api send.

use super::ErrorText;

/// What an error is about, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The account has no money, or its quota is used up.
    Money,
    /// It is rate-limited: wait.
    Wait,
    /// The type of every 429, which may be about money too.
    RateLimit,
    /// The endpoint is overloaded.
    Overload,
    /// The endpoint has no such model.
    UnknownModel,
    /// The key is refused.
    Refusal,
    /// It took too long.
    Timeout,
    /// The request is at fault.
    Request,
}

/// What the code says, or the type where the code says nothing or only what is said of many things.
pub fn said_by_name(error: &ErrorText) -> Option<Said> {
    let by_code = error.code.as_deref().and_then(of_name);
    let by_type = error.kind.as_deref().and_then(of_name);
    let is_particular = |said: &Said| match said {
        Said::Money | Said::Wait | Said::Overload | Said::UnknownModel => true,
        Said::RateLimit | Said::Refusal | Said::Timeout | Said::Request => false,
    };
    by_code.filter(is_particular).or(by_type.filter(is_particular)).or(by_code).or(by_type)
}

fn of_name(name: &str) -> Option<Said> {
    Some(match name {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "billing_error"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "exceeded_current_quota_error"
        | "insufficient_user_quota"
        | "insufficient_balance"
        | "insufficient_credits" => Said::Money,
        _ if name.ends_with("spend_limit_exceeded") => Said::Money,
        "rate_limit_exceeded" | "slow_down" => Said::Wait,
        "rate_limit_error" => Said::RateLimit,
        "overloaded_error" | "server_is_overloaded" => Said::Overload,
        "model_not_found" => Said::UnknownModel,
        "authentication_error" | "permission_error" | "invalid_api_key" => Said::Refusal,
        "timeout_error" => Said::Timeout,
        "invalid_request_error" | "not_found_error" | "request_too_large" => Said::Request,
        _ => return None,
    })
}

/// The beginnings of sentences that say that the money is gone. No message that quotes a user's text
/// begins so.
const MONEY_BEGINNINGS: &[&str] = &[
    "your credit balance is too low",
    "you exceeded your current quota",
    "you have exceeded your current quota",
    "you have reached your specified api usage limits",
    "you have reached your specified workspace api usage limits",
    "billing hard limit has been reached",
    "your account is not active, please check your billing",
    "insufficient balance",
    "insufficient account balance",
    "insufficient credit",
    "insufficient quota",
    "insufficient funds",
];
/// Parts of such sentences, for answers in which no user's text is quoted.
const MONEY_PARTS: &[&str] = &[
    "credit balance is too low",
    "exceeded your current quota",
    "spend limit",
    "spending limit",
    "insufficient balance",
    "insufficient credit",
    "usage limits. you will regain access",
];
/// Signs that a quota is one of the minute, which waiting mends.
const WAIT_PARTS: &[&str] =
    &["per minute", "per second", "per-minute", "requests per", "tokens per", "retry in", "try again in"];
/// How much of a message is looked at: such sentences stand at its beginning.
const SENTENCE_CHARS_MAX: usize = 300;

/// How freely a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It may quote the user's own text, so only its beginning counts.
    Beginning,
    /// It speaks of the account.
    Anywhere,
}

/// Whether the message says that the money is gone.
pub fn message_says_money(error: &ErrorText, reading: Reading) -> bool {
    let Some(message) = error.message.as_deref() else { return false };
    let message: String =
        message.trim_start().chars().take(SENTENCE_CHARS_MAX).map(|c| c.to_ascii_lowercase()).collect();
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    let says = MONEY_BEGINNINGS.iter().any(|beginning| message.starts_with(beginning))
        || (reading == Reading::Anywhere && has(MONEY_PARTS));
    says && !has(WAIT_PARTS)
}

/// Whether the message says that there is no such model: Anthropic's `model: NAME`, OpenAI's
/// ``The model `NAME` does not exist``.
pub fn message_says_unknown_model(error: &ErrorText) -> bool {
    let Some(message) = error.message.as_deref() else { return false };
    let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    if let Some(name) = message.strip_prefix("model: ") {
        return is_name(name) && error.kind.as_deref() == Some("not_found_error");
    }
    let Some(rest) = message.strip_prefix("The model ") else { return false };
    let quoted = rest.strip_prefix(['`', '\'', '"']).and_then(|rest| rest.split_once(['`', '\'', '"']));
    quoted.is_some_and(|(name, rest)| is_name(name) && rest.starts_with(" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(kind: Option<&str>, message: &str) -> ErrorText {
        ErrorText { kind: kind.map(str::to_owned), code: None, message: Some(message.to_owned()) }
    }

    #[test]
    fn a_code_says_more_than_a_type() {
        let named = |code: Option<&str>, kind: &str| {
            let code = code.map(str::to_owned);
            said_by_name(&ErrorText { code, kind: Some(kind.to_owned()), message: None })
        };
        assert_eq!(named(Some("insufficient_quota"), "invalid_request_error"), Some(Said::Money));
        assert_eq!(named(Some("workspace_spend_limit_exceeded"), "rate_limit_error"), Some(Said::Money));
        assert_eq!(named(Some("context_length_exceeded"), "invalid_request_error"), Some(Said::Request));
        assert_eq!(named(Some("model_not_found"), "invalid_request_error"), Some(Said::UnknownModel));
        assert_eq!(named(Some("rate_limit_exceeded"), "insufficient_quota"), Some(Said::Wait));
        assert_eq!(named(Some("invalid_request_error"), "billing_error"), Some(Said::Money));
        assert_eq!(named(Some("odd"), "odd"), None);
    }

    #[test]
    fn sentences_about_money_are_known_by_their_beginning() {
        for message in [
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            "You exceeded your current quota, please check your plan and billing details.",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
            "Billing hard limit has been reached",
            "Insufficient Balance",
        ] {
            assert!(message_says_money(&saying(None, message), Reading::Beginning), "{message}");
        }
    }

    #[test]
    fn a_quoted_text_about_money_is_no_word_about_money() {
        for message in [
            "messages.0.content: 'Your credit balance is too low' is not a valid block",
            "messages: text content blocks must be non-empty; got \"you exceeded your current quota\"",
        ] {
            assert!(!message_says_money(&saying(None, message), Reading::Beginning), "{message}");
        }
    }

    #[test]
    fn a_quota_of_the_minute_is_no_money() {
        for message in [
            "You exceeded your current quota. Quota exceeded for metric: requests per minute",
            "You exceeded your current quota, please retry in 26.1s.",
            "Quota exceeded per minute",
        ] {
            assert!(!message_says_money(&saying(None, message), Reading::Anywhere), "{message}");
        }
        let monthly = "This request would exceed your organization's monthly spend limit";
        assert!(message_says_money(&saying(None, monthly), Reading::Anywhere));
        assert!(!message_says_money(&saying(None, monthly), Reading::Beginning));
    }

    #[test]
    fn both_vendors_sentences_about_an_unknown_model_are_known() {
        let not_found = Some("not_found_error");
        assert!(message_says_unknown_model(&saying(not_found, "model: claude-none")));
        assert!(message_says_unknown_model(&saying(
            None,
            "The model `gpt-none` does not exist or you lack it."
        )));
        assert!(message_says_unknown_model(&saying(None, "The model 'gpt-none' does not exist")));
        for message in
            ["Not found", "model: ", "model: is a field", "The model is busy", "file: x", "model:x"]
        {
            assert!(!message_says_unknown_model(&saying(not_found, message)), "{message}");
        }
    }
}
