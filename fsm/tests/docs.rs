//! The generated parts of `docs/health.md`, made from the machine itself.
//!
//! The transition table names, for each state and kind of event, a guard; the test sends every word and
//! event through [`next`], sorts the pairs into the rows, and writes down what it sees happen in
//! each. A pair that fits two rows, a row in which two different things happen, or anything at all that
//! happens outside of them, fails.
//! `UPDATE_DOCS=1 cargo test -p qcc-fsm --test docs` rewrites the page.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use qcc_fsm::*;
use support::*;

/// What a guard looks at, and what came of it.
struct Pair {
    before: Snapshot,
    event: Event,
    after: Snapshot,
    policy: Policy,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Pass,
    Fail,
    Neutral,
    Trip,
    Claim,
    Sweep,
    Recheck,
    Drain,
    Disable,
    Enable,
    Reset,
}

struct Row {
    from: &'static str,
    on: &'static str,
    guard: &'static str,
    fits: fn(&Pair) -> bool,
}

const fn row(from: &'static str, on: &'static str, guard: &'static str, fits: fn(&Pair) -> bool) -> Row {
    Row { from, on, guard, fits }
}

/// The rows, in the order of the page.
const ROWS: &[Row] = &[
    row("any", "all but a command", "admin not Active", |p| !p.is_command() && !p.is_active()),
    row("any", "pass, fail, neutral, trip", "ticket of another epoch, or 1 h old", |p| {
        p.stamp().is_some() && p.is_active() && !p.is_current()
    }),
    row("Unknown", "pass", "", |p| p.at(State::Unknown, Kind::Pass)),
    row("Unknown", "fail", "", |p| p.at(State::Unknown, Kind::Fail)),
    row("Healthy", "pass", "failures > 0; by traffic or a check of the method in the word", |p| {
        p.at(State::Healthy, Kind::Pass) && p.clears()
    }),
    row("Healthy", "fail", "failures + weight < threshold", |p| {
        p.at(State::Healthy, Kind::Fail) && !p.reaches_threshold()
    }),
    row("Healthy", "fail", "failures + weight ≥ threshold", |p| {
        p.at(State::Healthy, Kind::Fail) && p.reaches_threshold()
    }),
    row("Healthy", "trip", "", |p| p.at(State::Healthy, Kind::Trip)),
    row("Healthy", "sweep", "level > 0, deadline reached", |p| {
        p.at(State::Healthy, Kind::Sweep) && p.decays()
    }),
    row("Unhealthy", "claim", "who may claim, below", |p| {
        p.at(State::Unhealthy, Kind::Claim) && p.may_claim()
    }),
    row("Recovering", "claim", "who may claim; no trial, or its lease is over", |p| {
        p.at(State::Recovering, Kind::Claim) && p.is_free() && p.may_claim()
    }),
    row("Recovering", "pass", "trial; the last one needed", |p| {
        p.at(State::Recovering, Kind::Pass) && p.before.trial && p.is_strong() && p.is_last_pass()
    }),
    row("Recovering", "pass", "trial; more are needed", |p| {
        p.at(State::Recovering, Kind::Pass) && p.before.trial && p.is_strong() && !p.is_last_pass()
    }),
    row("Recovering", "pass", "trial; by a check weaker than the method in the word", |p| {
        p.at(State::Recovering, Kind::Pass) && p.before.trial && !p.is_strong()
    }),
    row("Recovering", "fail", "", |p| p.at(State::Recovering, Kind::Fail)),
    row("Recovering", "neutral", "trial", |p| p.at(State::Recovering, Kind::Neutral) && p.before.trial),
    row("Recovering", "sweep", "trial, its lease over", |p| {
        p.at(State::Recovering, Kind::Sweep) && p.before.trial && p.is_due()
    }),
    row("Unhealthy, Recovering", "sweep", "no trial, overdue by 1 h", |p| p.rests(Kind::Sweep) && p.is_old()),
    row("Unhealthy, Recovering", "recheck", "no trial", |p| p.rests(Kind::Recheck)),
    row("any", "drain", "not Draining", |p| p.kind() == Kind::Drain && p.before.admin != Admin::Draining),
    row("any", "disable", "not Disabled", |p| p.kind() == Kind::Disable && p.before.admin != Admin::Disabled),
    row("any", "enable", "not Active, or Unhealthy or Recovering", |p| {
        p.kind() == Kind::Enable && !p.before.is_available()
    }),
    row("any", "reset", "not Unknown", |p| p.kind() == Kind::Reset && p.before.state != State::Unknown),
];

/// What fits none of the rows above.
const REST: Row = row("any", "all else", "", |_| true);

impl Pair {
    fn kind(&self) -> Kind {
        match self.event {
            Event::Verdict { verdict: Verdict::Pass(_), .. } => Kind::Pass,
            Event::Verdict { verdict: Verdict::Fail(_), .. } => Kind::Fail,
            Event::Verdict { verdict: Verdict::Neutral, .. } => Kind::Neutral,
            Event::Trip { .. } => Kind::Trip,
            Event::Claim { .. } => Kind::Claim,
            Event::Sweep => Kind::Sweep,
            Event::Recheck => Kind::Recheck,
            Event::Admin(AdminCommand::Drain) => Kind::Drain,
            Event::Admin(AdminCommand::Disable) => Kind::Disable,
            Event::Admin(AdminCommand::Enable) => Kind::Enable,
            Event::Admin(AdminCommand::Reset) => Kind::Reset,
        }
    }

    /// An event that counts: in use, and with a ticket of this epoch where it takes one.
    fn at(&self, state: State, kind: Kind) -> bool {
        self.before.state == state && self.kind() == kind && self.is_active() && self.is_current()
    }

    /// Out of service without a trial in flight.
    fn rests(&self, kind: Kind) -> bool {
        (self.at(State::Unhealthy, kind) || self.at(State::Recovering, kind)) && !self.before.trial
    }

    fn is_command(&self) -> bool {
        matches!(self.event, Event::Admin(_))
    }

    fn stamp(&self) -> Option<Stamp> {
        match self.event {
            Event::Verdict { stamp, .. } | Event::Trip { stamp, .. } => Some(stamp),
            Event::Claim { .. } | Event::Sweep | Event::Recheck | Event::Admin(_) => None,
        }
    }

    fn is_active(&self) -> bool {
        self.before.admin == Admin::Active
    }

    fn is_current(&self) -> bool {
        let Some(stamp) = self.stamp() else { return true };
        let aged = Stamp::new(stamp.epoch(), tick_before(NOW, Policy::TICKET_LIFE));
        stamp.epoch() == self.before.epoch && stamp != aged
    }

    fn is_due(&self) -> bool {
        self.before.deadline.is_due(NOW)
    }

    fn is_old(&self) -> bool {
        self.before.deadline.overdue(NOW) >= Ticks::from_secs(3600)
    }

    fn is_free(&self) -> bool {
        !self.before.trial || self.is_due()
    }

    fn decays(&self) -> bool {
        self.before.level > 0 && self.is_due()
    }

    fn clears(&self) -> bool {
        let Event::Verdict { verdict: Verdict::Pass(evidence), .. } = self.event else { return false };
        let fits = match evidence {
            Evidence::Traffic => true,
            Evidence::Check(method) => self.before.method == Some(method),
        };
        self.before.failures > 0 && fits
    }

    fn is_strong(&self) -> bool {
        let Event::Verdict { verdict: Verdict::Pass(Evidence::Check(method)), .. } = self.event else {
            return true;
        };
        Some(method) >= self.before.method
    }

    fn is_last_pass(&self) -> bool {
        self.before.passes + 1 >= self.policy.success_threshold()
    }

    fn weight(&self) -> u8 {
        match self.event {
            Event::Verdict { verdict: Verdict::Fail(failure), .. } if failure.cause.is_decisive() => {
                self.policy.failure_threshold()
            }
            Event::Verdict { verdict: Verdict::Fail(failure), .. } => failure.weight.max(1),
            Event::Verdict { .. }
            | Event::Trip { .. }
            | Event::Claim { .. }
            | Event::Sweep
            | Event::Recheck
            | Event::Admin(_) => 0,
        }
    }

    fn reaches_threshold(&self) -> bool {
        self.before.failures + self.weight() >= self.policy.failure_threshold()
    }

    fn may_claim(&self) -> bool {
        let Event::Claim { by, .. } = self.event else { return false };
        match by {
            Claimant::Prober => self.is_due() && self.policy.billing() == Billing::PerToken,
            Claimant::Request => self.is_due() && self.policy.billing() == Billing::PerRequest,
            Claimant::LastResort => !self.before.cause.is_some_and(Cause::is_decisive),
        }
    }

    fn failure(&self) -> Option<Failure> {
        match self.event {
            Event::Verdict { verdict: Verdict::Fail(failure), .. } | Event::Trip { failure, .. } => {
                Some(failure)
            }
            Event::Verdict { .. } | Event::Claim { .. } | Event::Sweep | Event::Recheck | Event::Admin(_) => {
                None
            }
        }
    }

    fn is_after(&self, span: Ticks) -> bool {
        self.after.deadline == Deadline::after(NOW, span)
    }
}

/// What can happen to a field: a name, whether the field changed, and whether it changed in this way.
type Effect = (&'static str, fn(&Pair) -> bool);
type Changes = (fn(&Pair) -> bool, &'static [Effect]);

/// For each field: whether it changed, then the ways in which it may, the plainest first.
const FIELDS: &[Changes] = &[
    (
        |p| p.after.admin != p.before.admin,
        &[
            ("Draining", |p| p.after.admin == Admin::Draining),
            ("Disabled", |p| p.after.admin == Admin::Disabled),
            ("Active", |p| p.after.admin == Admin::Active),
        ],
    ),
    (
        |p| p.after.cause != p.before.cause,
        &[
            ("cause cleared", |p| p.after.cause.is_none()),
            ("cause recorded", |p| {
                let kept = p.before.cause.is_some_and(Cause::is_decisive) && p.after.cause == p.before.cause;
                kept || p.after.cause == p.failure().map(|failure| failure.cause)
            }),
        ],
    ),
    (
        |p| p.after.method != p.before.method,
        &[
            ("method cleared", |p| p.after.method.is_none()),
            ("method cleared if Healthy", |p| {
                p.before.state == State::Healthy && p.after.method.is_none()
                    || p.after.method == p.before.method
            }),
            ("method recorded", |p| p.after.method == p.failure().map(|failure| failure.method)),
            ("method: the stronger one", |p| {
                p.after.method == p.before.method.max(p.failure().map(|failure| failure.method))
            }),
        ],
    ),
    (
        |p| p.after.failures != p.before.failures,
        &[
            ("failures := 0", |p| p.after.failures == 0),
            ("failures + weight", |p| p.after.failures == 15.min(p.before.failures + p.weight())),
        ],
    ),
    (
        |p| p.after.passes != p.before.passes,
        &[
            ("passes := 0", |p| p.after.passes == 0),
            ("passes + 1", |p| p.after.passes == p.before.passes + 1),
        ],
    ),
    (
        |p| p.after.trial != p.before.trial,
        &[("trial begins", |p| p.after.trial), ("trial ends", |p| !p.after.trial)],
    ),
    (
        |p| p.after.level != p.before.level,
        &[
            ("level := 0", |p| p.after.level == 0),
            ("level + 1", |p| p.after.level == 15.min(p.before.level + 1)),
            ("level − 1", |p| p.after.level + 1 == p.before.level),
        ],
    ),
    (
        |p| p.after.deadline != p.before.deadline,
        &[
            ("deadline: none", |p| p.after.deadline == Deadline::default()),
            ("deadline: now", |p| p.is_after(Ticks(0))),
            ("deadline: now + 1 s", |p| p.is_after(Ticks::from_secs(1))),
            ("deadline: now + 60 s", |p| p.is_after(Ticks::from_secs(60))),
            ("deadline: now + 60 s, none at level 0", |p| {
                p.is_after(Ticks::from_secs(60))
                    || (p.after.level == 0 && p.after.deadline == Deadline::default())
            }),
            (
                "deadline: now + lease",
                |p| matches!(p.event, Event::Claim { lease, .. } if p.is_after(lease.max(Ticks::ONE))),
            ),
            ("deadline: now + backoff", |p| {
                let (Some(cause), Some(failure)) = (p.after.cause, p.failure()) else { return false };
                p.is_after(p.policy.wait(cause, failure.resets_in, p.before.level, p.before.epoch))
            }),
        ],
    ),
    (
        |p| p.after.epoch != p.before.epoch,
        &[("epoch + 1", |p| p.after.epoch == epoch((p.before.epoch.get() + 1) & EPOCH_MAX))],
    ),
];

/// What was seen in one row: which fields changed, and which ways of changing fit all pairs so far.
struct Seen {
    pairs: usize,
    to: BTreeSet<u64>,
    changed: Vec<bool>,
    fitting: Vec<Vec<bool>>,
}

impl Seen {
    fn nothing() -> Self {
        let fitting = FIELDS.iter().map(|(_, ways)| vec![true; ways.len()]).collect();
        Self { pairs: 0, to: BTreeSet::new(), changed: vec![false; FIELDS.len()], fitting }
    }

    fn add(&mut self, pair: &Pair) {
        self.pairs += 1;
        if pair.after.state != pair.before.state {
            self.to.insert(pair.after.state as u64);
        }
        for (at, (changed, ways)) in FIELDS.iter().enumerate() {
            self.changed[at] |= changed(pair);
            for (way, (_, fits)) in ways.iter().enumerate() {
                self.fitting[at][way] = self.fitting[at][way] && fits(pair);
            }
        }
    }

    /// The state and what changes.
    fn describe(&self, row: &Row) -> (String, String) {
        let context = format!("row {} / {} / {}", row.from, row.on, row.guard);
        assert!(self.pairs > 0, "{context}: nothing fits");
        assert!(self.to.len() <= 1, "{context}: leads to two states");
        let to = self.to.first().map_or("–".into(), |state| format!("**{}**", NAMES[*state as usize]));
        let changed = (0..FIELDS.len()).filter(|at| self.changed[*at]);
        let changes: Vec<_> = changed
            .map(|at| {
                let way = self.fitting[at].iter().position(|fits| *fits);
                let way = way.unwrap_or_else(|| panic!("{context}: field {at} changes in two ways"));
                FIELDS[at].1[way].0
            })
            .collect();
        let nothing = if self.to.is_empty() { "nothing" } else { "nothing else" };
        (to, if changes.is_empty() { nothing.into() } else { changes.join(", ") })
    }
}

const NAMES: [&str; 4] = ["Unknown", "Healthy", "Unhealthy", "Recovering"];

/// Every word and event of two policies, through the machine.
fn for_every_pair(mut look: impl FnMut(&Pair)) {
    for billing in [Billing::PerToken, Billing::PerRequest] {
        let policy = Policy::new(billing).with_success_threshold(2).with_seed(7);
        let events = events(epoch(77));
        for before in words(&policy, &[77]) {
            for event in &events {
                let after = next(before.encode(), event, NOW, &policy).decode();
                look(&Pair { before, event: *event, after, policy });
            }
        }
    }
}

/// The table, and the edges of the diagram: whatever changes the state, or the epoch within one.
fn table_and_diagram() -> (String, String) {
    let mut seen: Vec<Seen> = ROWS.iter().map(|_| Seen::nothing()).collect();
    let mut rest = Seen::nothing();
    let mut edges: BTreeMap<(u64, u64), BTreeSet<Kind>> = BTreeMap::new();
    for_every_pair(|pair| {
        let mut rows = ROWS.iter().enumerate().filter(|(_, row)| (row.fits)(pair)).map(|(at, _)| at);
        let at = rows.next();
        assert_eq!(rows.next(), None, "two rows for {:?} on {:?}", pair.before, pair.event);
        at.map_or(&mut rest, |at| &mut seen[at]).add(pair);
        let same_admin = pair.before.admin == pair.after.admin;
        if same_admin && pair.before.epoch != pair.after.epoch || pair.before.state != pair.after.state {
            let edge = (pair.before.state as u64, pair.after.state as u64);
            edges.entry(edge).or_default().insert(pair.kind());
        }
    });
    let mut table = String::from("| From | On | When | To | What changes |\n|---|---|---|---|---|\n");
    assert_eq!(rest.describe(&REST), ("–".into(), "nothing".into()), "something that the table doesn't have");
    for (row, seen) in ROWS.iter().zip(&seen).chain([(&REST, &rest)]) {
        let (to, changes) = seen.describe(row);
        writeln!(table, "| {} | {} | {} | {to} | {changes} |", row.from, row.on, row.guard).unwrap();
    }
    let mut diagram = String::from("```mermaid\nstateDiagram-v2\n    [*] --> Unknown\n");
    for ((from, to), kinds) in edges {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        let (from, to) = (NAMES[from as usize], NAMES[to as usize]);
        writeln!(diagram, "    {from} --> {to}: {}", kinds.join(", ")).unwrap();
    }
    diagram.push_str("```\n");
    (table, diagram)
}

/// What stands in each field, in the order of [`layout::ALL`].
const MEANINGS: [(&str, &str); 10] = [
    ("state", "Unknown, Healthy, Unhealthy, Recovering"),
    ("admin", "Active, Draining, Disabled: the operator's will"),
    ("cause", "why it is out of service; none in Unknown and Healthy"),
    ("method", "the check that must clear it; in Healthy only beside failures"),
    ("failures", "consecutive failures by weight; saturates"),
    ("passes", "trials passed in this recovery; saturates"),
    ("trial", "a trial is in flight"),
    ("level", "backoff level; saturates"),
    ("deadline", "ticks of 100 ms, compared serially: next trial, end of a lease, or decay of the level"),
    ("epoch", "the period that tickets belong to; wraps"),
];

fn fields() -> String {
    let mut table = String::from("| Field | Bits | Largest | Meaning |\n|---|---|---|---|\n");
    for (field, (name, meaning)) in layout::ALL.iter().zip(MEANINGS) {
        let (low, high) = (field.shift, field.shift + field.width - 1);
        let bits = if low == high { low.to_string() } else { format!("{low}–{high}") };
        writeln!(table, "| {name} | {bits} | {} | {meaning} |", field.max()).unwrap();
    }
    table
}

/// The page with the part between the markers of `name` replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no marker for {name}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("no end of {name}"));
    format!("{before}{begin}{part}{end}{after}")
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the switch that rewrites the page")]
fn health_docs_are_generated_from_the_machine() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/health.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (table, diagram) = table_and_diagram();
    let made = with_part(&page, "word", &fields());
    let made = with_part(&made, "transitions", &table);
    let made = with_part(&made, "diagram", &diagram);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    } else {
        assert!(page == made, "docs/health.md is not what the machine does: UPDATE_DOCS=1 rewrites it");
    }
    assert!(made.lines().count() <= 200, "a page that nobody reads to its end");
}
