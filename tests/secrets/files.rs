//! Files that hold keys, and the control socket, whatever stands in their place.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::canary::{KEY, assert_clean};
use super::support::proxy::{Home, mode, set_mode};
use super::support::{Client, Cluster, Endpoint, Upstream};

fn with_key_file(upstream: &Upstream) -> Home {
    let endpoint = Endpoint::new("a", upstream).line("api_key = { file = './a.key' }");
    Home::new(&Cluster::new("work").endpoint(endpoint))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_is_a_regular_one_of_its_owners_alone() {
    let upstream = Upstream::healthy();
    let home = with_key_file(&upstream);
    let path = home.path("a.key");
    let refused = |what: &str, said: &str| {
        for args in [&["config", "check"][..], &["check"], &["proxy", "start"]] {
            let done = home.run(args).expect_code(2);
            assert!(done.stderr.contains(said), "{what}: no {said:?} in {}", done.stderr);
            assert_clean(what, &format!("{}{}", done.stdout, done.stderr));
        }
    };
    refused("nothing", "can't be read");
    fs::create_dir(&path).unwrap();
    refused("a directory", "is not a regular file");
    fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    set_mode(&path, 0o600);
    refused("a pipe that nobody writes to", "is not a regular file");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    refused("a device without an end", "is not a regular file");
    fs::remove_file(&path).unwrap();
    symlink("nowhere.key", &path).unwrap();
    refused("a link to nothing", "can't be read");
    fs::remove_file(&path).unwrap();
    home.write_private("target.key", KEY);
    symlink("target.key", &path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777] {
        set_mode(&home.path("target.key"), mode);
        refused("a link to what others can read", "chmod 600");
    }
    set_mode(&home.path("target.key"), 0o600);
    home.write_private("target.key", &"k".repeat(1 << 20));
    refused("a file as large as a disk", "longer than 8 KiB");
    home.write_private("target.key", &format!("{KEY}\nanother line"));
    refused("two lines", "holds a space or another character");
    for good in [KEY.to_owned(), format!("{KEY}\n"), format!("{KEY}\r\n")] {
        home.write_private("target.key", &good);
        home.run(&["config", "check"]).expect_code(0);
    }
    let _qcc = home.start();
    assert_eq!(upstream.requests()[0].header("x-api-key"), Some(KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_socket_is_its_owners_alone_under_any_umask_and_in_any_directory() {
    let upstream = Upstream::healthy();
    for (umask, before) in [("000", None), ("777", Some(0o700)), ("000", Some(0o777)), ("022", Some(0o755))] {
        let home = Home::new(&Cluster::new("work").endpoint(Endpoint::new("a", &upstream)));
        let directory = home.socket_path().parent().unwrap().to_owned();
        if let Some(before) = before {
            fs::create_dir_all(&directory).unwrap();
            set_mode(&directory, before);
        }
        let qcc = home.start_under(&format!("umask {umask}"));
        let found = (mode(&directory), mode(&qcc.home().socket_path()));
        assert_eq!(found, (0o700, 0o600), "umask {umask}, {before:?}");
        assert_eq!(qcc.status()["usable"], 1);
        Client::of(&qcc).ask("served").await.expect_from("a");
    }
}

#[test]
fn what_stands_in_the_place_of_the_control_socket_is_told_and_left() {
    let upstream = Upstream::healthy();
    let home = Home::new(&Cluster::new("work").endpoint(Endpoint::new("a", &upstream)));
    let socket = home.socket_path();
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    fs::write(&socket, "mine").unwrap();
    let done = home.run(&["proxy", "start"]).expect_code(1);
    assert!(done.stderr.contains("work.sock") && done.stderr.contains("remove it"), "{done:?}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    fs::remove_file(&socket).unwrap();
    fs::remove_dir(socket.parent().unwrap()).unwrap();
    let elsewhere = home.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, socket.parent().unwrap()).unwrap();
    let done = home.run(&["proxy", "start"]).expect_code(1);
    assert!(done.stderr.contains("must be a directory, and no link"), "{done:?}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
