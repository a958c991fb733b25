//! A headless Chromium of the test's own: a fresh profile, names that lead to loopback, gone with the test.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::support::config::TempDir;

/// The names that an attacker's resolver answers with this machine's own address.
pub const NAMES: [&str; 4] = ["evil.test", "rebind.test", "localhost.evil.test", "127.0.0.1.nip.io"];

pub struct Chromium {
    process: Child,
    profile: TempDir,
}

impl Chromium {
    /// Opens a page. `QCC_CHROMIUM` names the browser, else it is the `chromium` on `PATH`.
    pub fn open(url: &str) -> Self {
        let profile = TempDir::new();
        let mapped = NAMES.map(|name| format!("MAP {name} 127.0.0.1"));
        let log = File::create(profile.join("log")).unwrap();
        let browser = std::env::var_os("QCC_CHROMIUM").unwrap_or_else(|| OsString::from("chromium"));
        if let Err(error) = Command::new(&browser).arg("--version").output() {
            panic!("{browser:?}: {error}; install chromium or set QCC_CHROMIUM");
        }
        let process = Command::new("sh")
            .arg("-c")
            // The browser and its helpers are one group, which ends with this process however it ends: then
            // the pipe that is the shell's input is closed.
            .arg(r#""$0" "$@" & cat; kill -s KILL 0"#)
            .arg(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-breakpad", "--disable-crash-reporter", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.directory("profile").display()))
            .arg(format!("--host-resolver-rules={}", mapped.join(", ")))
            .arg(url)
            .env("HOME", profile.directory("home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        Self { process, profile }
    }

    /// What it wrote, for a failure to show.
    pub fn log(&self) -> String {
        let text = std::fs::read(self.profile.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- stderr of chromium\n{}", self.log());
        }
    }
}
