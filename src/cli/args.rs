//! The arguments, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use qcc_fsm::CheckMethod;

use super::logging::LogFormat;

const EXAMPLES: &str = "\
Examples:
  qcc demo                          see it work, without a key or a network
  qcc config init                   write a first configuration, then edit it
  qcc check                         ask every endpoint once
  qcc proxy start --cluster work    serve, in the foreground
  qcc status --watch                look at it from another terminal

Exit codes: 0 done, 1 failed, 2 usage or configuration error; of status and check also
3 some endpoint is not usable, 4 none is; 5 no proxy runs.";

const START_EXAMPLES: &str = "\
Examples:
  qcc proxy start --cluster work
  qcc proxy start --cluster work --listen 127.0.0.1:9000
  QCC_LOG=debug qcc proxy start --cluster work --log-format json

SIGTERM and SIGINT let running exchanges finish (drain_timeout); a second one ends at once.
SIGHUP reads the configuration again.";

const STATUS_EXAMPLES: &str = "\
Examples:
  qcc status
  qcc status --watch
  qcc status --json | jq '.endpoints[] | select(.usable | not) | .name'";

const CHECK_EXAMPLES: &str = "\
Examples:
  qcc check
  qcc check main --method chat
  qcc check --cluster work --json

Endpoints that are billed per request are never checked, and count as usable.";

const ENDPOINT_EXAMPLES: &str = "\
Examples:
  qcc endpoint drain main       send nothing new there
  qcc endpoint enable main      take it back into use
  qcc endpoint recheck relay    don't wait for its next check";

const CONFIG_EXAMPLES: &str = "\
Examples:
  qcc config init
  qcc config check --config ./qcc.toml
  $EDITOR \"$(qcc config path)\"";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  qcc completions bash > ~/.local/share/bash-completion/completions/qcc
  qcc completions zsh > ~/.zfunc/_qcc
  qcc completions fish > ~/.config/fish/completions/qcc.fish";

/// A proxy in front of a cluster of LLM API endpoints that sends nothing to an endpoint known to be down.
#[derive(Debug, Parser)]
#[command(name = "qcc", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file [default: $QCC_CONFIG, else qcc/config.toml under $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How log lines are written to stderr; their level comes from QCC_LOG
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start or stop the proxy of a cluster
    Proxy {
        #[command(subcommand)]
        command: ProxyCommand,
    },
    /// Show the endpoints of a running proxy
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Check the endpoints once; needs no proxy
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Take an endpoint of a running proxy out of use, or back
    #[command(after_help = ENDPOINT_EXAMPLES)]
    Endpoint {
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// Write, check or find the configuration
    #[command(after_help = CONFIG_EXAMPLES)]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions { shell: Shell },
    /// Watch a proxy keep its promise among simulated endpoints; needs no key and no network
    Demo,
}

#[derive(Debug, Subcommand)]
pub enum ProxyCommand {
    /// Serve a cluster in the foreground
    #[command(after_help = START_EXAMPLES)]
    Start(StartArgs),
    /// Stop a running proxy once its running exchanges have finished
    Stop(Which),
}

#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub which: Which,

    /// Listen here instead of where the file says
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// The cluster that a command is about.
#[derive(Debug, Args)]
pub struct Which {
    /// The cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub which: Which,

    /// Print the status document
    #[arg(long)]
    pub json: bool,

    /// Show it anew every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub which: Which,

    /// Only this endpoint
    #[arg(value_parser = name)]
    pub endpoint: Option<String>,

    /// How to check; chat costs a few tokens [default: model-list]
    #[arg(long, value_enum)]
    pub method: Option<Method>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    ModelList,
    Chat,
    Network,
}

impl From<Method> for CheckMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::ModelList => Self::ModelList,
            Method::Chat => Self::Chat,
            Method::Network => Self::Network,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// Send nothing new there; what runs may finish
    Drain(Target),
    /// Take it back into use
    Enable(Target),
    /// Take it out of use
    Disable(Target),
    /// Forget what is known of its health, rate limits included
    Reset(Target),
    /// Check it now instead of at its next deadline
    Recheck(Target),
}

#[derive(Debug, Args)]
pub struct Target {
    /// The endpoint
    #[arg(value_parser = name)]
    pub name: String,

    #[command(flatten)]
    pub which: Which,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a first configuration file
    Init,
    /// Check the whole file, its secrets included
    Check,
    /// Print where the file is
    Path,
}

/// A name goes into the path of a socket and into a URL: what the configuration doesn't allow is not
/// taken here either.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text.as_bytes() {
        [first, ..] if first.is_ascii_alphanumeric() && text.len() <= 64 && text.bytes().all(is_plain) => {
            Ok(text.to_owned())
        }
        _ => Err("a name is 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or a digit".to_owned()),
    }
}

#[cfg(test)]
mod tests;
