//! The house rules that a compiler does not see: which room may look at which, what is read where, how
//! long a file may grow.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// From left to right: a room may use those before it. Rooms of one rank may not use each other.
const RANKS: &[&[&str]] = &[
    &["charset"],
    &["alarm", "clock", "fields", "process", "slots", "text"],
    &["answer", "chunked"],
    &["config"],
    &["upstream"],
    &["cluster"],
    &["exchange"],
    &["prober", "proxy"],
    &["admin"],
    &["app"],
    &["cli"],
];
/// A file that grows beyond this is two rooms.
const LINES_MAX: usize = 400;

struct Source {
    path: PathBuf,
    room: String,
    /// The text before the tests in it.
    code: String,
    lines: usize,
}

fn sources(under: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(under);
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
                let text = fs::read_to_string(&path).unwrap();
                let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let room = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push(Source { path, room, code, lines: text.lines().count() });
            }
        }
    }
    assert!(found.len() > 5, "{under} was not found");
    found
}

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a source names as `crate::ROOM`, alone or in a list.
fn rooms_used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let named: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in named {
            let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
            used.push(name.trim().chars().take_while(|c| is_part(*c)).collect());
        }
    }
    used
}

#[test]
fn each_room_looks_only_to_its_left() {
    for source in sources("src") {
        if matches!(source.room.as_str(), "main" | "lib") {
            continue;
        }
        let own = rank(&source.room).unwrap_or_else(|| panic!("{:?} has no place", source.path));
        for used in rooms_used(&source.code).into_iter().filter(|used| *used != source.room) {
            let Some(other) = rank(&used) else { continue };
            assert!(other < own, "{:?} uses {used}", source.path);
        }
    }
}

#[test]
fn the_order_of_rooms_is_the_one_that_the_documents_show() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md")).unwrap();
    assert!(page.contains(
        "fsm ← config ← upstream ← cluster ← exchange ← prober | proxy ← admin ← app ← cli ← main"
    ));
}

#[test]
fn the_core_does_no_input_or_output_and_knows_no_clock() {
    for source in sources("fsm/src") {
        for word in ["std::", "tokio", "println", "tracing", "Instant", "SystemTime", "unsafe "] {
            let in_docs = |line: &str| line.trim_start().starts_with("//");
            let uses = source.code.lines().any(|line| !in_docs(line) && line.contains(word));
            assert!(!uses, "{:?} uses {word}", source.path);
        }
    }
}

#[test]
fn an_atomic_is_named_in_one_place_of_the_core() {
    for source in sources("fsm/src") {
        let names = source.code.contains("core::sync::atomic::{") || source.code.contains("loom::sync");
        assert_eq!(names, source.path.ends_with("sync.rs"), "{:?}", source.path);
    }
}

#[test]
fn nothing_in_the_program_gives_up_by_panicking() {
    for source in sources("src").into_iter().chain(sources("fsm/src")) {
        for word in
            [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!(", "dbg!("]
        {
            let in_docs = |line: &str| line.trim_start().starts_with("//");
            let uses = source.code.lines().any(|line| !in_docs(line) && line.contains(word));
            assert!(!uses, "{:?} uses {word}", source.path);
        }
    }
}

#[test]
fn a_key_is_exposed_where_it_is_written_or_taken_out_and_nowhere_else() {
    let allowed = ["upstream/head.rs"];
    for source in sources("src").into_iter().filter(|source| source.room != "config") {
        let exposes = source.code.contains(".expose()");
        assert!(!exposes || allowed.iter().any(|end| source.path.ends_with(end)), "{:?}", source.path);
    }
}

#[test]
fn no_file_is_longer_than_two_rooms() {
    for source in sources("src").into_iter().chain(sources("fsm/src")) {
        assert!(source.lines <= LINES_MAX, "{:?} has {} lines", source.path, source.lines);
    }
}
