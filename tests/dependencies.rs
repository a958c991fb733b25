//! What the program is built of: from where, under which licences, in how many versions. `.deny.toml` says what is
//! allowed; this needs no tool but cargo.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

const LOCK_FILES: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn policy() -> Table {
    read(".deny.toml").parse().unwrap()
}

fn packages(lock_file: &str) -> Vec<Table> {
    let lock: Table = read(lock_file).parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    assert!(packages.len() > 50, "{lock_file}");
    packages.iter().map(|package| package.as_table().unwrap().clone()).collect()
}

fn text<'t>(table: &'t Table, key: &str) -> &'t str {
    table[key].as_str().unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_comes_from_the_registry_with_a_checksum_or_is_our_own() {
    let registries = texts(&policy()["sources"]["allow-registry"]);
    for package in LOCK_FILES.into_iter().flat_map(packages) {
        let name = text(&package, "name");
        match package.get("source") {
            None => assert!(name == "qcc" || name == "qcc-fsm" || name == "qcc-fuzz", "{name}"),
            Some(source) => {
                let source = source.as_str().unwrap().strip_prefix("registry+").unwrap_or("no registry");
                assert!(registries.iter().any(|registry| registry == source), "{name} is from {source}");
                assert_eq!(text(&package, "checksum").len(), 64, "{name}");
            }
        }
    }
}

/// The crates of which an older version may stand beside another, as `name` and the beginning of its version.
fn skips() -> Vec<(String, String)> {
    let skips = policy()["bans"]["skip"].as_array().unwrap().clone();
    let parts = |skip: &Value| {
        assert!(skip["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{skip:?}");
        let (name, version) = skip["crate"].as_str().unwrap().split_once('@').unwrap();
        (name.to_owned(), format!("{version}."))
    };
    skips.iter().map(parts).collect()
}

#[test]
fn a_crate_stands_there_twice_only_where_a_reason_is_given() {
    let skips = skips();
    let mut unused = skips.clone();
    for lock_file in LOCK_FILES {
        let mut versions = BTreeMap::<String, Vec<String>>::new();
        for package in packages(lock_file) {
            let (name, version) = (text(&package, "name"), text(&package, "version"));
            versions.entry(name.to_owned()).or_default().push(version.to_owned());
        }
        for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
            let is_skipped = |version: &String| {
                skips.iter().any(|(skipped, start)| *skipped == name && version.starts_with(start))
            };
            unused.retain(|(used, start)| {
                *used != name || !versions.iter().any(|version| version.starts_with(start))
            });
            let left: Vec<&String> = versions.iter().filter(|version| !is_skipped(version)).collect();
            assert!(left.len() <= 1, "{lock_file}: {name} in versions {left:?}, without a reason");
        }
    }
    assert!(unused.is_empty(), "no longer there twice: {unused:?}");
}

/// Whether a licence expression (SPDX, with the older `/` for OR) is fulfilled by licences that are allowed. AND binds
/// closer than OR.
fn is_fulfilled(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let fulfilled = any_of(&mut words, is_allowed);
    assert!(words.next().is_none(), "not an expression: {expression}");
    fulfilled
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any_of(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut fulfilled = all_of(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        fulfilled |= all_of(words, is_allowed);
    }
    fulfilled
}

fn all_of(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut fulfilled = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        fulfilled &= one(words, is_allowed);
    }
    fulfilled
}

fn one(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let word = words.next().unwrap_or("nothing");
    if word == "(" {
        let fulfilled = any_of(words, is_allowed);
        assert_eq!(words.next(), Some(")"));
        return fulfilled;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => is_allowed(&format!("{word} WITH {}", words.next().unwrap_or("nothing"))),
        None => is_allowed(word),
    }
}

#[test]
fn an_expression_is_fulfilled_by_one_side_of_or_and_by_both_of_and() {
    let fulfilled = |expression| is_fulfilled(expression, &|licence| licence == "MIT" || licence == "ISC");
    for expression in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "MIT AND ISC", "(MIT OR GPL-3.0) AND ISC"] {
        assert!(fulfilled(expression), "{expression}");
    }
    for expression in ["GPL-3.0", "MIT AND GPL-3.0", "MIT WITH x", "(MIT OR ISC) AND GPL-3.0", "MIT-0", ""] {
        assert!(!fulfilled(expression), "{expression}");
    }
}

/// Every package that is built here, by its manifest.
fn built() -> Vec<serde_json::Value> {
    let cargo = || Command::new(env!("CARGO"));
    let version = cargo().arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let arguments = ["metadata", "--locked", "--format-version", "1", "--filter-platform", host];
    let done = cargo().args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    document["packages"].as_array().unwrap().clone()
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let policy = policy();
    let allowed = texts(&policy["licenses"]["allow"]);
    let packages = built();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        let is_allowed = |licence: &str| allowed.iter().any(|allowed| allowed == licence);
        assert!(is_fulfilled(licence, &is_allowed), "{name} is under {licence}");
    }
}

#[test]
fn what_ci_builds_is_what_the_lock_files_say() {
    for script in [".ci/run", "fsm/tests/mutants.sh"] {
        let whole_lines = read(script).replace("\\\n", " ");
        let mut seen = 0;
        for line in whole_lines.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let builds = ["build", "clippy", "test", "run", "bench", "deny", "metadata"];
            if builds.iter().any(|command| line.contains(&format!("cargo {command} "))) {
                assert!(line.contains("--locked"), "{script}: {line}");
                seen += 1;
            }
        }
        assert!(seen > 0, "{script}");
    }
}
