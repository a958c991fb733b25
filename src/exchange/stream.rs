//! What the events of a streamed answer mean: where its content begins, whether it ended.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::json::{TopLevel, as_string, as_text};
use super::sse::{Event, Splitter};
use super::{Call, ErrorText, INSPECTED_BYTES_MAX};

/// What the bytes so far have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing that a person would see.
    Waiting,
    /// Output has begun, or the answer ended properly without any.
    Content,
    /// An error event.
    Error(ErrorText),
}

/// Watches a stream go by.
#[derive(Debug)]
pub struct StreamWatch {
    call: Call,
    splitter: Splitter,
    has_content: bool,
    has_ended: bool,
    has_failed: bool,
}

/// Whether content has come: from then on no event is looked into for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Beginning,
    Content,
}

enum Meaning {
    Nothing,
    Content,
    End,
    Error(ErrorText),
}

impl StreamWatch {
    /// A watch over the answer to this call.
    pub fn new(call: Call) -> Self {
        let splitter = Splitter::new(INSPECTED_BYTES_MAX);
        Self { call, splitter, has_content: false, has_ended: false, has_failed: false }
    }

    /// Takes up bytes; gives what they show. What comes after an error or after the terminal event is no part
    /// of the answer, so that [`has_content`](Self::has_content) tells whether an error came after content,
    /// however the network cut the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Progress {
        let call = self.call;
        let (mut content, mut ended, mut error) = (self.has_content, self.has_ended, None);
        let had_failed = self.has_failed;
        self.splitter.push(bytes, |event| {
            if ended || had_failed || error.is_some() {
                return;
            }
            let phase = if content { Phase::Content } else { Phase::Beginning };
            match meaning(call, event, phase) {
                Meaning::Nothing => {}
                Meaning::Content => content = true,
                Meaning::End => (content, ended) = (true, true),
                Meaning::Error(text) => error = Some(text),
            }
        });
        self.has_content = content;
        self.has_ended = ended;
        self.has_failed |= error.is_some();
        match error {
            Some(error) => Progress::Error(error),
            None if self.has_content => Progress::Content,
            None => Progress::Waiting,
        }
    }

    /// Whether the end of the bytes is the end of the answer: its terminal event was seen. `[DONE]` says all that it has to say without the empty line that
    /// some relays leave out after it; any other event that was cut off was not an event.
    pub fn ends_here(self) -> bool {
        let by_done = matches!(self.call, Call::ChatCompletions | Call::Completions);
        self.has_ended || (by_done && self.splitter.unfinished() == b"[DONE]")
    }

    /// Whether the terminal event has come: the answer is complete, whatever becomes of the connection.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether output has begun.
    pub fn has_content(&self) -> bool {
        self.has_content
    }
}

fn meaning(call: Call, event: &Event<'_>, phase: Phase) -> Meaning {
    match call {
        Call::Messages => of_messages(event),
        Call::Responses => of_responses(event),
        Call::ChatCompletions | Call::Completions => of_chunks(event, phase),
        Call::CountTokens | Call::Embeddings | Call::Models | Call::Other => Meaning::Content,
    }
}

/// The type stands in the event's name and, in the data, in the member `type`; relays drop the first, or
/// write what a nameless event is called (WHATWG HTML §9.2.6).
fn type_of<'a>(event: &'a Event<'_>) -> Option<Cow<'a, [u8]>> {
    if !event.name.is_empty() && *event.name != *b"message" {
        return Some(Cow::Borrowed(&event.name));
    }
    if let Some(late_type) = &event.late_type {
        return Some(Cow::Borrowed(late_type));
    }
    let (_, value) = TopLevel::of(&event.data).find(|(name, _)| *name == b"type")?;
    Some(match as_text(value)? {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

fn of_messages(event: &Event<'_>) -> Meaning {
    match type_of(event).as_deref() {
        Some(b"content_block_delta") => Meaning::Content,
        Some(b"message_stop") => Meaning::End,
        Some(b"error") => Meaning::Error(ErrorText::of(&event.data).unwrap_or_default()),
        _ => Meaning::Nothing,
    }
}

fn of_responses(event: &Event<'_>) -> Meaning {
    match type_of(event).as_deref() {
        Some(b"response.completed" | b"response.incomplete") => Meaning::End,
        Some(b"response.failed") => Meaning::Error(failed_response(&event.data)),
        Some(b"error") => Meaning::Error(stated_error(&event.data)),
        Some(kind) if is_delta(kind) => Meaning::Content,
        _ => Meaning::Nothing,
    }
}

fn is_delta(kind: &[u8]) -> bool {
    kind.starts_with(b"response.") && kind.ends_with(b".delta") && std::str::from_utf8(kind).is_ok()
}

/// `{"type":"response.failed","response":{…,"error":{"code","message"}}}`
fn failed_response(data: &[u8]) -> ErrorText {
    let response = TopLevel::of(data).find(|(name, _)| *name == b"response");
    response.and_then(|(_, response)| ErrorText::of(response)).unwrap_or_default()
}

/// `{"type":"error","code":…,"message":…}`, or with the error in a member of its own.
fn stated_error(data: &[u8]) -> ErrorText {
    ErrorText::of(data).unwrap_or_else(|| {
        let mut found = ErrorText::default();
        for (name, value) in TopLevel::of(data) {
            match name {
                b"code" => found.code = as_string(value),
                b"message" => found.message = as_string(value),
                _ => {}
            }
        }
        found
    })
}

/// How the member is written, at the top level or not.
static ERROR_NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"error\""));

fn of_chunks(event: &Event<'_>, phase: Phase) -> Meaning {
    if *event.data == *b"[DONE]" {
        return Meaning::End;
    }
    // Of what follows content only an error is looked for, and few events name one anywhere.
    if phase == Phase::Content && ERROR_NAME.find(&event.data).is_none() {
        return Meaning::Nothing;
    }
    let mut choices = None;
    for (name, value) in TopLevel::of(&event.data) {
        match name {
            b"error" => {
                if let Some(error) = ErrorText::of(&event.data) {
                    return Meaning::Error(error);
                }
            }
            b"choices" => choices = Some(value),
            _ => {}
        }
    }
    let has_output = phase == Phase::Beginning && choices.is_some_and(has_output);
    if has_output { Meaning::Content } else { Meaning::Nothing }
}

/// Whether a chunk's choices carry output: `delta` with anything in it but a role, or `text`.
fn has_output(choices: &[u8]) -> bool {
    let Ok(choices) = serde_json::from_slice::<Vec<serde_json::Value>>(choices) else {
        // Cut off at the limit: a chunk of that size is output.
        return choices.len() >= INSPECTED_BYTES_MAX / 2;
    };
    choices.iter().any(|choice| {
        let text = choice.get("text").is_some_and(is_filled);
        let delta = choice.get("delta").and_then(serde_json::Value::as_object);
        text || delta
            .is_some_and(|delta| delta.iter().any(|(name, value)| name != "role" && is_filled(value)))
    })
}

fn is_filled(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::String(text) => !text.is_empty(),
        serde_json::Value::Array(items) => !items.is_empty(),
        serde_json::Value::Object(members) => !members.is_empty(),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(call: Call, parts: &[&str]) -> (Vec<Progress>, bool) {
        let mut watch = StreamWatch::new(call);
        let progress = parts.iter().map(|part| watch.push(part.as_bytes())).collect();
        (progress, watch.ends_here())
    }

    #[test]
    fn the_content_of_a_message_begins_with_its_first_delta() {
        let parts = [
            "event: message_start\ndata: {\"type\":\"message_start\"}\n\n",
            "event: content_block_start\ndata: {}\n\nevent: ping\ndata: {}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n",
            "event: message_stop\ndata: {}\n\n",
        ];
        let (progress, ended) = watch(Call::Messages, &parts);
        assert_eq!(progress, [Progress::Waiting, Progress::Waiting, Progress::Content, Progress::Content]);
        assert!(ended);
    }

    #[test]
    fn an_error_event_before_content_is_read() {
        let event = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
        let (progress, ended) = watch(Call::Messages, &[event]);
        assert!(
            matches!(&progress[0], Progress::Error(error) if error.kind.as_deref() == Some("overloaded_error"))
        );
        assert!(!ended);
    }

    #[test]
    fn a_chat_chunk_with_only_a_role_is_no_content() {
        let parts = [
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n",
            "data: [DONE]\n\n",
        ];
        let (progress, ended) = watch(Call::ChatCompletions, &parts);
        assert_eq!(progress, [Progress::Waiting, Progress::Content, Progress::Content]);
        assert!(ended);
    }

    #[test]
    fn a_failed_response_carries_its_code() {
        let event = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_is_overloaded\"}}}\n\n";
        let (progress, _) = watch(Call::Responses, &[event]);
        assert!(
            matches!(&progress[0], Progress::Error(error) if error.code.as_deref() == Some("server_is_overloaded"))
        );
    }

    #[test]
    fn a_last_done_needs_no_empty_line_after_it_and_a_message_stop_does() {
        let ends = |call, text: &str| {
            let mut watch = StreamWatch::new(call);
            let _ = watch.push(text.as_bytes());
            watch.ends_here()
        };
        assert!(ends(Call::ChatCompletions, "data: {}\n\ndata: [DONE]"));
        assert!(ends(Call::ChatCompletions, "data: {}\n\ndata: [DONE]\n"));
        assert!(!ends(Call::ChatCompletions, "data: {}\n\ndata: [DON"));
        assert!(!ends(Call::Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n"));
    }

    #[test]
    fn of_events_in_one_piece_an_error_counts_after_content_and_not_after_the_end() {
        let watched = |parts: &[&str]| {
            let mut watch = StreamWatch::new(Call::ChatCompletions);
            let progress = watch.push(parts.concat().as_bytes());
            (matches!(progress, Progress::Error(_)), watch.has_content())
        };
        let content = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
        let (error, done) = ("data: {\"error\":{\"code\":\"slow_down\"}}\n\n", "data: [DONE]\n\n");
        assert_eq!(watched(&[content, error]), (true, true));
        assert_eq!(watched(&[error, content, done]), (true, false));
        assert_eq!(watched(&[content, done, error]), (false, true));
    }

    #[test]
    fn a_stream_without_its_last_event_has_not_ended() {
        let parts = ["event: content_block_delta\ndata: {}\n\n", "event: message_delta\ndata: {}\n\n"];
        assert!(!watch(Call::Messages, &parts).1);
    }

    #[test]
    fn a_response_that_ended_without_output_ended_properly() {
        for end in ["response.completed", "response.incomplete"] {
            let event = format!("event: {end}\ndata: {{\"type\":\"{end}\"}}\n\n");
            let created = "event: response.created\ndata: {}\n\n";
            let (progress, ended) = watch(Call::Responses, &[created, &event]);
            assert_eq!((progress, ended), (vec![Progress::Waiting, Progress::Content], true), "{end}");
        }
    }

    #[test]
    fn the_type_of_an_event_without_a_name_is_found_wherever_it_stands() {
        let long = "x".repeat(2 * INSPECTED_BYTES_MAX);
        for padding in ["", "short", &long] {
            for name in ["", "event: message\n"] {
                let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";
                let last = format!(
                    "{name}data: {{\"response\":{{\"output\":\"{padding}\"}},\"type\":\"response.completed\"}}\n\n"
                );
                assert!(watch(Call::Responses, &[delta, &last]).1, "{} bytes before it", padding.len());
            }
        }
    }

    #[test]
    fn an_error_after_content_is_read_in_full() {
        let padding = "x".repeat(1000);
        let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        let error =
            format!("data: {{\"error\":{{\"message\":\"{padding}\",\"code\":\"insufficient_quota\"}}}}\n\n");
        let (progress, _) = watch(Call::ChatCompletions, &[delta, &error]);
        assert!(
            matches!(&progress[1], Progress::Error(error) if error.code.as_deref() == Some("insufficient_quota"))
        );
    }

    proptest::proptest! {
        #[test]
        fn where_a_stream_is_cut_changes_nothing_of_what_it_means(
            call in proptest::sample::select(vec![Call::Messages, Call::ChatCompletions, Call::Responses]),
            events in proptest::collection::vec(proptest::sample::select(EVENTS.to_vec()), 0..6),
            chunk in 1usize..40,
        ) {
            let stream = events.concat();
            let meaning = |chunks: &mut dyn Iterator<Item = &[u8]>| {
                let (mut watch, mut error) = (StreamWatch::new(call), None);
                for chunk in chunks {
                    if let Progress::Error(text) = watch.push(chunk) {
                        error.get_or_insert(text);
                    }
                }
                (watch.has_content(), error, watch.ends_here())
            };
            let whole = meaning(&mut std::iter::once(stream.as_bytes()));
            assert_eq!(meaning(&mut stream.as_bytes().chunks(chunk)), whole);
        }
    }

    const EVENTS: [&str; 9] = [
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n",
        "event: message_stop\ndata: {}\r\n\r\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n",
        "data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\n",
        "data: [DONE]\n\n",
        "data: {\"type\":\"response.completed\"}\n\n",
        "data: {\"type\":\"response.output_text.delta\"}\n\n: ping\n\n",
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_is_overloaded\"}}}\r\r",
    ];
}
