//! Sequences of operations on one endpoint's cell and cooldown, with tickets that are kept, leaked,
//! reported late and twice. The invariants of the health contract are checked after each step.

use qcc_fsm::*;

const TICKETS_MAX: usize = 8;

/// The first three bytes make the policy, the rest are operations.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes.iter());
    let mut endpoint = Endpoint::new(policy(&mut input));
    while let Some(operation) = input.0.next() {
        endpoint.step(operation, &mut input);
    }
}

struct Input<'a>(std::slice::Iter<'a, u8>);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// Spans of every size, from a tick to 19 days: deadlines wrap at 4.9 days.
    fn ticks(&mut self) -> Ticks {
        Ticks(1 << (self.byte() % 25))
    }
}

fn policy(input: &mut Input<'_>) -> Policy {
    let billing = input.one_of(&[Billing::PerToken, Billing::PerRequest]);
    let thresholds = input.byte();
    Policy::new(billing)
        .with_failure_threshold(thresholds & 15)
        .with_success_threshold(thresholds >> 4)
        .with_seed(u64::from(input.byte()))
}

struct Endpoint {
    policy: Policy,
    cell: HealthCell,
    cooldown: Cooldown,
    now: Tick,
    sent: Vec<Sent>,
    /// What the word says in 22 bits, in full.
    deadline: Tick,
    /// Trials passed since it left service.
    passed: u8,
}

struct Sent {
    ticket: Ticket,
    verdicts: u8,
}

impl Endpoint {
    fn new(policy: Policy) -> Self {
        let (cell, cooldown) = (HealthCell::new(), Cooldown::new());
        Self { policy, cell, cooldown, now: Tick(0), sent: Vec::new(), deadline: Tick(0), passed: 0 }
    }

    fn step(&mut self, operation: &u8, input: &mut Input<'_>) {
        let (before, cooled_until) = (self.cell.load(), self.cooldown.until());
        match operation % 12 {
            0 => self.now = self.now + input.ticks(),
            1 => self.admit(&before),
            2 => self.claim(&before, input),
            3 | 4 => self.report(&before, input),
            5 => self.leak(input),
            6 => self.command(&before, input),
            7 => self.sweep(&before),
            8 => self.recheck(&before),
            9 => assert_eq!(
                self.cooldown.raise(self.now + input.ticks()),
                self.cooldown.until() > cooled_until
            ),
            10 => self.check_age(input),
            _ => self.trip(&before, input),
        }
        self.check(&before);
        assert!(self.cooldown.until() >= cooled_until, "S8: a cooldown that shrinks");
    }

    fn admit(&mut self, before: &Snapshot) {
        let ticket = self.cell.admit(self.now);
        assert_eq!(ticket.is_some(), before.is_available(), "S4");
        if let Some(ticket) = ticket {
            self.keep(ticket);
        }
        assert_eq!(self.cell.load(), *before, "a look that writes");
    }

    fn claim(&mut self, before: &Snapshot, input: &mut Input<'_>) {
        let by = input.one_of(&Claimant::ALL);
        let Some(claim) = self.cell.claim(by, input.ticks(), self.now, &self.policy) else {
            return assert_eq!(self.cell.load(), *before, "a claim refused that writes");
        };
        let due = self.now >= self.deadline;
        let allowed = match by {
            Claimant::Prober => due && self.policy.billing() == Billing::PerToken,
            Claimant::Request => due && self.policy.billing() == Billing::PerRequest,
            Claimant::LastResort => !before.cause.is_some_and(Cause::is_decisive),
        };
        assert!(allowed && before.is_sidelined(), "S5: {by:?} claimed {before:?}");
        assert!(!before.trial || due, "S1: a second trial within the lease of the first");
        assert_eq!(claim.change.from, *before);
        assert_ne!(claim.change.to.epoch, before.epoch, "a claim leaves older tickets in force");
        self.keep(claim.ticket);
    }

    fn keep(&mut self, ticket: Ticket) {
        if self.sent.len() == TICKETS_MAX {
            self.sent.remove(0);
        }
        self.sent.push(Sent { ticket, verdicts: 0 });
    }

    /// The ticket stays in hand, so that it may be reported again.
    fn report(&mut self, before: &Snapshot, input: &mut Input<'_>) {
        let (which, verdict) = (usize::from(input.byte()), verdict(input));
        let count = self.sent.len();
        let Some(sent) = self.sent.get_mut(which % count.max(1)) else { return };
        let stamp = sent.ticket.stamp();
        let current = self.cell.is_current(stamp, self.now);
        let spent = match verdict {
            Verdict::Fail(_) => sent.ticket.is_spent(),
            Verdict::Pass(_) | Verdict::Neutral => sent.verdicts > 0,
        };
        let outcome = self.cell.report(&mut sent.ticket, verdict, self.now, &self.policy);
        let after = self.cell.load();
        if !current || spent {
            assert_eq!((outcome, after), (Outcome::Stale, *before), "S2, S10: a verdict that can't count");
            // A stale verdict is a verdict nonetheless.
            sent.verdicts = sent.verdicts.saturating_add(u8::from(!spent));
            return;
        }
        sent.verdicts += 1;
        assert_ne!(outcome, Outcome::Stale, "a verdict that counts");
        if matches!(verdict, Verdict::Neutral) {
            let figures = |word: &Snapshot| (word.state, word.failures, word.passes, word.level, word.cause);
            assert_eq!(figures(&after), figures(before), "S6");
        }
        let clears = match verdict {
            Verdict::Pass(Evidence::Traffic) => true,
            Verdict::Pass(Evidence::Check(method)) => before.method == Some(method),
            Verdict::Fail(_) | Verdict::Neutral => false,
        };
        let trial = before.trial && sent.ticket.is_trial();
        self.passed = self.passed.saturating_add(u8::from(trial && clears));
        self.check_outcome(outcome, before);
        if before.state == State::Recovering && after.state == State::Healthy {
            assert!(self.passed >= self.policy.success_threshold(), "S3");
        }
    }

    /// As a window of the period of some ticket would have it, spent or not.
    fn trip(&mut self, before: &Snapshot, input: &mut Input<'_>) {
        let which = usize::from(input.byte());
        let failure = Failure::new(input.one_of(&Cause::ALL), input.one_of(&CheckMethod::ALL));
        let count = self.sent.len();
        let Some(sent) = self.sent.get(which % count.max(1)) else { return };
        let stamp = sent.ticket.stamp();
        let counts = before.state == State::Healthy && self.cell.is_current(stamp, self.now);
        let outcome = self.cell.trip(stamp, failure, self.now, &self.policy);
        let after = self.cell.load();
        self.check_outcome(outcome, before);
        if counts {
            let found = (State::Unhealthy, Some(failure.cause), Some(failure.method));
            assert_eq!((after.state, after.cause, after.method), found);
        } else {
            assert_eq!(after, *before, "S2: a trip that can't count");
        }
    }

    fn leak(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte());
        if !self.sent.is_empty() {
            self.sent.remove(which % self.sent.len());
        }
    }

    fn command(&mut self, before: &Snapshot, input: &mut Input<'_>) {
        let command = input.one_of(&AdminCommand::ALL);
        let outcome = self.cell.command(command, self.now, &self.policy);
        self.check_outcome(outcome, before);
    }

    fn sweep(&mut self, before: &Snapshot) {
        let outcome = self.cell.sweep(self.now, &self.policy);
        self.check_outcome(outcome, before);
        let lease_over = before.trial && before.deadline.is_due(self.now);
        assert!(!lease_over || !self.cell.load().trial, "L2: a trial past its lease");
    }

    fn recheck(&mut self, before: &Snapshot) {
        let outcome = self.cell.recheck(self.now, &self.policy);
        self.check_outcome(outcome, before);
    }

    /// An hour's old ticket never counts, though its epoch may be the word's.
    fn check_age(&mut self, input: &mut Input<'_>) {
        let age = input.ticks();
        let stamp = Stamp::new(self.cell.load().epoch, self.now);
        assert!(age < Policy::TICKET_LIFE || !self.cell.is_current(stamp, self.now + age));
    }

    fn check_outcome(&self, outcome: Outcome, before: &Snapshot) {
        let after = self.cell.load();
        let moved = (before.state, before.admin) != (after.state, after.admin);
        let expected =
            if moved { Outcome::Moved(Change { from: *before, to: after }) } else { Outcome::Stays };
        assert_eq!(outcome, expected, "S7");
    }

    fn check(&mut self, before: &Snapshot) {
        let after = self.cell.load();
        assert!(Word::from_bits(after.encode().bits()).is_some_and(|word| word.decode() == after), "S9");
        assert!(!after.trial || after.state == State::Recovering && after.admin == Admin::Active, "S1");
        assert!(after.deadline.remaining(self.now) <= Deadline::HORIZON);
        let (from, to) = (before.state, after.state);
        assert!(from != State::Unhealthy || to != State::Healthy, "S3: {before:?} to {after:?}");
        let below = after.failures < self.policy.failure_threshold();
        assert!(to != State::Healthy || below, "healthy with failures enough to leave service");
        let steps = after.epoch.get().wrapping_sub(before.epoch.get()) & layout::EPOCH.max() as u32;
        // The first pass is the one change of state that begins no new period.
        let first_pass = from == State::Unknown && to == State::Healthy;
        assert!(steps <= 1 && (steps == 1 || (from == to || first_pass) && before.admin == after.admin));
        assert!(steps == 1 || before.trial == after.trial, "a trial that begins or ends in silence");
        if after.deadline != before.deadline {
            self.deadline = self.now + after.deadline.remaining(self.now);
        }
        if to == State::Unhealthy || to == State::Unknown || to == State::Healthy {
            self.passed = 0;
        }
        let live = |sent: &&Sent| {
            sent.ticket.is_trial()
                && sent.verdicts == 0
                && self.cell.is_current(sent.ticket.stamp(), self.now)
        };
        let live = self.sent.iter().filter(live).count();
        assert!(live <= usize::from(after.trial), "S1: {live} live trials, {after:?}");
    }
}

fn verdict(input: &mut Input<'_>) -> Verdict {
    let kind = input.byte();
    match kind % 4 {
        0 => Verdict::Pass(Evidence::Traffic),
        1 => Verdict::Pass(Evidence::Check(input.one_of(&CheckMethod::ALL))),
        2 => {
            let (cause, method) = (input.one_of(&Cause::ALL), input.one_of(&CheckMethod::ALL));
            let resets_in = (kind > 127).then(|| input.ticks());
            Verdict::Fail(Failure { resets_in, ..Failure::new(cause, method).weighing(kind >> 4 & 7) })
        }
        _ => Verdict::Neutral,
    }
}
