//! `qcc demo`: the race that qcc exists for, on this machine, without a key or a network.
//!
//! Four simulated endpoints and a real proxy on loopback ports. One endpoint refuses its key to the
//! first chat, in the middle of a hundred concurrent requests; what counts is what it receives
//! afterwards.

mod account;
mod endpoint;
mod load;
mod replies;
mod scene;
mod show;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::exit::{Exit, Failure};
use super::output::{self, Screen};
use crate::config::Environment;
use account::Account;
use scene::Scene;
use show::Show;

/// Requests of a wave, all at once.
const WAVE_REQUESTS: u32 = 100;
/// Between the waves, so that a person sees what the first one did.
const PAUSE: Duration = Duration::from_millis(400);
/// The whole demo takes a fraction of it.
const RUN_WITHIN: Duration = Duration::from_secs(19);

const OPENING: &str = "\
A proxy in front of four simulated endpoints, all on this machine:
  good       works
  dead-key   lists its models, but refuses every chat: its key is dead
  flaky      fails at first, and recovers
  relay      works, and is billed per request: it must never be checked
The promise: nothing is sent to an endpoint that is known to be down, and no client notices.

";

pub fn run(environment: &Environment) -> Result<Exit, Failure> {
    let screen = Screen::of_stdout(environment);
    // As many threads as a proxy has: the race is to be a real one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let played = runtime.block_on(async { timeout(RUN_WITHIN, play(screen)).await });
    let account =
        played.map_err(|_| Failure::failed(format!("the demo has not ended within {RUN_WITHIN:?}")))??;
    output::print(&account.text(screen))?;
    Ok(if account.is_kept() { Exit::Done } else { Exit::Failed })
}

async fn play(screen: Screen) -> Result<Account, Failure> {
    output::print(OPENING)?;
    let scene = Scene::set().await?;
    let mut show = Show::new(&scene, screen);
    let waves = [1..=WAVE_REQUESTS, WAVE_REQUESTS + 1..=2 * WAVE_REQUESTS];
    let mut outcomes = Vec::new();
    for (wave, name) in waves.into_iter().zip(["first wave", "second wave"]) {
        let caption = format!("{name}: {WAVE_REQUESTS} requests at once, a third of them streams");
        outcomes.extend(show.during(&caption, load::wave(&scene.entrance, wave)).await?);
        show.during(&caption, sleep(PAUSE)).await?;
    }
    show.during("waiting until flaky is back", scene.flaky_is_back()).await?;
    let account = Account::of(&scene, outcomes);
    scene.end().await;
    Ok(account)
}
