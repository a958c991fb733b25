//! The program under test, started on a cluster, and its commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::LIMIT;
use super::config::{Cluster, TempDir};
use super::process::{self, Done, Running};

/// A running `qcc proxy start`, with a home of its own.
pub struct Qcc {
    process: Running,
    address: String,
    home: Home,
}

/// Where the program's files are: configuration, state, sockets. Enough for commands that need no proxy.
pub struct Home {
    directory: TempDir,
    cluster: String,
    environment: Vec<(String, String)>,
}

impl Home {
    pub fn new(cluster: &Cluster) -> Self {
        let home = Self::empty(&cluster.name);
        home.write_config(&cluster.render());
        home.with(cluster.environment())
    }

    /// Without a configuration file.
    pub fn empty(cluster: &str) -> Self {
        Self { directory: TempDir::new(), cluster: cluster.into(), environment: Vec::new() }
    }

    /// Adds environment variables.
    pub fn with(mut self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(environment);
        self
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    pub fn config_path(&self) -> PathBuf {
        self.path("qcc.toml")
    }

    pub fn write_config(&self, text: &str) {
        self.write_private("qcc.toml", text);
    }

    pub fn write_private(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
    }

    pub fn socket_path(&self) -> PathBuf {
        self.path("run/qcc").join(format!("{}.sock", self.cluster))
    }

    /// Runs `qcc ARGS` to its end. `$QCC_CONFIG` names the configuration file, where there is one.
    pub fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, &[])
    }

    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Done {
        let mut command = process::command(&self.directory, &self.environment);
        if self.config_path().exists() {
            command.env("QCC_CONFIG", self.config_path());
        }
        command.envs(environment.iter().copied()).args(args);
        process::run(command, &self.directory)
    }

    pub fn start(self) -> Qcc {
        self.start_with(&[])
    }

    /// Starts the proxy and awaits its ready line.
    pub fn start_with(self, args: &[&str]) -> Qcc {
        let command = process::command(&self.directory, &self.environment);
        self.started(command, args)
    }

    /// The same under a umask, in octal digits.
    pub fn start_under(self, umask: &str) -> Qcc {
        let command = process::command_under(umask, &self.directory, &self.environment);
        self.started(command, &[])
    }

    fn started(self, mut command: std::process::Command, args: &[&str]) -> Qcc {
        command
            .args(["proxy", "start", "--cluster", &self.cluster, "--config"])
            .arg(self.config_path())
            .args(args);
        let mut process = Running::start(command);
        let line = process.line();
        let prefix = format!("qcc: cluster {} on http://", self.cluster);
        let address = line.strip_prefix(&prefix).unwrap_or_else(|| panic!("not a ready line: {line:?}"));
        Qcc { address: address.trim().to_owned(), process, home: self }
    }
}

impl Qcc {
    pub fn start(cluster: &Cluster) -> Self {
        Home::new(cluster).start()
    }

    /// `http://ADDR`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ADDR`, as a Host header has it.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Ends the process and keeps its files, for another start.
    pub fn into_home(self) -> Home {
        self.home
    }

    pub fn run(&self, args: &[&str]) -> Done {
        self.home.run(args)
    }

    /// The status document; the exit code may be any of those that a status has.
    pub fn status(&self) -> Value {
        let done = self.run(&["status", "--json"]);
        assert!(matches!(done.code, Some(0 | 3 | 4)), "qcc status --json: {done:?}");
        done.json()
    }

    pub fn endpoint(&self, name: &str) -> Value {
        named(&self.status(), name).unwrap_or_else(|| panic!("no endpoint {name} in the status"))
    }

    /// Polls the status until the endpoint is as wanted, and gives it.
    pub async fn endpoint_when(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let endpoint = self.endpoint(name);
            if wanted(&endpoint) {
                return endpoint;
            }
            assert!(
                Instant::now() < deadline,
                "not within {LIMIT:?}: endpoint {name} {what}; it is {endpoint:#}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn endpoint_in(&self, name: &str, state: &str) -> Value {
        self.endpoint_when(name, &format!("is {state}"), |endpoint| endpoint["state"] == state).await
    }

    /// `qcc endpoint COMMAND NAME`, which must succeed.
    #[track_caller]
    pub fn command(&self, command: &str, name: &str) {
        self.run(&["endpoint", command, name]).expect_code(0);
    }

    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Sends a signal by its name: `TERM`, `HUP`, …
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn sigterm(&self) {
        self.process.signal("TERM");
    }

    pub fn sighup(&self) {
        self.process.signal("HUP");
    }

    /// Awaits the end of the process: its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}

/// The endpoint of that name in a status document.
pub fn named(status: &Value, name: &str) -> Option<Value> {
    status["endpoints"].as_array()?.iter().find(|endpoint| endpoint["name"] == name).cloned()
}

pub fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
