//! What happens when: all of it follows from the seed before anything runs, so that a seed replays it.

use std::time::Duration;

use fastrand::Rng;

use super::upstream::FAULTS;
use super::upstream::Fault;

/// Of each endpoint; the protocol is the first letter's: `a` Anthropic, `o` OpenAI.
pub struct Role {
    pub name: &'static str,
    pub is_per_token: bool,
    pub tier: u32,
}

const fn role(name: &'static str, is_per_token: bool, tier: u32) -> Role {
    Role { name, is_per_token, tier }
}

pub const ROLES: [Role; 6] = [
    role("a-token", true, 1),
    role("a-request", false, 1),
    role("a-reserve", true, 2),
    role("o-token", true, 1),
    role("o-request", false, 1),
    role("o-reserve", true, 2),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Messages,
    MessagesStream,
    Chat,
    ChatStream,
    Responses,
    ResponsesStream,
    CountTokens,
    Models,
}

const KINDS: [Kind; 8] = [
    Kind::Messages,
    Kind::MessagesStream,
    Kind::Chat,
    Kind::ChatStream,
    Kind::Responses,
    Kind::ResponsesStream,
    Kind::CountTokens,
    Kind::Models,
];

impl Kind {
    pub fn is_stream(self) -> bool {
        matches!(self, Kind::MessagesStream | Kind::ChatStream | Kind::ResponsesStream)
    }

    /// No model works on it, so it may be repeated whatever is known of it.
    pub fn is_light(self) -> bool {
        matches!(self, Kind::CountTokens | Kind::Models)
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Patient,
    /// Takes little at a time, into a small buffer.
    Slow,
    /// Sends so many bytes of its request, and closes.
    LeavesSending(usize),
    /// Closes so long after its request was sent, unless it has all by then.
    LeavesAfter(Duration),
    /// Closes when so many bytes of the answer have come, its head among them.
    LeavesAtByte(usize),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: u64,
    pub kind: Kind,
    pub session: Option<u32>,
    pub padding: usize,
    pub manner: Manner,
    /// Whether it goes over a connection that is there already, if one is.
    pub reuses_connection: bool,
}

/// What is done to the cluster.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Fault(usize, Fault),
    /// The endpoint closes the connections on which nothing runs.
    CloseIdle(usize),
    Reload,
    Command(&'static str, usize),
}

pub struct Schedule {
    pub orders: Vec<(Duration, Order)>,
    pub changes: Vec<(Duration, Change)>,
}

pub struct Source {
    rng: Rng,
    next_id: u64,
}

impl Source {
    /// Its requests are numbered from `first_id` on.
    pub fn new(seed: u64, first_id: u64) -> Self {
        Self { rng: Rng::with_seed(seed), next_id: first_id }
    }

    /// A phase of arrivals at `rate_per_s`, with everything that can go wrong.
    pub fn troubled(&mut self, length: Duration, rate_per_s: f64) -> Schedule {
        let mut orders = Vec::new();
        let mut at = self.exponential(1.0 / rate_per_s);
        while at < length {
            orders.push((at, self.order()));
            at += self.exponential(1.0 / rate_per_s);
        }
        let mut changes = Vec::new();
        for endpoint in 0..ROLES.len() {
            self.faults_of(endpoint, length, &mut changes);
        }
        self.operations(length, &mut changes);
        changes.sort_by_key(|(at, _)| *at);
        Schedule { orders, changes }
    }

    /// A request of a client that stays to the end.
    pub fn patient_order(&mut self) -> Order {
        Order { manner: Manner::Patient, ..self.order() }
    }

    fn faults_of(&mut self, endpoint: usize, length: Duration, changes: &mut Vec<(Duration, Change)>) {
        let mut at = self.exponential(1.0);
        while at < length {
            let fault = FAULTS[self.rng.usize(..FAULTS.len())];
            changes.push((at, Change::Fault(endpoint, fault)));
            at += self.exponential(1.0).min(Duration::from_secs(3));
            changes.push((at, Change::Fault(endpoint, Fault::None)));
            at += self.exponential(1.2);
        }
    }

    fn operations(&mut self, length: Duration, changes: &mut Vec<(Duration, Change)>) {
        let mut at = self.exponential(0.7);
        while at < length {
            let endpoint = self.rng.usize(..ROLES.len());
            match self.rng.u8(..8) {
                0 | 1 => changes.push((at, Change::Reload)),
                2 | 3 => changes.push((at, Change::CloseIdle(endpoint))),
                4 => changes.push((at, Change::Command("recheck", endpoint))),
                5 => changes.push((at, Change::Command("reset", endpoint))),
                number => {
                    let command = if number == 6 { "drain" } else { "disable" };
                    changes.push((at, Change::Command(command, endpoint)));
                    let back = at + self.exponential(0.5);
                    changes.push((back, Change::Command("enable", endpoint)));
                }
            }
            at += self.exponential(0.7);
        }
    }

    fn order(&mut self) -> Order {
        let id = self.next_id;
        self.next_id += 1;
        let rng = &mut self.rng;
        let manner = match rng.u8(..20) {
            0 => Manner::LeavesSending(rng.usize(..2_000)),
            1 | 2 => Manner::LeavesAfter(Duration::from_millis(rng.u64(..400))),
            3 | 4 => Manner::LeavesAtByte(rng.usize(..4_000)),
            5 | 6 => Manner::Slow,
            _ => Manner::Patient,
        };
        Order {
            id,
            kind: KINDS[rng.usize(..KINDS.len())],
            session: (rng.u8(..10) < 4).then(|| rng.u32(..20)),
            padding: if rng.u8(..10) == 0 { rng.usize(..200_000) } else { rng.usize(..4_000) },
            manner,
            reuses_connection: rng.u8(..10) < 7,
        }
    }

    /// The time to the next of events that come at random, `mean_s` apart.
    fn exponential(&mut self, mean_s: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.rng.f64()).ln() * mean_s)
    }
}
