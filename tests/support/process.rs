//! The program as processes: one that is run to its end, and one that stays.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::LIMIT;
use super::config::TempDir;

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code\n--- stdout\n{}--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON on stdout: {error}\n{}{}", self.stdout, self.stderr))
    }
}

/// The binary, with an environment that holds nothing but what it is given and a home in `directory`.
pub fn command(directory: &TempDir, environment: &[(String, String)]) -> Command {
    surrounded(Command::new(env!("CARGO_BIN_EXE_qcc")), directory, environment)
}

/// The same under a umask, in octal digits.
pub fn command_under(umask: &str, directory: &TempDir, environment: &[(String, String)]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask \"$1\" && shift && exec \"$@\"", "sh", umask, env!("CARGO_BIN_EXE_qcc")]);
    surrounded(command, directory, environment)
}

fn surrounded(mut command: Command, directory: &TempDir, environment: &[(String, String)]) -> Command {
    command.env_clear().current_dir(directory.join("")).stdin(Stdio::null());
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Ok(value) = std::env::var(name) {
            command.env(name, value);
        }
    }
    command.env("HOME", directory.directory("home"));
    command.env("XDG_CONFIG_HOME", directory.directory("config"));
    command.env("XDG_STATE_HOME", directory.directory("state"));
    command.env("XDG_RUNTIME_DIR", directory.directory("run"));
    command.env("RUST_BACKTRACE", "1");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Runs to the end, within `LIMIT`.
pub fn run(mut command: Command, directory: &TempDir) -> Done {
    // Files, not pipes: a pipe that nobody reads could fill up and hold the command.
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (out, err) = (directory.join(&format!("out-{number}")), directory.join(&format!("err-{number}")));
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().expect("the binary starts");
    let status = wait(&mut child, &format!("the end of {command:?}"));
    Done { code: status.code(), stdout: read_lossy(&out), stderr: read_lossy(&err) }
}

static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn read_lossy(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let _ = fs::remove_file(path);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("not within {LIMIT:?}: {what}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A process that stays until it is told to go. Dropped, it is killed.
pub struct Running {
    child: Child,
    // Behind a lock only so that tasks can share the process.
    stdout_lines: Mutex<mpsc::Receiver<String>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (sender, stdout_lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut piece) {
                sink.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, stdout_lines: Mutex::new(stdout_lines), stderr }
    }

    /// The next line of stdout; the failure shows why there is none.
    pub fn line(&mut self) -> String {
        match self.stdout_lines.get_mut().unwrap().recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(error) => {
                let status = self.child.try_wait();
                panic!("no line on stdout ({error}), process: {status:?}\n--- stderr\n{}", self.stderr())
            }
        }
    }

    /// All it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill starts");
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Awaits its end: the exit code, or `None` when a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child, "the end of the proxy").code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of qcc\n{}", self.stderr());
        }
    }
}
