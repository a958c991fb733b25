//! The status as a table for people.

mod columns;
mod times;

use jiff::Timestamp;

use super::output::{Ink, Screen};
use crate::admin::{ClientStatus, EndpointStatus, StatusDocument};
use crate::config::printable;
use columns::{Align, Column, Table};

pub use columns::{shorten, width};

/// A longer name is shortened.
const NAME_COLUMNS_MAX: usize = 24;

/// The table, with a line about the cluster above it. Every line ends with a line break, and none is
/// wider than the screen.
pub fn of_status<'a>(status: &'a StatusDocument, now: Timestamp, screen: Screen) -> String {
    let rows: Vec<Row<'a>> = status.endpoints.iter().map(|endpoint| Row { endpoint, now }).collect();
    let column = |heading, cell: fn(&Row<'a>) -> String| {
        Column::new(heading, rows.iter().map(|row| (Ink::Plain, cell(row))).collect())
    };
    let inked = |heading, cell: fn(&Row<'a>) -> String| {
        Column::new(heading, rows.iter().map(|row| (row.look().1, cell(row))).collect())
    };
    let table = Table(vec![
        inked("ENDPOINT", Row::name),
        inked("STATE", Row::state),
        column("SINCE", Row::since),
        column("NEXT CHECK", Row::next_check),
        column("METHOD", Row::method).expendable(4),
        column("IN FLIGHT", Row::in_flight).aligned(Align::Right).expendable(2),
        column("LATENCY", Row::latency).aligned(Align::Right).expendable(1),
        column("PASS/FAIL", Row::requests).aligned(Align::Right).expendable(3),
        column("WHY", Row::why),
    ]);
    let clients = if status.clients.is_empty() {
        String::new()
    } else {
        format!("\n{}", of_clients(&status.clients, now).lay_out(screen))
    };
    format!("{}\n{}{clients}", header(status, now, screen), table.lay_out(screen))
}

fn of_clients(clients: &[ClientStatus], now: Timestamp) -> Table {
    let column = |heading, cell: &dyn Fn(&ClientStatus) -> String| {
        Column::new(heading, clients.iter().map(|client| (Ink::Plain, cell(client))).collect())
    };
    let last_seen = |client: &ClientStatus| {
        client.last_seen.as_deref().map_or_else(|| "never".to_owned(), |at| times::ago(at, now))
    };
    Table(vec![
        column("CLIENT", &|client| shorten(&printable(&client.name), NAME_COLUMNS_MAX)),
        column("REQUESTS", &|client| client.requests.to_string()).aligned(Align::Right),
        column("LAST SEEN", &last_seen),
    ])
}

fn header(status: &StatusDocument, now: Timestamp, screen: Screen) -> String {
    let all = status.endpoints.len();
    let ink = match status.usable {
        0 => Ink::Bad,
        usable if usable < all => Ink::Warning,
        _ => Ink::Good,
    };
    let before = format!("cluster {} on http://{}  ", printable(&status.cluster), printable(&status.listen));
    let usable = format!("{}/{all} usable", status.usable);
    let after = format!("  since {}", times::ago(&status.started_at, now));
    let room = screen.width.saturating_sub(width(&usable) + width(&after));
    format!("{}{}{}", shorten(&before, room), screen.paint(ink, &usable), screen.paint(Ink::Faint, &after))
}

struct Row<'a> {
    endpoint: &'a EndpointStatus,
    now: Timestamp,
}

impl Row<'_> {
    /// The glyph and the colour of the state, or of the operator's will where that decides.
    fn look(&self) -> (char, Ink) {
        let endpoint = self.endpoint;
        match (endpoint.admin.as_str(), endpoint.state.as_str()) {
            ("active", "healthy" | "unknown") if !endpoint.usable => ('◔', Ink::Warning),
            ("active", "healthy") => ('●', Ink::Good),
            ("active", "unknown") => ('○', Ink::Plain),
            ("active", "recovering") => ('◐', Ink::Warning),
            ("active", _) => ('✗', Ink::Bad),
            _ => ('‖', Ink::Faint),
        }
    }

    fn name(&self) -> String {
        let name = printable(&self.endpoint.name);
        format!("{} {}", self.look().0, shorten(&name, NAME_COLUMNS_MAX))
    }

    fn state(&self) -> String {
        let endpoint = self.endpoint;
        printable(if endpoint.admin == "active" { &endpoint.state } else { &endpoint.admin })
    }

    fn since(&self) -> String {
        times::ago(&self.endpoint.since, self.now)
    }

    fn next_check(&self) -> String {
        let is_in_use = self.endpoint.admin == "active";
        let at = self.endpoint.next_check_at.as_deref().filter(|_| is_in_use);
        at.map(|at| times::ahead(at, self.now)).unwrap_or_default()
    }

    /// What brings it back. An endpoint that is billed per request is never checked.
    fn method(&self) -> String {
        let endpoint = self.endpoint;
        match (&endpoint.next_check_at, endpoint.billing.as_str()) {
            (Some(_), "per-request") => "a request".to_owned(),
            _ => endpoint.check_method.as_deref().map(printable).unwrap_or_default(),
        }
    }

    fn in_flight(&self) -> String {
        self.endpoint.in_flight.to_string()
    }

    fn latency(&self) -> String {
        match self.endpoint.latency_ms {
            Some(ms) if ms < 9_999.5 => format!("{ms:.0}ms"),
            Some(ms) => format!("{:.1}s", ms / 1_000.0),
            None => String::new(),
        }
    }

    fn requests(&self) -> String {
        format!("{}/{}", self.endpoint.requests.passed, self.endpoint.requests.failed)
    }

    fn why(&self) -> String {
        let endpoint = self.endpoint;
        let said = endpoint.last_error.as_deref().map(printable);
        let cause = endpoint.cause.as_deref().map(printable);
        match (&endpoint.cooldown_until, cause, said) {
            (Some(until), None, said) => {
                let said = said.map(|said| format!(": {said}")).unwrap_or_default();
                format!("left alone, back {}{said}", times::ahead(until, self.now))
            }
            (_, Some(cause), Some(said)) => format!("{cause}: {said}"),
            (_, Some(cause), None) => cause,
            (None, None, Some(said)) if endpoint.failures > 0 => {
                let failed = if endpoint.failures == 1 { "failed once" } else { "fails" };
                format!("{failed}: {said}")
            }
            (None, None, _) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
