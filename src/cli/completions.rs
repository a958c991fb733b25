//! `qcc completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{Exit, Failure};
use super::output;

pub fn run(shell: Shell) -> Result<Exit, Failure> {
    // Into memory first: clap_complete panics where its output fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "qcc", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
