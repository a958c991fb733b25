//! `qcc endpoint`

use std::path::Path;

use super::args::EndpointCommand;
use super::exit::{Exit, Failure};
use super::{block_on, find, output};
use crate::config::{Environment, printable};

pub fn run(
    command: &EndpointCommand,
    config: Option<&Path>,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let (target, word) = match command {
        EndpointCommand::Drain(target) => (target, "drain"),
        EndpointCommand::Enable(target) => (target, "enable"),
        EndpointCommand::Disable(target) => (target, "disable"),
        EndpointCommand::Reset(target) => (target, "reset"),
        EndpointCommand::Recheck(target) => (target, "recheck"),
    };
    let path = format!("/endpoints/{}/{word}", target.name);
    let said = block_on(async {
        let control = find::proxy(&target.which, config, environment).await?;
        control.command(&path).await
    })??;
    output::print(&format!("{}\n", printable(&said)))?;
    Ok(Exit::Done)
}
