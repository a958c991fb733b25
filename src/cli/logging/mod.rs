//! Log lines to stderr.

mod filter;
mod line;
mod writer;

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::exit::Failure;
use crate::config::{Environment, printable};
use line::Line;
use writer::{Flush, Lines};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    Off,
    Warn,
    Info,
}

/// Starts writing log lines; `QCC_LOG` wins over `verbosity`. What is given is to be dropped at the end.
pub fn start(format: LogFormat, verbosity: Verbosity, environment: &Environment) -> Result<Flush, Failure> {
    let filter = match environment.log_filter() {
        Some(text) => filter::parse(text).map_err(|why| {
            Failure::usage(format!(
                "QCC_LOG: {}\n  give a level (error, warn, info, debug, trace or off), or levels by module as in \
                 `info,qcc::prober=debug,hyper=debug`",
                printable(&why)
            ))
        })?,
        None => filter::of_qcc(match verbosity {
            Verbosity::Off => tracing::level_filters::LevelFilter::OFF,
            Verbosity::Warn => tracing::level_filters::LevelFilter::WARN,
            Verbosity::Info => tracing::level_filters::LevelFilter::INFO,
        }),
    };
    let line = match format {
        LogFormat::Text => Line::Text { has_colour: io::stderr().is_terminal() && !environment.no_color() },
        LogFormat::Json => Line::Json,
    };
    let written = Lines::to(io::stderr()).map_err(|error| {
        Failure::failed(format!("the thread that writes the log can't be started: {error}"))
    })?;
    let flush = Flush(written.clone());
    let lines = fmt::layer()
        .event_format(line)
        .with_writer(move || written.clone())
        // It would tell stderr that stderr is closed, and panic over it.
        .log_internal_errors(false)
        .with_filter(filter);
    tracing::subscriber::set_global_default(Registry::default().with(lines)).map_err(Failure::failed)?;
    Ok(flush)
}
