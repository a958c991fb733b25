//! What the pages on security and reliability promise is shown by tests that exist.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of a place, which is a file without its ending or a folder.
fn files_of(place: &str) -> Vec<PathBuf> {
    let (file, folder) = (root().join(format!("{place}.rs")), root().join(place));
    let mut found: Vec<PathBuf> = file.is_file().then_some(file).into_iter().collect();
    let mut folders: Vec<PathBuf> = folder.is_dir().then_some(folder).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found
}

fn has_test(place: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    files_of(place).iter().any(|path| fs::read_to_string(path).unwrap().contains(&head))
}

/// The tests that a page names, as `PLACE::NAME`; a place is a folder or file from the root on.
fn named_in(page: &str) -> Vec<(String, String)> {
    let quoted = page.split('`').skip(1).step_by(2);
    let split = quoted
        .filter(|text| text.starts_with("tests/") || text.starts_with("src/") || text.starts_with("fsm/"));
    split
        .filter_map(|text| text.split_once("::"))
        .map(|(place, name)| (place.to_owned(), name.to_owned()))
        .collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    for page in ["docs/security.md", "docs/reliability.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let named = named_in(&text);
        assert!(named.len() >= 10, "{page} names {} tests", named.len());
        for (place, name) in named {
            assert!(has_test(&place, &name), "{page}: there is no test {name} in {place}");
        }
    }
}

#[test]
fn every_row_of_their_tables_names_a_test() {
    for page in ["docs/security.md", "docs/reliability.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")) {
            let is_head = row.contains("| Shown by |");
            assert!(is_head || !named_in(row).is_empty() || row.contains("`tests/"), "{page}: {row}");
        }
    }
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    assert!(has_test("tests/documents", "a_test_that_does_not_exist_is_noticed"));
    assert!(!has_test("tests/documents", "a_test_that_nobody_wrote"));
    assert!(!has_test("tests/nowhere", "a_test_that_does_not_exist_is_noticed"));
    assert_eq!(named_in("x `tests/a::b_c` y `z::w`"), [("tests/a".to_owned(), "b_c".to_owned())]);
}
