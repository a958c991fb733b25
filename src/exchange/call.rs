//! Which call of which protocol a path is.

use crate::config::Protocol;
use crate::fields::Fields;

/// A call under `/v1/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Anthropic: `/v1/messages`.
    Messages,
    /// Anthropic: `/v1/messages/count_tokens`.
    CountTokens,
    /// OpenAI: `/v1/chat/completions`.
    ChatCompletions,
    /// OpenAI: `/v1/completions`.
    Completions,
    /// OpenAI: `/v1/responses`.
    Responses,
    /// OpenAI: `/v1/embeddings`.
    Embeddings,
    /// Both: `/v1/models` and below.
    Models,
    /// Anything else: it names things that live at one endpoint (files, batches, stored responses).
    Other,
}

impl Call {
    /// The call of this path, none outside `/v1/`.
    pub fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        Some(match rest {
            "messages" => Self::Messages,
            "messages/count_tokens" => Self::CountTokens,
            "chat/completions" => Self::ChatCompletions,
            "completions" => Self::Completions,
            "responses" => Self::Responses,
            "embeddings" => Self::Embeddings,
            "models" => Self::Models,
            _ if rest.starts_with("models/") => Self::Models,
            _ => Self::Other,
        })
    }

    /// The protocol of the call. `/v1/models` and what is under other names belong to both: there the
    /// headers that only one vendor's clients send tell.
    pub fn protocol(self, path: &str, fields: &Fields) -> Protocol {
        match self {
            Self::Messages | Self::CountTokens => Protocol::Anthropic,
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Embeddings => {
                Protocol::OpenAi
            }
            Self::Models | Self::Other => {
                let anthropic = fields.has("anthropic-version")
                    || fields.has("x-api-key")
                    || path.starts_with("/v1/messages/");
                if anthropic { Protocol::Anthropic } else { Protocol::OpenAi }
            }
        }
    }

    /// Whether the call makes the endpoint work, so that its outcome speaks for the endpoint's health.
    /// The others count by connection and authorisation only.
    pub fn speaks_for_health(self) -> bool {
        match self {
            Self::Messages
            | Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Embeddings => true,
            Self::CountTokens | Self::Models | Self::Other => false,
        }
    }

    /// Whether the model that the request names can be talked to, so that a check may do so.
    pub fn names_chat_model(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens | Self::ChatCompletions | Self::Responses)
    }

    /// Whether an endpoint keeps what it read of the prompt, so that the session's next request costs less
    /// there.
    pub fn warms_prompt_cache(self) -> bool {
        match self {
            Self::Messages | Self::ChatCompletions | Self::Completions | Self::Responses => true,
            Self::CountTokens | Self::Embeddings | Self::Models | Self::Other => false,
        }
    }

    /// Whether an answer of another endpoint serves as well.
    pub fn is_at_home_anywhere(self) -> bool {
        self != Self::Other
    }
}
