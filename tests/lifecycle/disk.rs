//! Disks that are full or hold something else: it starts, or says why it does not, and leaves nothing half written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::one;
use super::support::config::TempDir;
use super::support::proxy::{Home, set_mode};
use super::support::under::under;
use super::support::{Client, Upstream, process};

fn init(directory: &TempDir, shell: &str) -> process::Done {
    let mut command = process::command(directory, &[]);
    command.args(["config", "init"]);
    process::run(under(shell, &command), directory)
}

#[test]
fn a_first_configuration_is_written_whole_or_not_at_all() {
    let directory = TempDir::new();
    // stderr and stdout would fall under the limit too, so only the message's way is kept open.
    let done = init(&directory, "ulimit -f 0; exec 2>&1 | cat >&2; exec >/dev/null");
    let path = directory.join("config/qcc/config.toml");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(!path.exists(), "{done:?}");
    init(&directory, "").expect_code(0);
    assert!(fs::read_to_string(&path).unwrap().contains("[[clusters."));
}

#[test]
fn a_command_whose_output_cannot_be_written_says_so() {
    let directory = TempDir::new();
    for args in [&["config", "path"][..], &["completions", "bash"], &["config", "init"]] {
        let mut command = process::command(&directory, &[]);
        command.args(args);
        let done = process::run(under("exec >/dev/full", &command), &directory);
        assert_eq!(done.code, Some(1), "{args:?}: {done:?}");
        assert!(done.stderr.contains("stdout"), "{args:?}: {done:?}");
    }
}

/// Starts, or fails with a message that names the path.
fn tries_to_start(home: &Home, path: &Path) -> bool {
    let mut command: Command = home.start_command(&["--listen", "127.0.0.1:0"]);
    command.env("QCC_LOG", "info");
    // Whatever it comes to it ends soon: a proxy that starts is told to stop.
    let done = std::thread::scope(|scope| {
        let stop = scope.spawn(|| {
            for _ in 0..200 {
                if home.run(&["proxy", "stop"]).code == Some(0) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        let done = home.run_command(command);
        drop(stop);
        done
    });
    match done.code {
        Some(0) => true,
        Some(1) => {
            assert!(done.stderr.contains(path.to_str().unwrap()), "{done:?}");
            false
        }
        other => panic!("{other:?}: {done:?}"),
    }
}
