//! Whatever the text: no panic, and no key in a message.

use std::path::Path;

use proptest::prelude::*;

use super::super::{Environment, parse_str};
use super::{CANARY, file};

fn valid() -> String {
    let cluster =
        "health = { failure_threshold = 2, backoff_base = \"1s\" }\nclient_tokens = [{ env = \"TOKEN\" }]";
    let second = r#"models = ["claude-*"]

[[clusters.work.endpoints]]
name = "b"
base_url = "http://[::1]:1/x"
api_key = { env = "TOKEN" }
auth = "bearer"
weight = 7"#;
    file(cluster, second)
}

fn environment() -> Environment {
    Environment::closed([("TOKEN", "t"), ("HOME", "/h")])
}

/// Parses without touching anything outside; whatever comes out must not show the key.
fn survives(text: &str) {
    let shown = match parse_str(text, Path::new("config.toml"), &environment()) {
        Ok(settings) => {
            for cluster in settings.clusters.values() {
                assert!(!cluster.endpoints.is_empty() && (1..=32).contains(&cluster.max_attempts));
                assert!(cluster.listen.ip().is_loopback() || !cluster.client_tokens.is_empty());
                assert!(
                    !cluster.timeouts.idle.is_zero()
                        && cluster.health.backoff_base <= cluster.health.backoff_max
                );
            }
            format!("{settings:?}")
        }
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(CANARY), "{shown}");
}

#[derive(Debug, Clone)]
enum Mutation {
    Delete(usize, usize),
    Insert(usize, String),
    SwapLines(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = 0..1000_usize;
    let snippet = prop_oneof![
        "[\\[\\]{}\"'=.,#\n\\\\ a-z0-9]{1,6}",
        prop::sample::select(vec![
            "\"\"\"",
            "\u{0}",
            "\u{1b}[",
            "= {",
            "ü",
            "\r\n",
            "-1",
            "1e999",
            "1979-05-27",
            "true",
            "[]",
            "{}"
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        (place.clone(), 1..30_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place.clone(), snippet).prop_map(|(at, text)| Mutation::Insert(at, text)),
        (place.clone(), place).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
    ]
}

fn mutate(text: String, mutation: &Mutation) -> String {
    let count = text.chars().count().max(1);
    match mutation {
        Mutation::Delete(at, length) => {
            let at = at % count;
            text.chars().enumerate().filter(|(i, _)| *i < at || *i >= at + length).map(|(_, c)| c).collect()
        }
        Mutation::Insert(at, snippet) => {
            let (before, after): (Vec<_>, Vec<_>) =
                text.chars().enumerate().partition(|(i, _)| *i < at % count);
            let join = |chars: Vec<(usize, char)>| chars.into_iter().map(|(_, c)| c).collect::<String>();
            join(before) + snippet + &join(after)
        }
        Mutation::SwapLines(a, b) => {
            let mut lines: Vec<_> = text.lines().collect();
            let count = lines.len().max(1);
            if lines.len() > 1 {
                lines.swap(a % count, b % count);
            }
            lines.join("\n")
        }
    }
}

#[test]
fn the_text_that_is_mutated_is_valid() {
    assert!(parse_str(&valid(), Path::new("f"), &environment()).is_ok());
}

#[test]
fn nothing_outside_is_touched() {
    let text = valid().replace("env = \"TOKEN\"", "file = \"~/b\"");
    let shown = parse_str(&text, Path::new("f"), &environment()).unwrap_err().to_string();
    assert!(
        shown.contains("endpoints[1].api_key: keys are not fetched from files and commands here"),
        "{shown}"
    );
}

#[test]
fn deep_nesting_is_survived() {
    for text in ["[".repeat(10_000), "a = ".to_owned() + &"[".repeat(10_000), "a.".repeat(10_000) + "b = 1"] {
        survives(&text);
        survives(&format!("clusters.{text}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_text_is_survived(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn a_mutated_file_is_survived_and_shows_no_key(mutations in prop::collection::vec(mutation(), 1..5)) {
        survives(&mutations.iter().fold(valid(), mutate));
    }
}
