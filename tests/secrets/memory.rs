//! The process's memory and its surroundings stay its own. Shown on Linux, whose /proc tells.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::canary::{CLIENT_KEY, KEY, assert_clean};
use super::support::proxy::Home;
use super::support::{Client, Cluster, Endpoint, Gate, Upstream, eventually_some, llm};

/// The processes that run the program with this text among their arguments.
fn processes_with(argument: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(argument) && line.split('\0').next().is_some_and(|program| program.ends_with("/qcc"))
    })
    .collect()
}

fn core_limit(process: &std::path::Path) -> String {
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line["Max core file size".len()..].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_keys_leaves_no_core_and_shows_them_on_no_command_line() {
    let gate = Gate::new("a check's answer");
    let held = gate.clone();
    let a = Upstream::healthy();
    let cluster = Cluster::new("work").endpoint(Endpoint::new("a", &a).key(KEY));
    let cluster = cluster.line("client_tokens = [{ env = 'CLIENT_KEY' }]");
    let home = Home::new(&cluster).with([("CLIENT_KEY".into(), CLIENT_KEY.into())]);
    let config = home.config_path().display().to_string();
    let qcc = home.start();
    Client::of(&qcc);
    let found = processes_with(&config);
    let [proxy] = found.as_slice() else { panic!("{found:?}") };
    a.set(move |request| llm::healthy(request).after(&held));
    let checking = std::thread::scope(|scope| {
        let checking = scope.spawn(|| qcc.run(&["check", "--config", &config]));
        let found = || processes_with(&config).into_iter().find(|process| process != proxy);
        let check = futures_lite(eventually_some("the check's process", found));
        // Once it asks its endpoint it has its keys, and what guards them.
        futures_lite(gate.arrived(1));
        for process in [proxy, &check] {
            assert_eq!(core_limit(process), "0 0 bytes", "{process:?}");
            let owner = fs::metadata(process.join("environ")).unwrap().uid();
            assert_eq!(owner, 0, "the environment of a process that is not dumpable is root's");
            let line = fs::read(process.join("cmdline")).unwrap();
            assert_clean("a command line", &String::from_utf8_lossy(&line).replace('\0', " "));
        }
        gate.open();
        checking.join().unwrap()
    });
    checking.expect_code(0);
    // Where the tests are an ordinary user's, another process of that user is kept out.
    if fs::metadata("/proc/self/status").unwrap().uid() != 0 {
        for file in ["environ", "mem", "maps", "auxv"] {
            assert!(fs::read(proxy.join(file)).is_err(), "{file}");
        }
    }
}

fn futures_lite<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}
