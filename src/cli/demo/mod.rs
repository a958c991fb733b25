use crate::cli::exit::{Exit, Failure};
use crate::config::Environment;
pub fn run(_: &Environment) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
