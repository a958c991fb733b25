//! A run: a cluster, its upstreams, clients and an operator, all drawn from one seed, on one simulated clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http_body_util::BodyExt;
use hyper::{Method, Request};
use jiff::Timestamp;
use qcc::admin::{Admin, StatusDocument};
use qcc::clock::Clock;
use qcc::cluster::{Attempt, Cluster};
use qcc::config::{ClusterSettings, Environment, parse_str};
use qcc::prober;
use qcc::proxy::Proxy;
use qcc_fsm::{Admin as Will, State as Health};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::answers::Ask;
use crate::client::{self, Door, Errand, Leaves};
use crate::dial::World;
use crate::mood::{Mood, Plan};
use crate::scene::{Scene, Shape};
use crate::world::{self, Outcome, Place};

/// Longer than any request can take here.
const REQUESTS_WITHIN: Duration = Duration::from_secs(300);

/// Less than a trial's pause, so that no change of the word goes unseen.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the wall clock shows at the beginning, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Wall(pub i64);

/// Runs the world of this seed to its end.
pub fn run(seed: u64, shape: Shape, wall: Wall) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let outcome = runtime.block_on(async move {
        let dice = Rng::with_seed(seed ^ 0x5eed);
        Run::begin(dice, shape, wall).await.play().await
    });
    drop(runtime);
    outcome
}

struct Run {
    dice: Rng,
    scene: Scene,
    cluster: Arc<Cluster>,
    admin: Admin,
    door: Door,
    clients: JoinSet<()>,
    prober: JoinHandle<()>,
    watcher: JoinHandle<()>,
}

impl Run {
    async fn begin(mut dice: Rng, shape: Shape, wall: Wall) -> Self {
        let shown = Timestamp::from_second(wall.0).expect("in range");
        let clock = Clock::showing(shown);
        let scene = Scene::draw(&mut dice, shape);
        world::begin(dice.fork(), scene.rules(), clock);
        add_places(&scene);
        let cluster = Cluster::over(Arc::new(World), settings(&scene), clock).expect("a valid cluster");
        list(&cluster);
        let (stop, stopped) = watch::channel(false);
        let admin = Admin { cluster: cluster.clone(), listen: "sim".to_owned(), started_at: shown, stop };
        let door = Door { proxy: Proxy::new(cluster.clone()), stop: stopped.clone() };
        prober::start_round(&cluster).await;
        let prober = prober::spawn(cluster.clone(), stopped);
        let watcher = tokio::spawn(watch());
        let clients = scene.errands(&mut dice).into_iter();
        let clients = clients.map(|errands| client::run(door.clone(), errands)).collect();
        Self { dice, scene, cluster, admin, door, clients, prober, watcher }
    }

    async fn play(mut self) -> Outcome {
        let over = Instant::now() + self.scene.lasts;
        while Instant::now() < over {
            sleep(Duration::from_millis(self.dice.u64(50..3_000))).await;
            self.something_happens().await;
            look();
        }
        self.faults_stop().await;
        self.everything_comes_back().await;
        self.nothing_is_left().await;
        world::end()
    }

    async fn something_happens(&mut self) {
        match self.dice.u8(..20) {
            0..=11 => self.a_mood_changes(),
            12 => self.a_network_changes(),
            // A trial whose holder is gone without a word.
            18 => self.a_holder_vanishes(),
            13..=15 if self.scene.has_operator => self.operator_acts(),
            16..=17 if self.scene.has_reloads => self.reload(),
            _ => self.status_is_asked().await,
        }
    }

    fn a_mood_changes(&mut self) {
        let place = self.dice.usize(..self.scene.endpoints.len());
        let mood = match self.scene.shape {
            Shape::Usual => Mood::draw(&mut self.dice),
            Shape::Storm => Mood::Flaky(self.dice.u8(60..100), Plan::ServerError(500)),
        };
        let name = self.scene.endpoints[place].name.clone();
        world::with(|state| {
            let Some(place) = state.place_named(&name) else { return };
            state.trace(format_args!("mood: {name} {mood:?}"));
            state.places[place].mood = mood;
        });
    }

    fn a_network_changes(&mut self) {
        let (latency, idle) = (self.dice.u64(1..80), self.dice.u64(100..20_000));
        let closes = self.dice.bool().then(|| Duration::from_millis(idle));
        let place = self.dice.usize(..self.scene.endpoints.len());
        let name = self.scene.endpoints[place].name.clone();
        world::with(|state| {
            let Some(place) = state.place_named(&name) else { return };
            state.trace(format_args!("network: {name} {latency} ms, closes {closes:?}"));
            state.places[place].latency = Duration::from_millis(latency);
            state.places[place].closes_idle_after = closes;
        });
    }

    /// Claims what is due as the prober does, and never says what came of it: L2.
    fn a_holder_vanishes(&mut self) {
        let place = self.dice.usize(..self.scene.endpoints.len());
        let lease = Duration::from_millis(self.dice.u64(500..6_000));
        let name = self.scene.endpoints[place].name.clone();
        look();
        let endpoint = self.cluster.roster().named(&name).cloned().expect("it is listed");
        if let Some(attempt) = Attempt::trial_by_prober(&self.cluster, &endpoint, lease) {
            std::mem::forget(attempt);
            world::with(|state| state.trace(format_args!("leak: a trial of {name}")));
            look();
        }
    }

    fn operator_acts(&mut self) {
        let place = self.dice.usize(..self.scene.endpoints.len());
        let name = self.scene.endpoints[place].name.clone();
        let commands = ["drain", "disable", "enable", "enable", "enable", "reset", "recheck", "recheck"];
        let command = *self.dice.choice(&commands).expect("not empty");
        self.command(&name, command);
    }

    /// As `qcc endpoint` does it over the control socket.
    fn command(&self, name: &str, command: &str) {
        let being_reset = |is: bool| {
            world::with(|state| {
                state.look();
                let place = state.place_named(name);
                if let Some(seen) = place.and_then(|place| state.places[place].seen.as_mut()) {
                    seen.is_being_reset = is && command == "reset";
                }
            });
        };
        world::with(|state| state.trace(format_args!("operator: {command} {name}")));
        being_reset(true);
        let path = format!("/endpoints/{name}/{command}");
        let request = Request::builder().method(Method::POST).uri(path).body(()).expect("a request");
        let _ = self.admin.obey(&request);
        being_reset(false);
    }

    fn reload(&mut self) {
        let kept = self.scene.alter(&mut self.dice);
        add_places(&self.scene);
        self.take_up(&kept);
    }

    /// Endpoints named in `kept` keep their words, bit for bit.
    fn take_up(&mut self, kept: &[String]) {
        world::with(|state| state.trace(format_args!("reload: {:?} kept", kept)));
        let before = world::with(|state| {
            let places = kept.iter().filter_map(|name| state.place_named(name));
            let places: Vec<usize> = places.filter(|&place| state.places[place].seen.is_some()).collect();
            places.into_iter().map(|place| (place, state.word_of(place))).collect::<Vec<_>>()
        });
        self.cluster.reload(settings(&self.scene)).expect("a valid cluster");
        list(&self.cluster);
        world::with(|state| {
            let after: Vec<_> = before.iter().map(|&(place, _)| (place, state.word_of(place))).collect();
            if before != after {
                state.violated(format_args!("S11: a reload moved {before:?} to {after:?}"));
            }
            state.look();
        });
    }

    async fn status_is_asked(&self) {
        let request = Request::builder().uri("/status").body(()).expect("a request");
        let body = self.admin.obey(&request).into_body().collect().await.expect("a text").to_bytes();
        let document: StatusDocument = serde_json::from_slice(&body).expect("a status document");
        world::with(|state| {
            let now = state.clock.now();
            for shown in &document.endpoints {
                let Some(place) = state.place_named(&shown.name) else { continue };
                let Some(endpoint) = state.places[place].endpoint.clone() else { continue };
                let word = endpoint.health();
                let agrees = shown.usable == endpoint.is_usable(now)
                    && shown.state == word.state.as_str()
                    && shown.admin == word.admin.as_str()
                    && shown.epoch == word.epoch.get()
                    && shown.in_flight == endpoint.vitals.in_flight();
                if !agrees {
                    state.violated(format_args!("status: {shown:?} is {word:?}"));
                }
            }
            let usable = document.endpoints.iter().filter(|endpoint| endpoint.usable).count();
            state.trace(format_args!("status: {usable} usable"));
        });
    }

    /// All requests end, and leave nothing behind.
    async fn faults_stop(&mut self) {
        let ended = async { while self.clients.join_next().await.is_some() {} };
        let all_ended = timeout(REQUESTS_WITHIN, ended).await.is_ok();
        world::with(|state| {
            state.trace("calm: faults stop");
            state.is_calm = true;
            for place in &mut state.places {
                place.mood = Mood::Good;
                place.closes_idle_after = None;
            }
            let open = state.ledger.requests.iter().filter(|request| !request.is_done).count();
            if !all_ended || open > 0 {
                state.violated(format_args!("hangs: {open} requests have no end"));
            }
        });
        sleep(Duration::from_secs(1)).await;
        world::with(|state| {
            state.look();
            state.check_ledger();
            for number in state.open_exchanges() {
                if state.ledger.exchanges[number].request.is_some() {
                    state.violated(format_args!("orphan: x{number} is open and nobody waits"));
                }
            }
            let busy: Vec<String> = state
                .places
                .iter()
                .filter(|place| {
                    place.endpoint.as_ref().is_some_and(|endpoint| endpoint.vitals.in_flight() > 0)
                })
                .map(|place| place.name.clone())
                .collect();
            if !busy.is_empty() {
                state.violated(format_args!("in_flight: {busy:?} have requests, and there are none"));
            }
        });
    }

    /// L3, and the time that it may take: the deadline, the trials, a check interval where nothing is known.
    async fn everything_comes_back(&mut self) {
        self.scene.level();
        let names: Vec<String> = self.scene.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        self.take_up(&names);
        for name in &names {
            let is_active = world::with(|state| {
                let place = state.place_named(name).expect("an endpoint");
                state.word_of(place).admin == Will::Active
            });
            if !is_active {
                self.command(name, "enable");
            }
        }
        let longest = world::with(|state| {
            let now = state.clock.now();
            let endpoints = state.places.iter().filter_map(|place| place.endpoint.as_ref());
            let waits = endpoints.map(|endpoint| {
                let cooldown = endpoint.vitals.cooldown.until().since(now);
                endpoint.health().deadline.remaining(now).max(cooldown).to_duration()
            });
            waits.max().unwrap_or_default()
        });
        let deadline = Instant::now() + longest + self.scene.comes_back_within();
        while Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
            look();
            let missing = self.missing(&names);
            if missing.is_empty() {
                break;
            }
            // Who is billed by the request comes back by one.
            self.ask_once().await;
        }
        let missing = self.missing(&names);
        world::with(|state| {
            if !missing.is_empty() {
                state.violated(format_args!("L3: all is well, and these are not back: {missing:?}"));
            }
        });
        self.ask_once().await;
    }

    fn missing(&self, names: &[String]) -> Vec<String> {
        world::with(|state| {
            let is_missing = |name: &&String| {
                let place = state.place_named(name).expect("an endpoint");
                let word = state.word_of(place);
                let may_be_unknown = state.places[place].is_per_request;
                word.state != Health::Healthy && !(may_be_unknown && word.state == Health::Unknown)
            };
            names.iter().filter(is_missing).cloned().collect()
        })
    }

    /// Where all is well a request is answered, once something is back.
    async fn ask_once(&mut self) {
        let errand = Errand {
            at: Instant::now(),
            ask: Ask::Whole,
            session: 0,
            model: "claude-z",
            leaves: Leaves::Never,
            is_slow: None,
            wants_own_connection: true,
        };
        client::run(self.door.clone(), vec![errand]).await;
    }

    async fn nothing_is_left(self) {
        world::with(|state| state.is_over = true);
        self.admin.stop.send_replace(true);
        sleep(Duration::from_secs(20)).await;
        let _ = self.prober.await;
        self.watcher.abort();
        let told = self.cluster.journal.records().len();
        world::with(|state| {
            state.look();
            state.check_journal(told);
            let mut wrong = Vec::new();
            for place in &state.places {
                let Some(endpoint) = &place.endpoint else { continue };
                for (what, tally) in
                    [("requests", &endpoint.vitals.requests), ("checks", &endpoint.vitals.checks)]
                {
                    let tally = tally.snapshot();
                    let ended = tally.passed + tally.failed + tally.neutral + tally.stale;
                    if tally.sent != ended {
                        wrong.push(format!("S10: {what} of {}: {tally:?}", place.name));
                    }
                }
            }
            wrong.into_iter().for_each(|wrong| state.violated(wrong));
        });
    }
}

fn look() {
    world::with(|state| {
        state.look();
        state.check_ledger();
    });
}

/// Looks between events too: a trial that is given back is nobody's news.
async fn watch() {
    loop {
        sleep(LOOK_EVERY).await;
        look();
    }
}

fn settings(scene: &Scene) -> ClusterSettings {
    let text = scene.to_toml();
    let settings = parse_str(&text, Path::new("sim.toml"), &Environment::closed([]));
    settings.unwrap_or_else(|error| panic!("{error}\n{text}")).clusters["sim"].clone()
}

/// The upstreams of endpoints that are new.
fn add_places(scene: &Scene) {
    world::with(|state| {
        for endpoint in &scene.endpoints {
            if state.place_named(&endpoint.name).is_some() {
                continue;
            }
            state.places.push(Place {
                name: endpoint.name.clone(),
                host: endpoint.host(),
                key: endpoint.key(),
                is_per_request: endpoint.is_per_request,
                has_model_list: endpoint.has_model_list,
                denied_list_at: None,
                may_have_denied_list: false,
                mood: scene.first_mood(),
                latency: Duration::from_millis(endpoint.latency_ms),
                closes_idle_after: None,
                endpoint: None,
                seen: None,
            });
        }
    });
}

/// Takes note of the roster.
fn list(cluster: &Cluster) {
    let roster = cluster.roster();
    world::with(|state| {
        for place in 0..state.places.len() {
            let name = state.places[place].name.clone();
            match roster.named(&name) {
                Some(endpoint) => state.list(place, endpoint),
                None => state.unlist(place),
            }
        }
    });
}
