//! What a run is made of: the configuration, and what clients will ask.

use std::fmt::Write;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::answers::Ask;
use crate::client::{Errand, Leaves};
use crate::mood::{Mood, Plan};
use crate::world::Rules;

/// What kind of world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Anything may happen.
    Usual,
    /// Every endpoint fails most of the time, never enough to leave service.
    Storm,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub name: String,
    pub is_per_request: bool,
    pub has_model_list: bool,
    pub latency_ms: u64,
    priority: u32,
    weight: u32,
    is_enabled: bool,
}

impl Endpoint {
    fn draw(dice: &mut Rng, number: usize, shape: Shape) -> Self {
        Self {
            name: format!("e{number}"),
            is_per_request: shape == Shape::Usual && dice.u8(..10) < 3,
            has_model_list: dice.u8(..10) < 7,
            latency_ms: dice.u64(1..60),
            priority: if dice.u8(..10) < 7 { 1 } else { 2 },
            weight: dice.u32(1..300),
            is_enabled: true,
        }
    }

    pub fn host(&self) -> String {
        format!("{}.sim", self.name)
    }

    pub fn key(&self) -> String {
        format!("sk-sim-{}-canary", self.name)
    }
}

/// All that is drawn before a run begins.
#[derive(Clone, Debug)]
pub struct Scene {
    pub shape: Shape,
    pub endpoints: Vec<Endpoint>,
    pub lasts: Duration,
    pub has_operator: bool,
    pub has_reloads: bool,
    made: usize,
    failure_threshold: u32,
    success_threshold: u32,
    has_ratio: bool,
    max_attempts: usize,
    retry_ambiguous: &'static str,
    queue_timeout_ms: u64,
    backoff_base_s: u64,
    auth_backoff_base_s: u64,
    quota_backoff_s: u64,
    check_interval_s: u64,
    slow_start_s: u64,
    commit_after_ms: u64,
    session_ttl_s: u64,
    first_byte_s: u64,
    idle_s: u64,
}

impl Scene {
    pub fn draw(dice: &mut Rng, shape: Shape) -> Self {
        let count = dice.usize(1..6);
        let is_storm = shape == Shape::Storm;
        Self {
            shape,
            endpoints: (0..count).map(|number| Endpoint::draw(dice, number, shape)).collect(),
            lasts: Duration::from_secs(dice.u64(20..60)),
            has_operator: !is_storm && dice.bool(),
            has_reloads: !is_storm && dice.bool(),
            made: count,
            failure_threshold: if is_storm { 15 } else { dice.u32(1..5) },
            success_threshold: dice.u32(1..4),
            has_ratio: !is_storm && dice.u8(..10) < 3,
            max_attempts: dice.usize(1..6),
            retry_ambiguous: dice.choice(&["never", "per-token", "per-token", "always"]).expect("not empty"),
            queue_timeout_ms: dice.u64(0..6_000),
            backoff_base_s: dice.u64(1..6),
            auth_backoff_base_s: dice.u64(1..8),
            quota_backoff_s: dice.u64(2..20),
            check_interval_s: dice.u64(3..20),
            slow_start_s: dice.u64(0..20),
            commit_after_ms: dice.u64(0..5_000),
            session_ttl_s: dice.u64(0..30),
            first_byte_s: dice.u64(3..8),
            idle_s: dice.u64(3..8),
        }
    }

    pub fn rules(&self) -> Rules {
        Rules {
            max_attempts: self.max_attempts,
            retry_ambiguous: self.retry_ambiguous,
            failure_threshold: self.failure_threshold,
            success_threshold: self.success_threshold,
            has_ratio: self.has_ratio,
        }
    }

    pub fn first_mood(&self) -> Mood {
        match self.shape {
            Shape::Usual => Mood::Good,
            Shape::Storm => Mood::Flaky(90, Plan::ServerError(500)),
        }
    }

    /// How long the last steps of a recovery may take, deadlines aside.
    pub fn comes_back_within(&self) -> Duration {
        let trials = u64::from(self.success_threshold) * 3;
        Duration::from_secs(15 + trials + 3 * self.check_interval_s)
    }

    pub fn to_toml(&self) -> String {
        let mut text = String::from("[clusters.sim]\n");
        let _ = write!(
            text,
            "queue_timeout = \"{}ms\"\nmax_attempts = {}\ncommit_after = \"{}ms\"\nsession_ttl = \"{}s\"\n\
             retry_ambiguous = \"{}\"\n[clusters.sim.health]\nfailure_threshold = {}\nsuccess_threshold = {}\n\
             backoff_base = \"{}s\"\nbackoff_max = \"20s\"\nauth_backoff_base = \"{}s\"\nauth_backoff_max = \"30s\"\n\
             quota_backoff = \"{}s\"\ncheck_interval = \"{}s\"\ncheck_timeout = \"5s\"\nslow_start = \"{}s\"\n\
             ratio_min_samples = {}\n[clusters.sim.timeouts]\nconnect = \"2s\"\nfirst_byte = \"{}s\"\nanswer = \"{}s\"\n\
             idle = \"{}s\"\n",
            self.queue_timeout_ms,
            self.max_attempts,
            self.commit_after_ms,
            self.session_ttl_s,
            self.retry_ambiguous,
            self.failure_threshold,
            self.success_threshold,
            self.backoff_base_s,
            self.auth_backoff_base_s,
            self.quota_backoff_s,
            self.check_interval_s,
            self.slow_start_s,
            if self.has_ratio { 5 } else { 10_000 },
            self.first_byte_s,
            self.first_byte_s + 1,
            self.idle_s,
        );
        for endpoint in &self.endpoints {
            let _ = write!(
                text,
                "[[clusters.sim.endpoints]]\nname = \"{}\"\nbase_url = \"http://{}\"\napi_key = \"{}\"\nauth = \"both\"\n\
                 billing = \"{}\"\npriority = {}\nweight = {}\nenabled = {}\n",
                endpoint.name,
                endpoint.host(),
                endpoint.key(),
                if endpoint.is_per_request { "per-request" } else { "per-token" },
                endpoint.priority,
                endpoint.weight,
                endpoint.is_enabled,
            );
        }
        text
    }

    /// Another configuration. Gives the endpoints that are the same in it.
    pub fn alter(&mut self, dice: &mut Rng) -> Vec<String> {
        let mut flipped = None;
        match dice.u8(..6) {
            0 | 1 if self.endpoints.len() < 6 => {
                self.endpoints.push(Endpoint::draw(dice, self.made, self.shape));
                self.made += 1;
            }
            2 if self.endpoints.len() > 1 => {
                let gone = dice.usize(..self.endpoints.len());
                self.endpoints.remove(gone);
            }
            3 => {
                let place = dice.usize(..self.endpoints.len());
                self.endpoints[place].is_enabled ^= true;
                flipped = Some(self.endpoints[place].name.clone());
            }
            _ => {
                for endpoint in &mut self.endpoints {
                    endpoint.weight = dice.u32(1..300);
                    endpoint.priority = dice.u32(1..3);
                }
                self.slow_start_s = dice.u64(0..20);
                dice.shuffle(&mut self.endpoints);
            }
        }
        let kept = self.endpoints.iter().map(|endpoint| endpoint.name.clone());
        kept.filter(|name| Some(name) != flipped.as_ref()).collect()
    }

    /// All of one tier, so that requests reach every one.
    pub fn level(&mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.priority = 1;
        }
    }

    /// What each client will do.
    pub fn errands(&self, dice: &mut Rng) -> Vec<Vec<Errand>> {
        let begun = Instant::now();
        let (clients, most) = if self.shape == Shape::Storm { (12, 20) } else { (12, 7) };
        // Moments at which many ask at once.
        let lasts_ms = self.lasts.as_millis() as u64;
        let bursts: Vec<Instant> =
            (0..4).map(|_| begun + Duration::from_millis(dice.u64(0..lasts_ms))).collect();
        (0..clients)
            .map(|client| {
                let count = dice.usize(1..most);
                let mut moments: Vec<Instant> = (0..count)
                    .map(|_| match dice.bool() {
                        true => bursts[dice.usize(..bursts.len())] + Duration::from_millis(dice.u64(0..80)),
                        false => begun + Duration::from_millis(dice.u64(0..lasts_ms)),
                    })
                    .collect();
                moments.sort();
                moments.into_iter().map(|at| errand(dice, at, client)).collect()
            })
            .collect()
    }
}

fn errand(dice: &mut Rng, at: Instant, client: u8) -> Errand {
    let leaves = match dice.u8(..20) {
        0 | 1 => Leaves::After(Duration::from_millis(dice.u64(0..4_000))),
        2 => Leaves::After(Duration::from_millis(dice.u64(0..200))),
        3 => Leaves::AfterBytes(dice.usize(1..2_000)),
        _ => Leaves::Never,
    };
    Errand {
        at,
        ask: match dice.u8(..20) {
            0..=11 => Ask::Stream,
            12..=16 => Ask::Whole,
            17 | 18 => Ask::Count,
            _ => Ask::Models,
        },
        // Some share one.
        session: client / 2,
        model: if dice.u8(..10) < 8 { "claude-x" } else { "claude-y" },
        leaves,
        is_slow: (dice.u8(..10) == 0)
            .then(|| (dice.usize(20..600), Duration::from_millis(dice.u64(10..800)))),
        wants_own_connection: dice.u8(..4) == 0,
    }
}
