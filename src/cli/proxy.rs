//! `qcc proxy`

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::args::{StartArgs, Which};
use super::client::Control;
use super::exit::{Exit, Failure};
use super::{block_on, find, output};
use crate::app::{self, StartOptions};
use crate::config::Environment;

/// What still runs on a thread when the proxy has stopped, a look-up of a name or a secret's command, is not waited
/// for; what can be dropped is given the time for it.
const LEFTOVERS_WITHIN: Duration = Duration::from_millis(100);
/// How long a stop is waited for. Longer than most `drain_timeout`s, and the proxy stops without us.
const STOP_WAIT_MAX: Duration = Duration::from_secs(120);
/// A stop that takes longer is remarked upon.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
const STOP_LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn start(start: StartArgs, config: Option<PathBuf>, environment: &Environment) -> Result<Exit, Failure> {
    let options = StartOptions { config, cluster: start.which.cluster, listen: start.listen };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let ended = runtime.block_on(app::run(options, environment.clone()));
    runtime.shutdown_timeout(LEFTOVERS_WITHIN);
    ended.map_err(
        |error| {
            if error.is_configuration() { Failure::usage(error) } else { Failure::failed(error) }
        },
    )?;
    Ok(Exit::Done)
}

pub fn stop(which: &Which, config: Option<&Path>, environment: &Environment) -> Result<Exit, Failure> {
    block_on(async {
        let control = find::proxy(which, config, environment).await?;
        control.command("/stop").await?;
        if timeout(STOP_PATIENCE, gone(&control)).await.is_err() {
            output::tell("qcc: waiting for running exchanges to finish");
            timeout(STOP_WAIT_MAX, gone(&control)).await.map_err(|_| {
                Failure::failed(format!(
                    "the proxy of cluster {} still drains after {STOP_WAIT_MAX:?}; it stops by itself within its \
                     drain_timeout",
                    control.cluster
                ))
            })?;
        }
        output::print(&format!("the proxy of cluster {} has stopped\n", control.cluster))?;
        Ok(Exit::Done)
    })?
}

async fn gone(control: &Control) {
    while control.is_served().await {
        sleep(STOP_LOOK_EVERY).await;
    }
}
