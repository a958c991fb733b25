//! The figures in Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use super::status::{CheckCounts, EndpointStatus, StatusDocument};
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
    let name = "qcc_retries_refused_total";
    let help = "Requests not sent to another endpoint, since too many were failing.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
    let _ = writeln!(out, "{name}{{cluster=\"{}\"}} {}", status.cluster, status.retries_refused);
    out
}

/// The lines of one endpoint in a family. Names hold nothing that would need an escape.
struct Lines<'a> {
    out: &'a mut String,
    name: &'a str,
    cluster: &'a str,
    endpoint: &'a EndpointStatus,
}

impl Lines<'_> {
    fn add(&mut self, labels: &str, value: f64) {
        let (name, cluster, endpoint) = (self.name, self.cluster, &self.endpoint.name);
        let _ = writeln!(self.out, "{name}{{cluster=\"{cluster}\",endpoint=\"{endpoint}\"{labels}}} {value}");
    }

    fn add_outcomes(&mut self, outcomes: &[(&str, u64)]) {
        for (outcome, count) in outcomes {
            self.add(&format!(",outcome=\"{outcome}\""), *count as f64);
        }
    }
}
