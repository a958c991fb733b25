//! `qcc status`

use std::path::Path;
use std::time::Duration;

use tokio::signal;
use tokio::time::sleep;

use super::args::StatusArgs;
use super::client::Control;
use super::exit::{Exit, Failure};
use super::output::{Reader, Screen};
use super::{block_on, find, output, table};
use crate::admin::StatusDocument;
use crate::clock::Clock;
use crate::config::Environment;

/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub fn run(asked: &StatusArgs, config: Option<&Path>, environment: &Environment) -> Result<Exit, Failure> {
    block_on(async {
        let control = find::proxy(&asked.which, config, environment).await?;
        let view = View { is_json: asked.json, is_watch: asked.watch, environment };
        if asked.watch { watch(&control, &view).await } else { once(&control, &view).await }
    })?
}

/// How the document is to be shown.
struct View<'a> {
    is_json: bool,
    is_watch: bool,
    environment: &'a Environment,
}

async fn once(control: &Control, view: &View<'_>) -> Result<Exit, Failure> {
    let status = control.status().await?;
    output::print(&view.text(&status)?)?;
    Ok(Exit::of_usable(status.usable, status.endpoints.len()))
}

/// Until Ctrl-C, which is how it is meant to end, or until nobody reads on.
async fn watch(control: &Control, view: &View<'_>) -> Result<Exit, Failure> {
    let looking = async {
        loop {
            let status = control.status().await?;
            if output::print(&view.frame(&view.text(&status)?))? == Reader::Gone {
                return Ok(Exit::Done);
            }
            sleep(WATCH_EVERY).await;
        }
    };
    tokio::select! {
        ended = looking => ended,
        _ = signal::ctrl_c() => Ok(Exit::Done),
    }
}

impl View<'_> {
    fn text(&self, status: &StatusDocument) -> Result<String, Failure> {
        if self.is_json {
            return self.json(status);
        }
        // The width may change while it is watched.
        let screen = Screen::of_stdout(self.environment);
        Ok(table::of_status(status, Clock::start().shown_now(), screen))
    }

    /// A document for people and programs; watched, one a line.
    fn json(&self, status: &StatusDocument) -> Result<String, Failure> {
        let json =
            if self.is_watch { serde_json::to_string(status) } else { serde_json::to_string_pretty(status) };
        let json = json.map_err(|error| Failure::failed(format!("no JSON: {error}")))?;
        Ok(output::printable_json(&json) + "\n")
    }

    /// What is written for one look of several: over the last one on a terminal, below it elsewhere.
    fn frame(&self, text: &str) -> String {
        match (self.is_json, Screen::of_stdout(self.environment).is_terminal) {
            (true, _) => text.to_owned(),
            (false, true) => format!("\x1b[H\x1b[2J{text}"),
            (false, false) => format!("{text}\n"),
        }
    }
}
