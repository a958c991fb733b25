//! `qcc check`

use std::path::Path;

use serde_json::json;

use super::args::CheckArgs;
use super::exit::{Exit, Failure};
use super::output::{Ink, Screen};
use super::{block_on, output};
use crate::config::{ClusterSettings, Environment, Settings, printable};
use crate::prober::{self, CheckLine, CheckOutcome};

pub fn run(asked: &CheckArgs, config: Option<&Path>, environment: &Environment) -> Result<Exit, Failure> {
    // The name first, so that only this cluster's secrets are asked for.
    let names = Settings::load_names(config, environment)?;
    let name = names.cluster_name(asked.which.cluster.as_deref())?;
    let settings = Settings::load(config, Some(name), environment)?;
    let cluster = settings.cluster(Some(name))?;
    let only = asked.endpoint.as_deref();
    if let Some(endpoint) = only {
        check_name(endpoint, cluster)?;
    }
    let method = asked.method.map(Into::into);
    let lines = block_on(prober::check_round(cluster, only, method))?.map_err(Failure::usage)?;
    let text = if asked.json { json(name, &lines) } else { table(&lines, Screen::of_stdout(environment)) };
    output::print(&text)?;
    Ok(Exit::of_usable(usable(&lines), lines.len()))
}

fn check_name(endpoint: &str, cluster: &ClusterSettings) -> Result<(), Failure> {
    let names: Vec<&str> = cluster.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    if names.contains(&endpoint) {
        return Ok(());
    }
    let (cluster, names) = (&cluster.name, names.join(", "));
    Err(Failure::usage(format!("cluster {cluster} has no endpoint {endpoint}\n  it has: {names}")))
}

fn usable(lines: &[CheckLine]) -> usize {
    lines.iter().filter(|line| line.usable).count()
}

/// A line an endpoint: `✓ main  passed  model-list  150ms`.
fn table(lines: &[CheckLine], screen: Screen) -> String {
    let name_width = lines.iter().map(|line| line.endpoint.len()).max().unwrap_or(0);
    let row = |line: &CheckLine| {
        let (glyph, ink) = match line.outcome {
            CheckOutcome::Passed => ('✓', Ink::Good),
            CheckOutcome::Failed => ('✗', Ink::Bad),
            CheckOutcome::Neutral => ('?', Ink::Warning),
            CheckOutcome::Skipped => ('–', Ink::Faint),
        };
        let name = screen.paint(ink, &format!("{glyph} {:name_width$}", printable(&line.endpoint)));
        let outcome = line.outcome.as_str();
        let method = line.method.map(|method| method.as_str()).unwrap_or_default();
        let latency = line.latency.map(|latency| format!("{}ms", latency.as_millis())).unwrap_or_default();
        // That it passed is said already.
        let is_news = line.outcome != CheckOutcome::Passed;
        let detail = if is_news { printable(&line.detail) } else { String::new() };
        let text = format!("{name}  {outcome:7}  {method:10}  {latency:>7}  {detail}");
        text.trim_end().to_owned() + "\n"
    };
    lines.iter().map(row).collect()
}

fn json(cluster: &str, lines: &[CheckLine]) -> String {
    let endpoints: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "name": line.endpoint,
                "outcome": line.outcome.as_str(),
                "method": line.method.map(|method| method.as_str()),
                "usable": line.usable,
                "detail": line.detail,
                "latency_ms": line.latency.map(|latency| latency.as_millis() as u64),
            })
        })
        .collect();
    let document = json!({"version": 1, "cluster": cluster, "usable": usable(lines), "endpoints": endpoints});
    output::printable_json(&format!("{document:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qcc_fsm::CheckMethod;
    use std::time::Duration;

    fn lines() -> Vec<CheckLine> {
        let line = |endpoint: &str, outcome, usable, detail: &str| CheckLine {
            endpoint: endpoint.to_owned(),
            method: (outcome != CheckOutcome::Skipped).then_some(CheckMethod::ModelList),
            outcome,
            usable,
            detail: detail.to_owned(),
            latency: (outcome != CheckOutcome::Skipped).then_some(Duration::from_millis(150)),
        };
        vec![
            line("main", CheckOutcome::Passed, true, "passed"),
            line("backup", CheckOutcome::Failed, false, "401 \u{1b}[2Jinvalid x-api-key"),
            line("relay", CheckOutcome::Skipped, true, "billed per request: never checked"),
        ]
    }

    #[test]
    fn each_endpoint_has_a_line_and_the_terminal_is_safe() {
        let screen = Screen { is_terminal: false, has_colour: false, width: 80 };
        assert_eq!(
            table(&lines(), screen),
            "✓ main    passed   model-list    150ms
✗ backup  failed   model-list    150ms  401 \\u{1b}[2Jinvalid x-api-key
– relay   skipped                       billed per request: never checked
"
        );
    }

    #[test]
    fn an_endpoint_billed_per_request_counts_as_usable() {
        assert_eq!(usable(&lines()), 2);
        let document: serde_json::Value = serde_json::from_str(&json("work", &lines())).unwrap();
        assert_eq!((&document["usable"], &document["endpoints"][2]["method"]), (&json!(2), &json!(null)));
    }
}
