//! A configuration file, built line by line. Values are TOML text: `"queue_timeout = '300ms'"`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use std::{env, fs, process};

use super::upstream::Upstream;

#[derive(Clone)]
pub struct Endpoint {
    pub name: String,
    pub key: String,
    lines: Vec<String>,
}

impl Endpoint {
    pub fn new(name: &str, upstream: &Upstream) -> Self {
        Self::at(name, &upstream.url())
    }

    pub fn at(name: &str, base_url: &str) -> Self {
        Self {
            name: name.into(),
            key: format!("sk-key-of-{name}-0123456789"),
            lines: vec![format!("base_url = '{base_url}'")],
        }
    }

    /// Its own key; it reaches the program by environment.
    pub fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    /// Adds `key = value`, or replaces what the key was.
    pub fn line(mut self, line: &str) -> Self {
        put(&mut self.lines, line);
        self
    }

    pub fn priority(self, priority: u32) -> Self {
        self.line(&format!("priority = {priority}"))
    }

    pub fn openai(self) -> Self {
        self.line("protocol = 'openai'")
    }

    pub fn per_request(self) -> Self {
        self.line("billing = 'per-request'")
    }

    /// The environment variable that its key is in.
    pub fn variable(&self) -> String {
        format!("QCC_TEST_KEY_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

#[derive(Clone)]
pub struct Cluster {
    pub name: String,
    lines: Vec<String>,
    health: Vec<String>,
    timeouts: Vec<String>,
    pub endpoints: Vec<Endpoint>,
}

impl Cluster {
    /// A cluster whose checks and backoffs don't come of themselves within a test: what moves is
    /// what the test moves.
    pub fn new(name: &str) -> Self {
        let cluster =
            Self { name: name.into(), lines: vec![], health: vec![], timeouts: vec![], endpoints: vec![] };
        cluster
            .line("listen = '127.0.0.1:0'")
            .health("check_interval = '10m'")
            .health("backoff_base = '10m'")
            .health("backoff_max = '10m'")
    }

    /// The endpoints in the order of their use: each is a tier of its own.
    pub fn tiers(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let numbered = (1..).zip(endpoints);
        numbered
            .fold(Self::new("work"), |cluster, (tier, endpoint)| cluster.endpoint(endpoint.priority(tier)))
    }

    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    pub fn line(mut self, line: &str) -> Self {
        put(&mut self.lines, line);
        self
    }

    pub fn health(mut self, line: &str) -> Self {
        put(&mut self.health, line);
        self
    }

    pub fn timeouts(mut self, line: &str) -> Self {
        put(&mut self.timeouts, line);
        self
    }

    /// Checks of unhealthy endpoints come within a fraction of a second, whatever the cause.
    pub fn quick_recovery(self) -> Self {
        self.health("backoff_base = '200ms'")
            .health("backoff_max = '200ms'")
            .health("auth_backoff_base = '200ms'")
            .health("auth_backoff_max = '200ms'")
    }

    pub fn render(&self) -> String {
        let name = &self.name;
        let mut text = format!("[clusters.{name}]\n{}\n", self.lines.join("\n"));
        text += &format!("\n[clusters.{name}.health]\n{}\n", self.health.join("\n"));
        if !self.timeouts.is_empty() {
            text += &format!("\n[clusters.{name}.timeouts]\n{}\n", self.timeouts.join("\n"));
        }
        for endpoint in &self.endpoints {
            text += &format!("\n[[clusters.{name}.endpoints]]\nname = '{}'\n", endpoint.name);
            if !endpoint.lines.iter().any(|line| key_of(line) == "api_key") {
                text += &format!("api_key = {{ env = '{}' }}\n", endpoint.variable());
            }
            text += &format!("{}\n", endpoint.lines.join("\n"));
        }
        text
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        self.endpoints.iter().map(|endpoint| (endpoint.variable(), endpoint.key.clone())).collect()
    }
}

fn key_of(line: &str) -> &str {
    line.split('=').next().unwrap_or("").trim()
}

fn put(lines: &mut Vec<String>, line: &str) {
    lines.retain(|known| key_of(known) != key_of(line));
    lines.push(line.into());
}

/// A directory of one test's own, gone with it.
pub struct TempDir(PathBuf);

static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);

impl TempDir {
    pub fn new() -> Self {
        // A unix socket's path has about 100 bytes, so the root must be short.
        let short = PathBuf::from("/tmp");
        let root = if short.is_dir() { short } else { env::temp_dir() };
        let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos());
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("qcc-{}-{number}-{nanos}", process::id()));
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Makes a directory below, with its parents.
    pub fn directory(&self, path: &str) -> PathBuf {
        let path = self.join(path);
        fs::create_dir_all(&path).expect("a directory can be made");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
