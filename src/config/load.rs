//! From a file, or its text, to settings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::DeTable;
use zeroize::Zeroizing;

use super::assemble::{self, Wanted};
use super::error::{ConfigError, Fault};
use super::paths::Environment;
use super::settings::Settings;
use super::{files, keys, read};

/// Largest configuration file; one with a thousand endpoints is a quarter of it.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Room in which the end of a file is looked for.
const READ_AHEAD_BYTES: usize = 1 << 10;

impl Settings {
    /// Reads and checks the file: the one given, else `$QCC_CONFIG`, else the one in the XDG
    /// directory. Secrets are fetched for the cluster `only`, or for all: a key that is missing in
    /// one cluster must not stop another. Blocks, up to 10 s for each secret that is asked of a
    /// command; no command runs unless the rest of the file is right.
    ///
    /// # Errors
    /// The file can't be found or read, or has problems, of which all are told.
    pub fn load(
        explicit: Option<&Path>,
        only: Option<&str>,
        env: &Environment,
    ) -> Result<Settings, ConfigError> {
        load(explicit, only.map_or(Wanted::All, Wanted::Cluster), env)
    }

    /// As [`Settings::load`] without any secret: `clusters` is empty and `names` is not. For commands
    /// that talk to a running proxy.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_names(explicit: Option<&Path>, env: &Environment) -> Result<Settings, ConfigError> {
        load(explicit, Wanted::Nothing, env)
    }
}

/// Checks a configuration that was read already, and fetches all its secrets. `path` is for messages
/// and for relative paths of key files.
///
/// # Errors
/// The text has problems, of which all are told.
pub fn parse_str(text: &str, path: &Path, env: &Environment) -> Result<Settings, ConfigError> {
    parse(text, path, env, Wanted::All, None)
}

fn load(explicit: Option<&Path>, wanted: Wanted<'_>, env: &Environment) -> Result<Settings, ConfigError> {
    let path = env.config_file(explicit)?;
    let (text, open_to_others) = read_file(&path)?;
    parse(&text, &path, env, wanted, open_to_others)
}

/// The text, and the file's mode where others can read it.
fn read_file(path: &Path) -> Result<(Zeroizing<String>, Option<u32>), ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| match error.kind() == io::ErrorKind::NotFound {
        true => ConfigError::Missing { path: path.to_owned() },
        false => unreadable(error.to_string()),
    })?;
    let mode = files::mode_open_to_others(&file).map_err(|error| unreadable(error.to_string()))?;
    // Keys may stand in it, and a text that grows leaves copies of itself behind.
    let size_bytes = file.metadata().map_or(0, |found| found.len()).min(FILE_MAX_BYTES);
    let mut text = Zeroizing::new(String::with_capacity(size_bytes as usize + READ_AHEAD_BYTES));
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(unreadable("it is larger than 1 MiB".to_owned()));
    }
    Ok((text, mode))
}

/// Checks everything first and then once more with secrets, so that no command is run, and nobody
/// asked for a passphrase, in vain.
fn parse(
    text: &str,
    path: &Path,
    env: &Environment,
    wanted: Wanted<'_>,
    open_to_others: Option<u32>,
) -> Result<Settings, ConfigError> {
    let checked = pass(text, path, env, Wanted::Nothing, open_to_others)?;
    match wanted {
        Wanted::Nothing => Ok(checked),
        Wanted::Cluster(_) | Wanted::All => pass(text, path, env, wanted, open_to_others),
    }
}

fn pass(
    text: &str,
    path: &Path,
    env: &Environment,
    wanted: Wanted<'_>,
    open_to_others: Option<u32>,
) -> Result<Settings, ConfigError> {
    let source = read::Source { text, path, open_to_others, problems: RefCell::default() };
    let (mut names, mut clusters) = (Vec::new(), BTreeMap::new());
    match DeTable::parse(text) {
        Ok(table) => {
            let root = read::Section::open(&source, &keys::ROOT, String::new(), 0, table.get_ref());
            (names, clusters) = assemble::clusters(&root, env, wanted);
        }
        // Of toml's error only the message: its Display quotes the line, which may hold a key.
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            source.note(at, "", Fault::new(format!("not valid TOML: {}", error.message())));
        }
    }
    let mut problems = source.problems.into_inner();
    problems.sort_by_key(|problem| problem.line);
    match problems.is_empty() {
        true => Ok(Settings { path: path.to_owned(), names, clusters }),
        false => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
    }
}
