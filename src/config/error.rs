//! What can be wrong with a configuration, and how it is told.
//!
//! One rule keeps keys out of every message: an error says where a value stands and what would be
//! allowed there, and never repeats the value. Names that the file makes up (of clusters, of
//! endpoints) appear only once they are known to be well-formed names.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::text::is_obeyed_or_unseen;

/// Problems shown of one file; the rest is counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// Longest unknown key that is shown: longer than any setting's name it may be an API key that was
/// pasted where a name belongs.
const UNKNOWN_KEY_SHOWN_MAX: usize = 24;

/// Why there are no settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// Neither a path was given nor is there a home directory to look in.
    NoHome,
    /// There is no file at the path.
    Missing { path: PathBuf },
    /// The file is there, but can't be read.
    Unreadable { path: PathBuf, reason: String },
    /// The file was read and refused. Holds at least one problem, sorted by line.
    Invalid { path: PathBuf, problems: Vec<Problem> },
    /// The file has no cluster of the name that was asked for.
    UnknownCluster { path: PathBuf, name: String, names: Vec<String>, nearest: Option<String> },
    /// No name was given and the file has several clusters.
    ClusterNotNamed { path: PathBuf, names: Vec<String> },
    /// A listen address given on the command line can't be used.
    Listen { cluster: String, fault: Fault },
    /// The address that a running proxy listens on can't be used with a changed configuration.
    StillListening { listening: SocketAddr, fault: Fault },
}

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Dotted, as `clusters.work.endpoints[1].base_url`; empty when the text is not TOML.
    pub key: String,
    pub fault: Fault,
}

/// What is wrong with a value, wherever it stands, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    what: Cow<'static, str>,
    help: Option<String>,
}

impl Fault {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Fault {
        Fault { what: what.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Fault {
        Fault { help: Some(help.into()), ..self }
    }

    /// A key that the schema doesn't have, among the `known` ones of its table.
    pub(super) fn unknown_key<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Fault {
        let near = nearest(name, known.clone());
        let what = if name.len() <= UNKNOWN_KEY_SHOWN_MAX && name.bytes().all(is_bare_key_byte) {
            format!("unknown key `{name}`")
        } else {
            "unknown key (not shown: it isn't like any setting's name)".to_owned()
        };
        Fault::new(what).help(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
        })
    }

    /// A value that is none of the `allowed` ones.
    pub(super) fn not_allowed(value: &str, allowed: &[&'static str]) -> Fault {
        let fault = Fault::new(format!("must be one of {}", allowed.join(", ")));
        match nearest(value, allowed.iter().copied()) {
            Some(near) => fault.help(format!("did you mean \"{near}\"?")),
            None => fault,
        }
    }
}

fn is_bare_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The candidate that `text` is a likely misspelling of: about one slip for three letters.
pub(super) fn nearest<'k>(text: &str, candidates: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if text.len() > 2 * UNKNOWN_KEY_SHOWN_MAX {
        return None;
    }
    let text = text.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&text, &known.replace('-', "_"));
    candidates
        .map(|known| (distance(known), known))
        .filter(|(slips, known)| *slips <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}

/// Text from outside, fit for a terminal: a control character is shown, not obeyed, and so is one that can't be seen.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed_or_unseen(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.what))?;
        match &self.help {
            Some(help) => write!(f, "\n  {}", printable(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &PathBuf| printable(&path.display().to_string());
        match self {
            Self::NoHome => f.write_str(
                "no configuration file: HOME is not set\n  name the file with --config FILE or QCC_CONFIG",
            ),
            Self::Missing { path } => {
                let path = shown(path);
                write!(f, "{path}: there is no such file\n  write a first one with `qcc config init`")
            }
            Self::Unreadable { path, reason } => {
                write!(f, "{}: can't be read: {}", shown(path), printable(reason))
            }
            Self::Invalid { path, problems } => write_problems(f, &shown(path), problems),
            Self::UnknownCluster { path, name, names, nearest } => {
                write!(f, "{}: has no cluster `{}`\n  ", shown(path), printable(name))?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean `{nearest}`?"),
                    None => write!(f, "it has: {}", names.join(", ")),
                }
            }
            Self::ClusterNotNamed { path, names } => {
                let (path, names) = (shown(path), names.join(", "));
                write!(f, "{path}: has several clusters\n  choose one with --cluster: {names}")
            }
            Self::Listen { cluster, fault } => write!(f, "--listen for cluster {cluster}: {fault}"),
            Self::StillListening { listening, fault } => {
                write!(f, "{listening}, which is listened on until the next start, {fault}")
            }
        }
    }
}

fn write_problems(f: &mut fmt::Formatter<'_>, path: &str, problems: &[Problem]) -> fmt::Result {
    for (index, problem) in problems.iter().take(PROBLEMS_SHOWN_MAX).enumerate() {
        if index > 0 {
            f.write_char('\n')?;
        }
        write!(f, "{path}:{}: ", problem.line)?;
        if !problem.key.is_empty() {
            write!(f, "{}: ", printable(&problem.key))?;
        }
        write!(f, "{}", problem.fault)?;
    }
    match problems.len().checked_sub(PROBLEMS_SHOWN_MAX) {
        Some(hidden @ 1..) => write!(f, "\nand {hidden} more"),
        Some(0) | None => Ok(()),
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_finds_the_nearest_one() {
        let known = ["queue_timeout", "max_body", "env"];
        for (text, near) in [
            ("queue_timout", Some("queue_timeout")),
            ("Queue-Timeout", Some("queue_timeout")),
            ("maxBody", Some("max_body")),
            ("evn", Some("env")),
            ("colour", None),
        ] {
            assert_eq!(nearest(text, known.into_iter()), near, "{text}");
        }
    }

    #[test]
    fn a_key_too_long_for_a_setting_is_not_shown() {
        let shown = Fault::unknown_key("sk-canary-0123456789abcdef", ["listen"].into_iter()).to_string();
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn control_characters_are_escaped() {
        let path = PathBuf::from("/tmp/a\u{1b}[31m\nb\u{202e}");
        let shown = ConfigError::Missing { path }.to_string();
        assert!(shown.starts_with("/tmp/a\\u{1b}[31m\\u{a}b\\u{202e}: "), "{shown}");
    }

    #[test]
    fn a_long_list_of_problems_is_cut() {
        let problem = Problem { line: 3, key: "a.b".into(), fault: Fault::new("is wrong").help("mend it") };
        let error = ConfigError::Invalid { path: "f".into(), problems: vec![problem; 22] };
        let shown = error.to_string();
        assert!(shown.starts_with("f:3: a.b: is wrong\n  mend it\nf:3: "), "{shown}");
        assert!(shown.ends_with("\nand 2 more"), "{shown}");
    }
}
