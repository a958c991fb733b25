//! Disks that are full or hold something else: it starts, or says why it does not, and leaves nothing half written.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use super::one;
use super::support::config::TempDir;
use super::support::proxy::Home;
use super::support::under::under;
use super::support::{Client, Upstream, process};

fn run(directory: &TempDir, shell: &str, args: &[&str]) -> Output {
    let mut command = process::command(directory, &[]);
    command.args(args);
    // Pipes, which no limit on files is about.
    under(shell, &command).output().expect("a shell")
}

#[test]
fn a_first_configuration_is_written_whole_or_not_at_all() {
    let directory = TempDir::new();
    let path = directory.join("config/qcc/config.toml");
    for blocks in ["0", "1"] {
        let done = run(&directory, &format!("ulimit -f {blocks}"), &["config", "init"]);
        assert_eq!(done.status.code(), Some(1), "{blocks}: {done:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        assert!(!path.exists(), "{blocks}: {done:?}");
    }
    assert_eq!(run(&directory, "", &["config", "init"]).status.code(), Some(0));
    assert!(fs::read_to_string(&path).unwrap().contains("[[clusters."));
}

#[test]
fn a_command_whose_output_cannot_be_written_says_so() {
    let directory = TempDir::new();
    for args in [&["config", "path"][..], &["completions", "bash"], &["config", "init"]] {
        let done = run(&directory, "exec >/dev/full", args);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("stdout"), "{args:?}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_the_socket_stops_no_start() {
    let a = Upstream::healthy();
    let home = Home::new(&one(&a));
    let directory = home.socket_path().parent().unwrap().to_owned();
    fs::create_dir_all(directory.join("work")).unwrap();
    for name in ["work.sock.old", "work.lock", "work.pid", ".work.sock", "other.sock"] {
        fs::write(directory.join(name), [0xff; 100]).unwrap();
    }
    fs::create_dir_all(home.path("state/qcc")).unwrap();
    fs::write(home.path("state/qcc/work.sock"), "garbage").unwrap();
    let qcc = home.start();
    Client::of(&qcc).ask("served").await.expect_from("a");
    assert_eq!(qcc.status()["usable"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_sockets_place_is_named_and_left_alone() {
    let a = Upstream::healthy();
    for kind in ["directory", "file", "symlink", "symlink to nowhere", "file for its directory"] {
        let home = Home::new(&one(&a));
        let path = home.socket_path();
        let directory = path.parent().unwrap().to_owned();
        let precious = home.path("precious");
        fs::write(&precious, "precious").unwrap();
        if kind != "file for its directory" {
            fs::create_dir_all(&directory).unwrap();
        }
        match kind {
            "directory" => fs::create_dir(&path).unwrap(),
            "file" => fs::write(&path, "precious").unwrap(),
            "symlink" => symlink(&precious, &path).unwrap(),
            "symlink to nowhere" => symlink(home.path("nowhere"), &path).unwrap(),
            _ => {
                fs::create_dir_all(directory.parent().unwrap()).unwrap();
                fs::write(&directory, "precious").unwrap();
            }
        }
        let done = home.run(&["proxy", "start", "--cluster", "work"]).expect_code(1);
        let named = if kind == "file for its directory" { &directory } else { &path };
        assert!(done.stderr.contains(named.to_str().unwrap()), "{kind}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{kind}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{kind}");
        assert!(fs::symlink_metadata(named).is_ok(), "{kind}: it is still there");
    }
}
