//! The program under limits that a shell sets, and what the system says of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The command, run after these lines of shell: `ulimit -n 64`, `exec 2>/dev/full`.
pub fn under(shell: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("/bin/sh");
    wrapped.arg("-c").arg(format!("{shell}\nexec \"$0\" \"$@\"")).arg(command.get_program());
    wrapped.args(command.get_args()).env_clear().stdin(Stdio::null());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}

/// How much memory a process has in use now, in KiB (`VmRSS` in proc_pid_status(5)).
pub fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process with memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}

/// How long a process has computed, in clock ticks of 10 ms (`utime` and `stime` in proc_pid_stat(5)).
pub fn computed_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Compiles a C library that a program can be started with. None where there is no C compiler.
pub fn compiled(source: &str, directory: &Path) -> Option<PathBuf> {
    let (from, to) = (directory.join("library.c"), directory.join("library.so"));
    fs::write(&from, source).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let done = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&to).arg(&from).status();
    done.is_ok_and(|status| status.success()).then_some(to)
}

/// Lets this process have as many descriptors as it may: a test is its clients and upstreams together.
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
