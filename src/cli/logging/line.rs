//! One log line: `2026-01-01T00:00:00.000000Z  WARN endpoint left service endpoint=main cause=auth`.
//!
//! Values come from upstreams, too: nothing in them reaches a terminal as a control character.

use std::fmt::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::output::{Ink, Screen, printable_json};
use crate::config::printable;

/// The form of a line.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    Text { has_colour: bool },
    Json,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let line = match *self {
            Self::Text { has_colour } => text(&time, level, target, &fields, has_colour),
            Self::Json => json(time, level, target, fields),
        };
        writeln!(writer, "{line}")
    }
}

fn text(time: &str, level: Level, target: &str, fields: &Fields, has_colour: bool) -> String {
    let screen = Screen { is_terminal: has_colour, has_colour, width: 0 };
    let level_ink = match level {
        Level::ERROR => Ink::Bad,
        Level::WARN => Ink::Warning,
        Level::INFO => Ink::Good,
        _ => Ink::Faint,
    };
    let level = screen.paint(level_ink, &format!("{level:>5}"));
    let mut line = format!("{} {level} ", screen.paint(Ink::Faint, time));
    // Whose line it is matters where it is a library's.
    if !target.starts_with("qcc") {
        line.push_str(&format!("{target}: "));
    }
    line.push_str(&printable(&fields.message));
    for (name, value) in &fields.others {
        let value = match value {
            Value::String(value) => word(value),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        line.push_str(&format!(" {}{value}", screen.paint(Ink::Faint, &format!("{name}="))));
    }
    line
}

/// A value in quotes, unless it is plainly one word.
fn word(value: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\' | '\'');
    let shown = printable(value);
    if !value.is_empty() && shown == value && value.chars().all(is_plain) {
        return shown;
    }
    // Backslashes of escapes that `printable` made stay as they are: only what was there is doubled.
    let quoted: Vec<String> = value.split('"').map(|part| printable(&part.replace('\\', "\\\\"))).collect();
    format!("\"{}\"", quoted.join("\\\""))
}

/// The members in the order in which a person reads them.
fn json(time: String, level: Level, target: &str, fields: Fields) -> String {
    let mut members = vec![
        ("timestamp", Value::String(time)),
        ("level", Value::String(level.to_string())),
        ("target", Value::String(target.to_owned())),
        ("message", Value::String(fields.message)),
    ];
    members.extend(fields.others);
    let members: Vec<String> =
        members.into_iter().map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    printable_json(&format!("{{{}}}", members.join(",")))
}

/// The fields of an event in the order of the call.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ => self.add(field, Value::from(value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => drop(write!(self.message, "{value:?}")),
            _ => self.add(field, Value::from(format!("{value:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_service() -> Fields {
        let others = vec![
            ("endpoint", Value::from("main")),
            ("cause", Value::from("auth")),
            ("epoch", Value::from(7)),
            ("error", Value::from("401 \u{1b}[2J\"no\"\nWARN forged \\")),
        ];
        Fields { message: "endpoint left service".to_owned(), others }
    }

    #[test]
    fn plain_words_stand_without_quotes_and_nothing_forges_a_line() {
        assert_eq!(
            text("T", Level::WARN, "qcc::cluster", &left_service(), false),
            "T  WARN endpoint left service endpoint=main cause=auth epoch=7 \
             error=\"401 \\u{1b}[2J\\\"no\\\"\\u{a}WARN forged \\\\\""
        );
    }

    #[test]
    fn a_library_is_named() {
        let fields = Fields { message: "hm".to_owned(), others: Vec::new() };
        assert_eq!(text("T", Level::DEBUG, "hyper::proto", &fields, false), "T DEBUG hyper::proto: hm");
    }

    #[test]
    fn a_json_line_is_one_object_on_one_line() {
        let line = json("T".to_owned(), Level::WARN, "qcc::cluster", left_service());
        assert!(!line.chars().any(char::is_control), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["epoch"]), (&Value::from("WARN"), &Value::from(7)));
        assert_eq!(value["error"], "401 \u{1b}[2J\"no\"\nWARN forged \\");
        assert_eq!(value["message"], "endpoint left service");
    }
}
