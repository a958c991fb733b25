//! The program's log lines: each change of state is seen in the moment in which it is told.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::world;

/// Hands lines to the run of the thread that they are written on.
pub struct Listener;

#[derive(Default)]
struct Line {
    message: String,
    endpoint: String,
    from: String,
    to: String,
    epoch: u64,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "endpoint" => self.endpoint = value.to_owned(),
            "from" => self.from = value.to_owned(),
            "to" => self.to = value.to_owned(),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "epoch" {
            self.epoch = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = || format!("{value:?}").trim_matches('"').to_owned();
        match field.name() {
            "message" => self.message = text(),
            "endpoint" => self.endpoint = text(),
            "from" => self.from = text(),
            "to" => self.to = text(),
            _ => {}
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("qcc") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        world::with_if_any(|state| match line.to.is_empty() {
            true => state.trace(format_args!("log: {} {}", line.message, line.endpoint)),
            false => state.note_record(&line.endpoint, &line.from, &line.to, line.epoch as u32),
        });
    }
}
