//! The command line: what was asked for, one file a command, and the exit code.

mod args;
mod check;
mod client;
mod completions;
mod config;
mod demo;
mod endpoint;
mod exit;
mod find;
mod logging;
mod output;
mod panics;
mod proxy;
mod status;
mod table;

use std::process::ExitCode;

use clap::Parser;
use tracing::warn;

use crate::config::Environment;
use crate::process;
use args::{Cli, Command, ProxyCommand};
use exit::{Exit, Failure};
use logging::Verbosity;

/// Does what the process's arguments say.
pub fn run() -> ExitCode {
    panics::tell_of_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Who closed the pipe does not want to read the help.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    match carry_out(cli, &Environment::from_process()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::tell(&format!("qcc: {}", failure.message));
            failure.exit.into()
        }
    }
}

fn carry_out(cli: Cli, environment: &Environment) -> Result<Exit, Failure> {
    let Cli { config, log_format, command } = cli;
    let _written_at_the_end = logging::start(log_format, verbosity(&command), environment)?;
    if let Err(error) = process::keep_memory_private() {
        warn!(%error, "core dumps can't be turned off; keys in memory may come to stand in one");
    }
    let file = config.as_deref();
    match command {
        Command::Proxy { command: ProxyCommand::Start(start) } => proxy::start(start, config, environment),
        Command::Proxy { command: ProxyCommand::Stop(which) } => proxy::stop(&which, file, environment),
        Command::Status(asked) => status::run(&asked, file, environment),
        Command::Check(asked) => check::run(&asked, file, environment),
        Command::Endpoint { command } => endpoint::run(&command, file, environment),
        Command::Config { command } => config::run(command, file, environment),
        Command::Completions { shell } => completions::run(shell),
        Command::Demo => demo::run(environment),
    }
}

/// How much a command says of itself where `QCC_LOG` doesn't tell.
fn verbosity(command: &Command) -> Verbosity {
    match command {
        Command::Proxy { command: ProxyCommand::Start(_) } => Verbosity::Info,
        // What they find out is what they print; log lines would say it twice.
        Command::Check(_) | Command::Demo => Verbosity::Off,
        Command::Proxy { command: ProxyCommand::Stop(_) }
        | Command::Status(_)
        | Command::Endpoint { .. }
        | Command::Config { .. }
        | Command::Completions { .. } => Verbosity::Warn,
    }
}

/// Runs a command that waits for something on a runtime of its own.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?.block_on(future))
}
