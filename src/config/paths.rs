//! What the process's surroundings say, and the paths that follow from it.
//!
//! The only place in the program that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// The environment variables that qcc knows, read once, and a way to look up those that a
/// configuration names.
///
/// Has no `Debug`: variables hold keys.
#[derive(Clone)]
pub struct Environment {
    qcc_config: Option<PathBuf>,
    qcc_log: Option<String>,
    no_color: bool,
    home: Option<PathBuf>,
    xdg_config_home: Option<PathBuf>,
    xdg_state_home: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    variables: Variables,
    pub(super) outside: Outside,
}

#[derive(Clone)]
enum Variables {
    Process,
    Given(BTreeMap<String, String>),
}

/// Whether keys may be read from files and asked of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    Open,
    Closed,
}

impl Environment {
    /// The process's own environment.
    pub fn from_process() -> Environment {
        Environment::new(Variables::Process, Outside::Open)
    }

    /// These variables and no others.
    pub fn from_map<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Environment::new(Variables::Given(variables.into_iter().map(owned).collect()), Outside::Open)
    }

    /// These variables, and no key is read from a file or asked of a command: for input that nobody
    /// trusts, as in fuzzing.
    pub fn closed<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        Environment { outside: Outside::Closed, ..Environment::from_map(variables) }
    }

    fn new(variables: Variables, outside: Outside) -> Environment {
        let set = |name: &str| read(&variables, name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        // The XDG base directory specification: a relative path is invalid and to be ignored.
        let directory = |name: &str| path(name).filter(|path| path.is_absolute());
        Environment {
            qcc_config: path("QCC_CONFIG"),
            qcc_log: set("QCC_LOG").and_then(|value| value.into_string().ok()),
            no_color: set("NO_COLOR").is_some(),
            home: directory("HOME"),
            xdg_config_home: directory("XDG_CONFIG_HOME"),
            xdg_state_home: directory("XDG_STATE_HOME"),
            xdg_runtime_dir: directory("XDG_RUNTIME_DIR"),
            variables,
            outside,
        }
    }

    /// The variable that a configuration names for a secret; `None` when it isn't set.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        read(&self.variables, name)
    }

    /// `QCC_LOG`: the level of the log, as a filter of `tracing`.
    pub fn log_filter(&self) -> Option<&str> {
        self.qcc_log.as_deref()
    }

    /// `NO_COLOR`: set to anything but nothing (no-color.org).
    pub fn no_color(&self) -> bool {
        self.no_color
    }

    /// The configuration file: the one given, else `$QCC_CONFIG`, else `qcc/config.toml` under
    /// `$XDG_CONFIG_HOME` or `~/.config`. It need not exist.
    ///
    /// # Errors
    /// None of these is set and there is no home directory.
    pub fn config_file(&self, explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
        explicit
            .map(Path::to_path_buf)
            .or_else(|| self.qcc_config.clone())
            .or_else(|| self.base(&self.xdg_config_home, ".config").map(|base| base.join("qcc/config.toml")))
            .ok_or(ConfigError::NoHome)
    }

    /// Where the control sockets are: `$XDG_RUNTIME_DIR/qcc`, else `$XDG_STATE_HOME/qcc`, else
    /// `~/.local/state/qcc`. It need not exist.
    ///
    /// # Errors
    /// None of these is set and there is no home directory.
    pub fn control_dir(&self) -> Result<PathBuf, ConfigError> {
        self.xdg_runtime_dir
            .clone()
            .or_else(|| self.base(&self.xdg_state_home, ".local/state"))
            .map(|base| base.join("qcc"))
            .ok_or(ConfigError::NoHome)
    }

    /// The control socket of the proxy of a cluster.
    ///
    /// # Errors
    /// As [`Environment::control_dir`].
    pub fn control_socket(&self, cluster: &str) -> Result<PathBuf, ConfigError> {
        Ok(self.control_dir()?.join(format!("{cluster}.sock")))
    }

    fn base(&self, xdg: &Option<PathBuf>, below_home: &str) -> Option<PathBuf> {
        xdg.clone().or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }

    /// A path as a person writes it: `~/` is the home directory, a relative path starts at
    /// `directory`. `None` when there is no home directory.
    pub(super) fn expand(&self, path: &str, directory: &Path) -> Option<PathBuf> {
        match path.strip_prefix("~/") {
            Some(below) => self.home.as_ref().map(|home| home.join(below)),
            None => Some(directory.join(path)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the environment")]
fn read(variables: &Variables, name: &str) -> Option<OsString> {
    match variables {
        // The one look at the real environment in the whole program.
        Variables::Process => std::env::var_os(name),
        Variables::Given(given) => given.get(name).map(OsString::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_file_wins_then_the_variable_then_xdg_then_home() {
        let all = [("QCC_CONFIG", "q.toml"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        let file = |variables: &[(&str, &str)], explicit: Option<&str>| {
            Environment::from_map(variables.iter().copied()).config_file(explicit.map(Path::new))
        };
        assert_eq!(file(&all, Some("given.toml")), Ok("given.toml".into()));
        assert_eq!(file(&all, None), Ok("q.toml".into()));
        assert_eq!(file(&all[1..], None), Ok("/x/qcc/config.toml".into()));
        assert_eq!(file(&all[2..], None), Ok("/h/.config/qcc/config.toml".into()));
        assert_eq!(file(&[], None), Err(ConfigError::NoHome));
    }

    #[test]
    fn the_socket_is_in_the_runtime_directory_else_in_the_state_directory() {
        let all = [("XDG_RUNTIME_DIR", "/run/user/1"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        let socket = |variables: &[(&str, &str)]| {
            Environment::from_map(variables.iter().copied()).control_socket("work")
        };
        assert_eq!(socket(&all), Ok("/run/user/1/qcc/work.sock".into()));
        assert_eq!(socket(&all[1..]), Ok("/s/qcc/work.sock".into()));
        assert_eq!(socket(&all[2..]), Ok("/h/.local/state/qcc/work.sock".into()));
        assert_eq!(socket(&[]), Err(ConfigError::NoHome));
    }

    #[test]
    fn empty_variables_and_relative_directories_count_as_unset() {
        let variables = [("QCC_CONFIG", ""), ("XDG_CONFIG_HOME", "x"), ("HOME", "/h"), ("NO_COLOR", "")];
        let environment = Environment::from_map(variables);
        assert_eq!(environment.config_file(None), Ok("/h/.config/qcc/config.toml".into()));
        assert!(!environment.no_color());
        assert!(Environment::from_map([("NO_COLOR", "0")]).no_color());
    }
}
