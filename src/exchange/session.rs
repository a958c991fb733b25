//! Which session a request is of: what its client says, else what its prompt begins with.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::json::{Elements, TopLevel, as_string};
use crate::cluster::SessionKey;
use crate::fields::Fields;

/// Claude Code's name for a session; its subagents send their parent's.
const CLAUDE_CODE_HEADER: &str = "x-claude-code-session-id";
/// Codex' name for a session; the second is how it was written up to 2025.
const CODEX_HEADERS: [&str; 2] = ["session-id", "session_id"];
/// A client's key, where a prompt is all that tells sessions apart.
const CREDENTIAL_HEADERS: [&str; 2] = ["x-api-key", "authorization"];
/// The longest `metadata` that is looked into; the API takes a `user_id` of 256 characters.
const METADATA_BYTES_MAX: usize = 4096;
/// Tells a prompt from a name.
const PROMPT_SEED: u64 = 1;
/// A line that Claude Code may put before its system prompt. It changes from request to request, so it
/// is no part of what they share.
static BILLING_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"x-anthropic-billing-header"));
/// How deep into the system prompt that line may begin.
const BILLING_LINE_WITHIN_BYTES: usize = 256;

/// The members of a request's body that tell its session, as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionClues<'a> {
    metadata: &'a [u8],
    prompt_cache_key: &'a [u8],
    /// Anthropic's `system`, OpenAI's `instructions`.
    system: &'a [u8],
    tools: &'a [u8],
    /// `messages`, or the `input` of OpenAI responses: the system prompt may be their beginning.
    turns: &'a [u8],
}

impl<'a> SessionClues<'a> {
    pub(super) fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"metadata" => self.metadata = value,
            b"prompt_cache_key" => self.prompt_cache_key = value,
            b"system" | b"instructions" => self.system = value,
            b"tools" => self.tools = value,
            b"messages" | b"input" => self.turns = value,
            _ => {}
        }
    }

    /// The session, by the first of: Claude Code's header, `metadata.user_id`, Codex' header,
    /// `prompt_cache_key`, the credential with the system prompt and the tools. None where there is none of
    /// these: such a request shares no beginning with others that a cache could keep.
    ///
    /// A name gives the same session wherever it stands, so that a request without the header goes with
    /// those that have it.
    pub fn session(&self, fields: &Fields) -> Option<SessionKey> {
        named_by(fields, CLAUDE_CODE_HEADER)
            .or_else(|| self.named_by_user_id())
            .or_else(|| CODEX_HEADERS.iter().find_map(|name| named_by(fields, name)))
            .or_else(|| named(text_of(self.prompt_cache_key)?.as_bytes()))
            .or_else(|| self.told_by_prompt(fields))
    }

    /// `{"session_id": …}` as a text, or as older clients write it, `user_…_account_…_session_…`.
    fn named_by_user_id(&self) -> Option<SessionKey> {
        if self.metadata.len() > METADATA_BYTES_MAX {
            return None;
        }
        let user_id = text_of(member(self.metadata, b"user_id")?)?;
        match text_of(member(user_id.as_bytes(), b"session_id").unwrap_or_default()) {
            Some(session) => named(session.as_bytes()),
            None => named(user_id.rsplit_once("_session_")?.1.as_bytes()),
        }
    }

    fn told_by_prompt(&self, fields: &Fields) -> Option<SessionKey> {
        let system = if is_blank(self.system) { &[] } else { without_billing_line(self.system) };
        let tools = if is_blank(self.tools) { &[] } else { self.tools };
        let mut turns = Elements::of(self.turns);
        let leading = std::iter::from_fn(|| turns.next_if(is_system_turn));
        let mut prompt = PROMPT_SEED;
        for part in [system].into_iter().chain(leading).chain([tools]).filter(|part| !part.is_empty()) {
            prompt = xxh3_64_with_seed(part, prompt);
        }
        if prompt == PROMPT_SEED {
            return None;
        }
        let credential = CREDENTIAL_HEADERS.iter().find_map(|name| fields.first(name));
        Some(SessionKey(xxh3_64_with_seed(credential.unwrap_or_default(), prompt)))
    }
}

fn named_by(fields: &Fields, header: &str) -> Option<SessionKey> {
    named(fields.first(header)?)
}

fn named(name: &[u8]) -> Option<SessionKey> {
    let name = name.trim_ascii();
    (!name.is_empty()).then(|| SessionKey(xxh3_64(name)))
}

fn member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    TopLevel::of(object).find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The text of a JSON string value, copied only where it holds escapes.
fn text_of(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inside @ .., b'"'] if memchr2(b'\\', b'"', inside).is_none() => {
            std::str::from_utf8(inside).ok().map(Cow::Borrowed)
        }
        _ => as_string(value).map(Cow::Owned),
    }
}

fn is_blank(value: &[u8]) -> bool {
    matches!(value, b"" | b"null" | b"\"\"" | b"[]" | b"{}")
}

/// Whether the turn that this text begins with is one.
fn is_system_turn(turn: &[u8]) -> bool {
    matches!(member(turn, b"role"), Some(br#""system""# | br#""developer""#))
}

/// What follows Claude Code's billing line, where the system prompt begins with one.
fn without_billing_line(system: &[u8]) -> &[u8] {
    let beginning = &system[..system.len().min(BILLING_LINE_WITHIN_BYTES)];
    let Some(at) = BILLING_LINE.find(beginning) else { return system };
    let mut rest = &system[at + 1..];
    // The line ends with its JSON string, or at an escaped line break.
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let is_end = rest[at] == b'"' || rest.get(at + 1) == Some(&b'n');
        rest = rest.get(at + 2..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
