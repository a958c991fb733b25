//! All that a run knows: one a thread, so that parts of it need not be handed about.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use qcc::clock::Clock;
use qcc::cluster::Endpoint;
use tokio::time::Instant;

use crate::ledger::{Exchange, Ledger};
use crate::mood::Mood;
use crate::watch::Seen;

thread_local! {
    static WORLD: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// What is true in a run.
pub struct State {
    /// Draws for what the world does. The program draws from a generator of its own.
    pub dice: Rng,
    pub rules: Rules,
    pub places: Vec<Place>,
    pub ledger: Ledger,
    pub violations: Vec<String>,
    /// Faults are over.
    pub is_calm: bool,
    /// The prober was stopped.
    pub is_over: bool,
    /// The program's clock.
    pub clock: Clock,
    /// How many changes of state were told.
    pub told: usize,
    zero: Instant,
    trace: String,
}

/// What the configuration of a run promises.
#[derive(Clone, Debug)]
pub struct Rules {
    pub max_attempts: usize,
    pub retry_ambiguous: &'static str,
    pub failure_threshold: u32,
    pub success_threshold: u32,
    /// Whether the share of failures may take an endpoint out of service.
    pub has_ratio: bool,
}

/// An upstream, which is one endpoint: its host is in no other one's base URL.
pub struct Place {
    pub name: String,
    pub host: String,
    pub key: String,
    pub is_per_request: bool,
    pub has_model_list: bool,
    /// When it first said that it has no list of models.
    pub denied_list_at: Option<Instant>,
    pub may_have_denied_list: bool,
    pub mood: Mood,
    pub latency: Duration,
    pub closes_idle_after: Option<Duration>,
    pub endpoint: Option<Arc<Endpoint>>,
    pub seen: Option<Seen>,
}

/// What a run came to.
pub struct Outcome {
    pub violations: Vec<String>,
    pub trace: String,
    pub exchanges: Vec<Exchange>,
    pub ledger_requests: usize,
}

impl Outcome {
    /// A figure of the whole trace.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.trace.as_bytes());
        hasher.finish()
    }
}

/// Begins a run on this thread.
pub fn begin(dice: Rng, rules: Rules, clock: Clock) {
    let state = State {
        dice,
        rules,
        places: Vec::new(),
        ledger: Ledger::default(),
        violations: Vec::new(),
        is_calm: false,
        is_over: false,
        clock,
        told: 0,
        zero: Instant::now(),
        trace: String::new(),
    };
    WORLD.with_borrow_mut(|world| *world = Some(state));
}

/// Ends it.
pub fn end() -> Outcome {
    let state = WORLD.with_borrow_mut(Option::take).expect("a run has begun");
    Outcome {
        violations: state.violations,
        trace: state.trace,
        ledger_requests: state.ledger.requests.len(),
        exchanges: state.ledger.exchanges,
    }
}

/// Looks at the world, or changes it. What runs inside must not call the program where it logs.
pub fn with<T>(look: impl FnOnce(&mut State) -> T) -> T {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("a run has begun")))
}

/// The same; nothing outside of a run, where its leftovers are dropped.
pub fn with_if_any(look: impl FnOnce(&mut State)) {
    WORLD.with(|world| {
        if let Ok(mut world) = world.try_borrow_mut()
            && let Some(state) = world.as_mut()
        {
            look(state);
        }
    });
}

impl State {
    pub fn elapsed(&self) -> Duration {
        self.zero.elapsed()
    }

    pub fn trace(&mut self, line: impl fmt::Display) {
        use fmt::Write;
        let ms = self.elapsed().as_millis();
        let _ = writeln!(self.trace, "{ms:>7} {line}");
    }

    /// Notes that something which must hold doesn't.
    pub fn violated(&mut self, what: impl fmt::Display) {
        let line = format!("VIOLATED: {what}");
        self.trace(&line);
        self.violations.push(format!("at {} ms: {what}", self.elapsed().as_millis()));
    }

    pub fn place_of_host(&self, host: &str) -> Option<usize> {
        self.places.iter().position(|place| place.host == host)
    }

    pub fn place_named(&self, name: &str) -> Option<usize> {
        self.places.iter().position(|place| place.name == name)
    }
}
