//! The process's memory and its surroundings stay its own. Shown on Linux, whose /proc tells.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::canary::{CLIENT_KEY, KEY, assert_clean};
use super::support::proxy::Home;
use super::support::{Cluster, Endpoint, Gate, Upstream, eventually, eventually_some, llm};

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

fn core_limit(process: &Path) -> String {
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
    let found = processes_with(&config);
    let [proxy] = found.as_slice() else { panic!("{found:?}") };
    a.set(move |request| llm::healthy(request).after(&held));
    let checking = std::thread::scope(|scope| {
        let checking = scope.spawn(|| qcc.run(&["check", "--config", &config]));
        let found = || processes_with(&config).into_iter().find(|process| process != proxy);
        let check = wait_for(eventually_some("the check's process", found));
        // Once it asks its endpoint it has its keys, and what guards them.
        wait_for(gate.arrived(1));
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

/// How often each text stands in the memory of a process, as far as it may be written to; none where this user may
/// not read it.
fn copies_in_memory(process: &Path, texts: &[&[u8]]) -> Option<Vec<usize>> {
    let memory = File::open(process.join("mem")).ok()?;
    let maps = fs::read_to_string(process.join("maps")).ok()?;
    let mut counts = vec![0; texts.len()];
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // What went meanwhile can't be read, and holds nothing.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            for (count, text) in counts.iter_mut().zip(texts) {
                *count += memchr::memmem::find_iter(&bytes, text).count();
            }
        }
    }
    Some(counts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_key_there_is_one_copy_and_one_for_each_header_and_of_a_token_none() {
    let keys =
        ["literal", "by-file", "by-command"].map(|way| format!("sk-scanned-{way}-9f8e7d6c5b4a39281706"));
    let tokens =
        ["literal", "by-file", "by-command"].map(|way| format!("token-scanned-{way}-0a1b2c3d4e5f60718293"));
    let [literal, _, command] = &keys;
    let [token, _, token_command] = &tokens;
    let endpoint = |name: &str, key: &str| {
        Endpoint::at(name, "http://127.0.0.1:9").per_request().line(&format!("api_key = {key}"))
    };
    let cluster = Cluster::tiers([
        endpoint("a", &format!("'{literal}'")),
        endpoint("b", "{ file = 'b.key' }"),
        endpoint("c", "{ command = ['sh', './c.sh'] }"),
    ])
    .line(&format!("client_tokens = ['{token}', {{ file = 't.key' }}, {{ command = ['sh', './t.sh'] }}]"));
    let home = Home::new(&cluster);
    home.write_private("b.key", &format!("{}\n", keys[1]));
    home.write_private("t.key", &tokens[1]);
    home.write_private("c.sh", &format!("echo {command}"));
    home.write_private("t.sh", &format!("echo {token_command}"));
    let config = home.config_path().display().to_string();
    let qcc = home.start();
    let process = processes_with(&config).pop().unwrap();
    // An allocator writes over the beginning of what it got back, so the ends tell of what was not wiped.
    let ends = [&keys[0], &tokens[0]].map(|text| &text.as_bytes()[text.len() - 20..]);
    for reloads in 0..2 {
        let wholes: Vec<&[u8]> = keys.iter().chain(&tokens).map(|text| text.as_bytes()).collect();
        let Some(counts) = copies_in_memory(&process, &wholes) else { return };
        assert_eq!(counts, [3, 3, 3, 0, 0, 0], "after {reloads} reloads");
        let all = copies_in_memory(&process, &ends).unwrap();
        assert_eq!(all, [9, 0], "nothing is left of what was let go, after {reloads} reloads");
        qcc.sighup();
        eventually("the reload", || qcc.stderr().matches("was reloaded").count() == reloads + 1).await;
    }
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}
