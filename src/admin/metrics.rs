//! The figures in Prometheus' text format, version 0.0.4.

use std::fmt::{self, Write};

use super::status::{CheckCounts, ClientStatus, EndpointStatus, StatusDocument};
use crate::cluster::TallySnapshot;

const STATES: [&str; 4] = ["unknown", "healthy", "unhealthy", "recovering"];

/// The metrics of a cluster, from the same document that people see.
pub(super) fn text(status: &StatusDocument) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: &dyn Fn(&EndpointStatus, &mut Lines<'_>)| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for endpoint in &status.endpoints {
            lines(endpoint, &mut Lines { out: &mut out, name, cluster: &status.cluster, endpoint });
        }
    };
    family("qcc_endpoint_usable", "gauge", "Whether a request may go there now.", &|endpoint, lines| {
        lines.add("", f64::from(u8::from(endpoint.usable)));
    });
    family("qcc_endpoint_state", "gauge", "1 for the state that it is in.", &|endpoint, lines| {
        for state in STATES {
            lines.add(&format!(",state=\"{state}\""), f64::from(u8::from(endpoint.state == state)));
        }
    });
    family("qcc_endpoint_epoch", "counter", "Periods of its health.", &|endpoint, lines| {
        lines.add("", f64::from(endpoint.epoch));
    });
    family("qcc_endpoint_failures", "gauge", "Consecutive weighted failures.", &|endpoint, lines| {
        lines.add("", f64::from(endpoint.failures));
    });
    family("qcc_endpoint_backoff_level", "gauge", "Backoff level.", &|endpoint, lines| {
        lines.add("", f64::from(endpoint.level));
    });
    family("qcc_endpoint_in_flight", "gauge", "Requests under way.", &|endpoint, lines| {
        lines.add("", f64::from(endpoint.in_flight));
    });
    family(
        "qcc_endpoint_first_content_seconds",
        "gauge",
        "Moving average of the time to the first content.",
        &|endpoint, lines| {
            if let Some(latency_ms) = endpoint.latency_ms {
                lines.add("", latency_ms / 1000.0);
            }
        },
    );
    family("qcc_requests_total", "counter", "Users' requests by outcome.", &|endpoint, lines| {
        let TallySnapshot { passed, failed, neutral, stale, .. } = endpoint.requests;
        let outcomes = [("passed", passed), ("failed", failed), ("neutral", neutral), ("stale", stale)];
        lines.add_outcomes(&outcomes);
    });
    family("qcc_requests_sent_total", "counter", "Users' requests sent.", &|endpoint, lines| {
        lines.add("", endpoint.requests.sent as f64);
    });
    family("qcc_checks_total", "counter", "Checks by outcome.", &|endpoint, lines| {
        let CheckCounts { passed, failed, neutral, .. } = endpoint.checks;
        lines.add_outcomes(&[("passed", passed), ("failed", failed), ("neutral", neutral)]);
    });
    family("qcc_checks_sent_total", "counter", "Checks sent.", &|endpoint, lines| {
        lines.add("", endpoint.checks.sent as f64);
    });
    let cluster = Label(&status.cluster);
    let name = "qcc_retries_refused_total";
    let help = "Requests not sent to another endpoint, since too many were failing.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
    let _ = writeln!(out, "{name}{{cluster=\"{cluster}\"}} {}", status.retries_refused);
    let name = "qcc_client_requests_total";
    let _ = writeln!(out, "# HELP {name} Requests let in, by the client's token.\n# TYPE {name} counter");
    for ClientStatus { name: client, requests, .. } in &status.clients {
        let client = Label(client);
        let _ = writeln!(out, "{name}{{cluster=\"{cluster}\",client=\"{client}\"}} {requests}");
    }
    out
}

/// A label's value between its quotes: three characters need an escape there (Prometheus, "Exposition formats",
/// comments, help text, and type information).
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

/// The lines of one endpoint in a family.
struct Lines<'a> {
    out: &'a mut String,
    name: &'a str,
    cluster: &'a str,
    endpoint: &'a EndpointStatus,
}

impl Lines<'_> {
    fn add(&mut self, labels: &str, value: f64) {
        let (name, cluster, endpoint) = (self.name, Label(self.cluster), Label(&self.endpoint.name));
        let _ = writeln!(self.out, "{name}{{cluster=\"{cluster}\",endpoint=\"{endpoint}\"{labels}}} {value}");
    }

    fn add_outcomes(&mut self, outcomes: &[(&str, u64)]) {
        for (outcome, count) in outcomes {
            self.add(&format!(",outcome=\"{outcome}\""), *count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_neither_its_label_nor_its_line() {
        let shown = Label("a\"} 1\nqcc_forged{x=\"\\").to_string();
        assert_eq!(shown, r#"a\"} 1\nqcc_forged{x=\"\\"#);
        assert_eq!(Label("relay-2.eu").to_string(), "relay-2.eu");
    }
}
