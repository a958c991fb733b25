//! What each endpoint received, what the clients got, and whether the promise held.

use super::WAVE_REQUESTS;
use super::endpoint::{Asked, Knowledge, Received, Role};
use super::load::{Ending, Form, Outcome};
use super::scene::Scene;
use crate::cli::output::{Ink, Screen};
use crate::cluster::{Record, Source};
use qcc_fsm::{Cause, CheckMethod};

const RULE: &str = concat!(
    "  Counted as after the refusal: a request that its client sent when the proxy's status already said\n",
    "  that dead-key was down. What was under way by then can't be called back.\n",
);

pub struct Account {
    pub received: Vec<(Role, Vec<Received>)>,
    pub outcomes: Vec<Outcome>,
    pub records: Vec<Record>,
}

/// A part of the promise.
struct Point {
    says: String,
    is_kept: bool,
}

impl Account {
    pub fn of(scene: &Scene, outcomes: Vec<Outcome>) -> Self {
        let received = scene.endpoints.iter().map(|endpoint| (endpoint.role, endpoint.received())).collect();
        Self { received, outcomes, records: scene.cluster.journal.records() }
    }

    pub fn is_kept(&self) -> bool {
        self.points().iter().all(|point| point.is_kept)
    }

    pub fn text(&self, screen: Screen) -> String {
        let mut text = "\nWhat each endpoint received:\n".to_owned();
        for (role, received) in &self.received {
            text.push_str(&line(*role, received));
        }
        text.push_str(RULE);
        text.push('\n');
        for point in self.points() {
            let (glyph, ink) = if point.is_kept { ("✓", Ink::Good) } else { ("✗", Ink::Bad) };
            text.push_str(&format!("{} {}\n", screen.paint(ink, glyph), point.says));
        }
        let verdict = if self.is_kept() {
            screen.paint(Ink::Good, "the promise held")
        } else {
            screen.paint(Ink::Bad, "the promise was broken")
        };
        text.push_str(&format!("\n{verdict}\n"));
        text
    }

    fn points(&self) -> Vec<Point> {
        vec![self.clients(), self.streams(), self.dead_key(), self.flaky(), self.relay()]
    }

    fn clients(&self) -> Point {
        let all = 2 * WAVE_REQUESTS as usize;
        let served = self.count(|outcome| matches!(outcome.ending, Ending::Complete | Ending::Incomplete));
        let mut says = format!("{served} of {all} clients got a 200");
        for outcome in &self.outcomes {
            match &outcome.ending {
                Ending::Complete | Ending::Incomplete => {}
                Ending::Status(status) => says.push_str(&format!("; one got a {status}")),
                Ending::None(why) => says.push_str(&format!("; one got nothing ({why})")),
            }
        }
        let is_kept = served == all && self.outcomes.len() == all;
        Point { says, is_kept }
    }

    fn streams(&self) -> Point {
        let streams = self.count(|outcome| outcome.form == Form::Stream);
        let complete =
            self.count(|outcome| outcome.form == Form::Stream && outcome.ending == Ending::Complete);
        let cut = self.count(|outcome| outcome.ending == Ending::Incomplete);
        Point {
            says: format!("{complete} of {streams} streams came from their beginning to their end"),
            is_kept: complete == streams && streams > 0 && cut == 0,
        }
    }

    fn dead_key(&self) -> Point {
        let late = late_requests(self.received_by(Role::DeadKey));
        let sent = self.count(|outcome| outcome.knowledge == Some(Knowledge::RefusalKnown));
        let is_down = self
            .records
            .iter()
            .any(|record| record.endpoint == Role::DeadKey.name() && record.cause == Some(Cause::Auth));
        Point {
            says: match is_down {
                true => format!("{late} of the {sent} requests sent after dead-key's refusal went to it"),
                false => "dead-key was not taken out of service".to_owned(),
            },
            is_kept: late == 0 && is_down && sent >= WAVE_REQUESTS as usize,
        }
    }

    fn flaky(&self) -> Point {
        let mut of_flaky = self.records.iter().filter(|record| record.endpoint == Role::Flaky.name());
        let left = of_flaky.any(|record| record.to == "unhealthy");
        // The rest of them: what came after it left.
        let is_back = of_flaky.any(|record| {
            record.to == "healthy"
                && record.method == Some(CheckMethod::Chat)
                && record.source == Source::Check
        });
        let says = match (left, is_back) {
            (false, _) => "flaky was not taken out of service",
            (true, false) => "flaky left service and did not come back by a chat check",
            (true, true) => "flaky left service and came back by a chat check that repeated its code",
        };
        Point { says: says.to_owned(), is_kept: left && is_back }
    }

    fn relay(&self) -> Point {
        let checks = checks(self.received_by(Role::Relay));
        Point { says: format!("{checks} checks went to relay, which would bill them"), is_kept: checks == 0 }
    }

    fn count(&self, is_meant: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes.iter().filter(|outcome| is_meant(outcome)).count()
    }

    fn received_by(&self, role: Role) -> &[Received] {
        self.received.iter().find(|(of, _)| *of == role).map_or(&[], |(_, received)| received)
    }
}

fn line(role: Role, received: &[Received]) -> String {
    let requests: Vec<&Received> = requests(received).collect();
    let failed = requests.iter().filter(|request| request.status != 200).count();
    let mut line = format!("  {:8}  {:3} requests", role.name(), requests.len());
    match role {
        Role::DeadKey => {
            let first_refusal = requests.iter().map(|request| request.answered).min().unwrap_or(u64::MAX);
            let under_way = requests.iter().filter(|request| request.arrived > first_refusal).count();
            let late = late_requests(received);
            line.push_str(&format!(
                ", all refused: {} before it had refused one, {} under way by then, {late} after the refusal",
                requests.len() - under_way,
                under_way.saturating_sub(late),
            ));
        }
        Role::Good | Role::Flaky | Role::Relay if failed > 0 => {
            line.push_str(&format!(", {failed} of them failed"));
        }
        Role::Good | Role::Flaky | Role::Relay => {}
    }
    line + &format!("; checks: {}\n", checks(received))
}

fn requests(received: &[Received]) -> impl Iterator<Item = &Received> {
    received.iter().filter(|received| matches!(received.what, Asked::Chat(_)))
}

fn late_requests(received: &[Received]) -> usize {
    received.iter().filter(|received| received.what == Asked::Chat(Knowledge::RefusalKnown)).count()
}

fn checks(received: &[Received]) -> usize {
    received.iter().filter(|received| matches!(received.what, Asked::ModelList | Asked::ChatCheck)).count()
}

#[cfg(test)]
mod tests;
