//! What was asked, what was sent where, what upstreams took, and what clients were told.

use std::collections::VecDeque;
use std::time::Duration;

use qcc_fsm::{Admin, CheckMethod, Snapshot, State as Health};
use tokio::time::Instant;

use crate::answers::{Answer, Ask};
use crate::dial::header;
use crate::mood::Plan;
use crate::world::State;

/// How long the program may take to close what a client that left had asked for: a limit of the contract.
const CANCELLED_WITHIN: Duration = Duration::from_millis(250);
/// The way of a client's end to the program.
pub const CLIENT_LATENCY: Duration = Duration::from_millis(2);
/// The longest that a refusal's words are waited for, and the way of the answer.
const HEEDED_WITHIN: Duration = Duration::from_millis(1_000);
/// The longest that a check takes, and the way of its answer.
const CHECKED_WITHIN: Duration = Duration::from_millis(5_500);
/// The budget counts over 10 s, by seconds, and a repetition is written a little after it is taken.
const CHARGED_WINDOW: Duration = Duration::from_secs(8);
const REQUESTS_WINDOW: Duration = Duration::from_secs(12);

#[derive(Default)]
pub struct Ledger {
    pub requests: Vec<Request>,
    pub exchanges: Vec<Exchange>,
    /// Refusals of a key that the program must have heeded by the moment given.
    refusals: Vec<(Instant, usize)>,
    charged: VecDeque<Instant>,
    begun: VecDeque<Instant>,
}

/// A client's request.
pub struct Request {
    pub ask: Ask,
    pub exchanges: Vec<usize>,
    pub left_at: Option<Instant>,
    pub is_done: bool,
}

/// A request as it went to an upstream: from its first byte on.
pub struct Exchange {
    pub place: usize,
    /// The client's request; none for a check.
    pub request: Option<usize>,
    pub epoch: u32,
    pub is_trial: bool,
    /// What the word named for a check.
    pub method: Option<CheckMethod>,
    pub plan: Option<Plan>,
    ask: Option<Ask>,
    /// All of the answer has left the upstream.
    pub is_answered: bool,
    /// The program has let go of the connection.
    is_dropped: bool,
    status: u16,
    body: Vec<u8>,
    is_told: bool,
}

/// What a client was told.
pub struct Reply {
    /// None where there was no head.
    pub head: Option<(u16, String)>,
    pub body: Vec<u8>,
    /// Whether it ended in due form.
    pub is_whole: bool,
}

impl State {
    /// A client is about to send this.
    pub fn begin_request(&mut self, ask: Ask) -> usize {
        let number = self.ledger.requests.len();
        self.trace(format_args!("client: request {number} {ask:?}"));
        self.ledger.requests.push(Request { ask, exchanges: Vec::new(), left_at: None, is_done: false });
        self.ledger.begun.push_back(Instant::now());
        number
    }

    /// The first byte of a request is on its way to an upstream. Gives the number of the exchange.
    pub fn begin_exchange(&mut self, place: usize, head: &str, is_doomed: bool) -> usize {
        let number = self.ledger.exchanges.len();
        let request = header(head, "x-sim-request").and_then(|number| number.parse::<usize>().ok());
        let line = head.split("\r\n").next().unwrap_or_default().to_owned();
        let name = self.places[place].name.clone();
        self.trace(format_args!("wire: {name} x{number} {line} of {request:?}"));
        let word = self.word_of(place);
        let is_trial = word.trial;
        self.check_keys(place, head);
        self.check_admission(place, &word, request.is_some(), &line);
        let exchange = Exchange {
            place,
            request,
            epoch: word.epoch.get(),
            is_trial,
            method: word.method,
            plan: None,
            ask: None,
            is_answered: false,
            is_dropped: false,
            status: 0,
            body: Vec::new(),
            is_told: false,
        };
        self.ledger.exchanges.push(exchange);
        if is_trial {
            self.note_trial_write(place, number, request.is_some());
        }
        if let Some(request) = request {
            self.check_repetition(request, number);
        }
        if is_doomed {
            self.note_doomed(number);
        }
        number
    }

    /// Where a key goes it is that endpoint's.
    fn check_keys(&mut self, place: usize, head: &str) {
        let key = self.places[place].key.clone();
        let bearer = format!("Bearer {key}");
        let is_own =
            header(head, "x-api-key") == Some(&key) && header(head, "authorization") == Some(&bearer);
        let others: Vec<String> = self
            .places
            .iter()
            .filter(|other| other.key != key && head.contains(&other.key))
            .map(|other| other.name.clone())
            .collect();
        if !is_own || !others.is_empty() || head.contains("client-token") {
            let name = self.places[place].name.clone();
            self.violated(format_args!("keys: {name} got a head with keys of {others:?}: {head:?}"));
        }
    }

    /// S4, and which check goes where.
    fn check_admission(&mut self, place: usize, word: &Snapshot, is_users: bool, line: &str) {
        let name = self.places[place].name.clone();
        let may = word.admin == Admin::Active
            && match word.state {
                Health::Unknown | Health::Healthy => true,
                Health::Recovering => word.trial,
                Health::Unhealthy => false,
            };
        if !may {
            self.violated(format_args!("S4: {line} was written to {name}, which is {word:?}"));
        }
        if is_users {
            return;
        }
        if self.places[place].is_per_request {
            self.violated(format_args!("bills: a check was sent to {name}: {line}"));
        }
        let is_chat = line.starts_with("POST");
        // Another check may be under way when the first one is told.
        let denied_at = self.places[place].denied_list_at;
        let lacks_list = self.places[place].may_have_denied_list;
        let lacks_long = denied_at.is_some_and(|at| at.elapsed() > CHECKED_WITHIN);
        let named = if word.state == Health::Recovering { word.method } else { Some(CheckMethod::ModelList) };
        let fits = match named {
            Some(CheckMethod::Chat) | None => is_chat,
            Some(CheckMethod::ModelList) => {
                if is_chat {
                    lacks_list
                } else {
                    !lacks_long
                }
            }
            Some(CheckMethod::Network) => !is_chat,
        };
        if !fits {
            self.violated(format_args!("method: {line} was sent to {name}, which is {word:?}"));
        }
    }

    /// Whether a request may be where it is once more.
    fn check_repetition(&mut self, request: usize, number: usize) {
        let Some(entry) = self.ledger.requests.get(request) else {
            return self.violated(format_args!("request {request} was never made"));
        };
        let before = entry.exchanges.clone();
        let is_light = matches!(entry.ask, Ask::Count | Ask::Models);
        let was_told = entry.is_done && entry.left_at.is_none();
        let gone = entry.left_at.is_some_and(|at| at.elapsed() > CLIENT_LATENCY + CANCELLED_WITHIN);
        let place = self.ledger.exchanges[number].place;
        if before.iter().any(|&earlier| self.ledger.exchanges[earlier].place == place) {
            self.violated(format_args!("once: request {request} was sent to one endpoint twice"));
        }
        if before.len() >= self.rules.max_attempts {
            self.violated(format_args!("attempts: request {request} was sent {} times", before.len() + 1));
        }
        if gone || was_told {
            self.violated(format_args!("gone: request {request} is sent, and nobody waits for it"));
        }
        if let Some(&last) = before.last() {
            let earlier = &self.ledger.exchanges[last];
            let is_good = earlier.is_answered && matches!(earlier.plan, Some(Plan::Good | Plan::Slow));
            // An error is judged before its last byte.
            let is_lost = !earlier.is_answered && !earlier.plan.is_some_and(Plan::tells_early);
            let is_charged = is_lost || earlier.plan.is_some_and(Plan::is_charged);
            let billed = self.places[earlier.place].is_per_request;
            let may_repeat = match self.rules.retry_ambiguous {
                "never" => false,
                "per-token" => !billed,
                _ => true,
            };
            if is_good {
                self.violated(format_args!(
                    "twice: request {request} was answered by x{last} and is sent again"
                ));
            }
            if is_lost && !may_repeat && !is_light {
                self.violated(format_args!("twice: request {request} was lost in x{last} and is sent again"));
            }
            if is_charged {
                self.check_budget();
            }
        }
        self.ledger.requests[request].exchanges.push(number);
    }

    fn check_budget(&mut self) {
        let ledger = &mut self.ledger;
        ledger.charged.push_back(Instant::now());
        while ledger.charged.front().is_some_and(|at| at.elapsed() > CHARGED_WINDOW) {
            ledger.charged.pop_front();
        }
        while ledger.begun.front().is_some_and(|at| at.elapsed() > REQUESTS_WINDOW) {
            ledger.begun.pop_front();
        }
        let (charged, begun) = (ledger.charged.len(), ledger.begun.len());
        if charged > (begun / 5).max(3) {
            self.violated(format_args!("budget: {charged} repetitions for {begun} requests"));
        }
    }

    /// An upstream has all of a request. Says what becomes of it, in how many words and at which pace.
    pub fn accept(&mut self, place: usize, number: usize, ask: &Ask) -> (Plan, usize, Duration) {
        let mood = if self.is_calm { crate::mood::Mood::Good } else { self.places[place].mood };
        let plan = match (mood.plan(&mut self.dice), ask) {
            // What has no events.
            (Plan::ErrorEvent(_) | Plan::Unfinished(_), Ask::Whole | Ask::Count | Ask::Models) => Plan::Good,
            (Plan::ErrorEvent(_) | Plan::Unfinished(_), Ask::ListCheck | Ask::ChatCheck(_)) => Plan::Good,
            (plan, _) => plan,
        };
        let words = self.dice.usize(1..12);
        let pace_ms = match plan {
            Plan::Slow => self.dice.u64(50..400),
            _ => self.dice.u64(0..30),
        };
        self.trace(format_args!("upstream: x{number} {plan:?}"));
        let Some(exchange) = self.ledger.exchanges.get_mut(number) else {
            self.violated("an upstream got a request that was not seen on the wire");
            return (Plan::Good, 1, Duration::ZERO);
        };
        exchange.plan = Some(plan);
        exchange.ask = Some(ask.clone());
        let (epoch, weight) = (exchange.epoch, plan.weight());
        // Which any answer satisfies.
        let is_of_network = exchange.is_trial && exchange.method == Some(CheckMethod::Network);
        self.allow_weight(place, epoch, weight);
        // A page says so too.
        let denies_list =
            !self.places[place].has_model_list || matches!(plan, Plan::Page | Plan::UnknownModel);
        if *ask == Ask::ListCheck && denies_list && weight < 15 && !is_of_network {
            self.places[place].may_have_denied_list = true;
            if !plan.loses_answer() {
                self.places[place].denied_list_at.get_or_insert(Instant::now());
            }
        }
        (plan, words, Duration::from_millis(pace_ms))
    }

    pub fn note_answer(&mut self, number: usize, ask: &Ask, answer: &Answer) {
        let exchange = &mut self.ledger.exchanges[number];
        exchange.status = answer.status;
        exchange.body = answer.body();
        let plan = exchange.plan;
        let may_pass = match (exchange.method, ask, plan) {
            (_, _, None | Some(Plan::Hang | Plan::CutBeforeHead(_))) => false,
            (Some(CheckMethod::Network), Ask::ListCheck, _) => !matches!(answer.status, 401 | 403),
            (_, _, Some(Plan::Good | Plan::Slow)) => answer.status == 200,
            (_, Ask::ListCheck, Some(Plan::Liar)) => answer.status == 200,
            // Content may have come before the rest was lost.
            (_, Ask::Stream, Some(Plan::Cut(..) | Plan::Stall(_))) => true,
            (_, Ask::Stream, Some(Plan::ErrorEvent(_) | Plan::Unfinished(_))) => answer.content.is_some(),
            (_, _, Some(_)) => false,
        };
        if may_pass {
            self.note_possible_pass(number);
        }
        let latency = self.places[self.ledger.exchanges[number].place].latency;
        if matches!(answer.status, 401 | 402) {
            self.ledger.refusals.push((Instant::now() + latency + HEEDED_WITHIN, number));
        }
    }

    /// The last byte of the answer is about to leave the upstream.
    pub fn note_answered(&mut self, number: usize) {
        self.trace(format_args!("upstream: x{number} answered"));
        self.ledger.exchanges[number].is_answered = true;
    }

    /// The exchange's connection ends before its answer does.
    pub fn note_doomed(&mut self, number: usize) {
        let Some(exchange) = self.ledger.exchanges.get(number).filter(|exchange| !exchange.is_answered)
        else {
            return;
        };
        let (place, epoch) = (exchange.place, exchange.epoch);
        self.trace(format_args!("upstream: x{number} ends early"));
        self.allow_weight(place, epoch, 2);
    }

    /// The program has let go of the exchange's connection.
    pub fn note_dropped(&mut self, number: usize) {
        self.trace(format_args!("wire: x{number} closed"));
        self.ledger.exchanges[number].is_dropped = true;
    }

    /// The client goes away without its answer.
    pub fn leave(&mut self, request: usize) {
        self.trace(format_args!("client: request {request} left"));
        let entry = &mut self.ledger.requests[request];
        (entry.left_at, entry.is_done) = (Some(Instant::now()), true);
    }

    /// What the client was told, and whether it may be told that.
    pub fn finish(&mut self, request: usize, reply: &Reply) {
        let Reply { head, body, is_whole } = reply;
        let status = head.as_ref().map(|(status, _)| *status);
        self.trace(format_args!(
            "client: request {request} {status:?} {} bytes, whole {is_whole}",
            body.len()
        ));
        self.ledger.requests[request].is_done = true;
        let Some((status, head)) = head else {
            return self.violated(format_args!("reply: request {request} got no head"));
        };
        if *status == 401 || body.windows(6).any(|bytes| bytes == b"sk-sim") {
            self.violated(format_args!("reply: request {request} got {status}: {head}"));
        }
        let exchanges = self.ledger.requests[request].exchanges.clone();
        if let Some(code) = header(head, "x-qcc-error") {
            let lost = exchanges.iter().any(|&number| !self.ledger.exchanges[number].is_answered);
            let is_allowed = match (code, status) {
                ("no_endpoint", 403 | 529) => true,
                ("no_connection", 529) => true,
                ("upstream_lost", 502) => lost,
                _ => false,
            };
            if !is_allowed || !is_whole {
                self.violated(format_args!("reply: request {request} got {status} {code}"));
            }
            return;
        }
        let number = header(head, "x-sim-exchange").and_then(|number| number.parse::<usize>().ok());
        // The last answer that there was, be it that the request was sent on in vain.
        let is_shown = |number: &usize| {
            let is_error = !(200..300).contains(status);
            exchanges.last() == Some(number) || (exchanges.contains(number) && is_error)
        };
        let Some(number) = number.filter(is_shown) else {
            return self.violated(format_args!("reply: request {request} got an answer of {number:?}"));
        };
        let exchange = &self.ledger.exchanges[number];
        let ask = &self.ledger.requests[request].ask;
        let shows_end = match ask {
            Ask::Stream => memchr::memmem::find(body, b"message_stop").is_some(),
            Ask::Whole => memchr::memmem::find(body, b"end_turn").is_some(),
            Ask::Count | Ask::Models | Ask::ListCheck | Ask::ChatCheck(_) => true,
        };
        let is_prefix = exchange.body.starts_with(body);
        let plan = exchange.plan;
        let is_faulty = plan.is_some_and(Plan::is_charged) || !exchange.is_answered;
        let wrong = if *status != exchange.status {
            Some("another status")
        } else if !is_prefix {
            Some("bytes that are not its own")
        } else if *is_whole && body.len() < exchange.body.len() {
            Some("a part that looks whole")
        } else if *is_whole && *status == 200 && !shows_end {
            Some("a success that is none")
        } else if !is_whole && !is_faulty {
            Some("a part of a good answer")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.violated(format_args!("reply: request {request} got {wrong} of x{number} ({plan:?})"));
        }
    }

    /// What must have happened by now.
    pub fn check_ledger(&mut self) {
        let mut found = Vec::new();
        let heard = CLIENT_LATENCY + CANCELLED_WITHIN;
        for number in 0..self.ledger.exchanges.len() {
            let exchange = &self.ledger.exchanges[number];
            let is_open = !exchange.is_answered && !exchange.is_dropped && !exchange.is_told;
            let left = exchange.request.and_then(|request| self.ledger.requests[request].left_at);
            if is_open && left.is_some_and(|at| at.elapsed() > heard) {
                found.push((number, "leaving: the client has left and its exchange goes on"));
            }
        }
        let due: Vec<usize> =
            self.ledger.refusals.iter().filter(|(at, _)| *at <= Instant::now()).map(|(_, x)| *x).collect();
        self.ledger.refusals.retain(|(at, _)| *at > Instant::now());
        for number in due {
            let exchange = &self.ledger.exchanges[number];
            let left =
                exchange.request.is_some_and(|request| self.ledger.requests[request].left_at.is_some());
            let word = self.word_of(exchange.place);
            // 402 says nothing of health where a call makes no work.
            let speaks = exchange.status == 401 || !matches!(exchange.ask, Some(Ask::Count | Ask::Models));
            let is_current = word.admin == Admin::Active && word.epoch.get() == exchange.epoch;
            let was_cut = exchange.is_dropped && !exchange.is_answered;
            if is_current && !left && speaks && !was_cut {
                found.push((number, "promise: a refusal of the key was not heeded"));
            }
        }
        for (number, what) in found {
            self.ledger.exchanges[number].is_told = true;
            self.violated(format_args!("{what}: x{number}"));
        }
    }

    /// Exchanges that the program has not ended.
    pub fn open_exchanges(&self) -> Vec<usize> {
        let is_open = |&number: &usize| {
            let exchange = &self.ledger.exchanges[number];
            !exchange.is_answered && !exchange.is_dropped
        };
        (0..self.ledger.exchanges.len()).filter(is_open).collect()
    }
}
