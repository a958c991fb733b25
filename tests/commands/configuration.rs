//! The file: where it is, what is refused, and that every refusal says where and what to do.

use super::one;
use super::support::proxy::{Home, mode, set_mode};
use super::support::{Cluster, Endpoint, Qcc, Upstream, exchange, llm};

const BASE: &str = r#"[clusters.work]
listen = "127.0.0.1:0"

[[clusters.work.endpoints]]
name = "main"
base_url = "https://api.example"
api_key = { env = "SOME_KEY" }
"#;

fn home_with(text: &str) -> Home {
    let home = Home::empty("work")
        .with([("SOME_KEY".into(), "sk-some".into()), ("OTHER_KEY".into(), "sk-other".into())]);
    home.write_config(text);
    home
}

#[test]
fn a_right_file_is_found_right() {
    home_with(BASE).run(&["config", "check"]).expect_code(0);
    let everything = r#"
[clusters.work]
listen = "127.0.0.1:7860"
queue_timeout = "10s"
drain_timeout = "30s"
max_body = "64 MiB"
max_attempts = 4
admin_listen = "127.0.0.1:7861"

[clusters.work.health]
failure_threshold = 3
success_threshold = 1
backoff_base = "5s"
backoff_max = "5m"
auth_backoff_base = "1m"
auth_backoff_max = "30m"
quota_backoff = "10m"
check_interval = "30s"
check_timeout = "10s"
check_model = "claude-test"
slow_start = "30s"

[clusters.work.timeouts]
connect = "5s"
first_byte = "2m"
answer = "1h"
idle = "500ms"
client_header = "30s"

[[clusters.work.endpoints]]
name = "relay"
base_url = "https://relay.example/anthropic"
api_key = { command = ["echo", "sk-from-a-command"] }
protocol = "openai"
billing = "per-request"
priority = 2
weight = 1000
auth = "bearer"
models = ["claude-*"]
enabled = false
"#;
    home_with(everything).run(&["config", "check"]).expect_code(0);
}

/// A change to one line of the right file, and what its refusal must name.
fn refused(what: &str, find: &str, replace: &str, words: &[&str]) {
    assert!(BASE.contains(find), "{what}: {find}");
    let text = BASE.replacen(find, replace, 1);
    let home = home_with(&text);
    for args in [&["config", "check"][..], &["proxy", "start", "--cluster", "work"]] {
        let done = home.run(args).expect_code(2);
        for word in words {
            assert!(says(&done.stderr, word), "{what}: no {word:?} in\n{}", done.stderr);
        }
        assert_eq!(done.stdout.matches("http://").count(), 0, "{what}: {}", done.stdout);
    }
}

/// A number is a line's: `:3` or `line 3`, as editors read it.
fn says(text: &str, word: &str) -> bool {
    match word.parse::<u32>() {
        Ok(line) => text.contains(&format!(":{line}")) || text.contains(&format!("line {line}")),
        Err(_) => text.contains(word),
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let listen = "listen = \"127.0.0.1:0\"";
    let with = |line: &str| format!("{listen}\n{line}");
    refused("cluster", listen, &with("qeue_timeout = \"1s\""), &["qeue_timeout", "queue_timeout", "3"]);
    refused("endpoint", "base_url", "base_ulr", &["base_ulr", "base_url", "6"]);
    refused(
        "health",
        "[[clusters",
        "[clusters.work.health]\nfailure_treshold = 2\n\n[[clusters",
        &["failure_treshold", "failure_threshold", "5"],
    );
    refused(
        "timeouts",
        "[[clusters",
        "[clusters.work.timeouts]\nfirst_bite = \"2s\"\n\n[[clusters",
        &["first_bite", "first_byte", "5"],
    );
    refused("top", "[clusters.work]", "[cluster.work]\n[clusters.work]", &["cluster", "clusters", "1"]);
}

#[test]
fn a_wrong_value_is_told_by_its_key_and_line() {
    // Not by its text: what stands in a wrong place may be a key.
    let listen = "listen = \"127.0.0.1:0\"";
    let with = |line: &str| format!("{listen}\n{line}");
    refused("duration", listen, &with("queue_timeout = \"10 parsecs\""), &["queue_timeout", "3"]);
    refused("size", listen, &with("max_body = \"64 MoB\""), &["max_body", "3"]);
    refused("type", listen, &with("max_attempts = \"four\""), &["max_attempts", "3"]);
    refused("zero", listen, &with("max_attempts = 0"), &["max_attempts", "3"]);
    refused("address", listen, "listen = \"nowhere\"", &["listen", "2"]);
    refused("url", "https://api.example", "ftp://api.example", &["base_url", "6"]);
    refused("user in url", "https://api.example", "https://user:pass@api.example", &["base_url", "6"]);
    refused(
        "choice",
        "name = \"main\"",
        "name = \"main\"\nbilling = \"per-word\"",
        &["billing", "per-token", "6"],
    );
    refused("weight", "name = \"main\"", "name = \"main\"\nweight = 1001", &["weight", "6"]);
    refused("no toml", listen, "listen = ", &["2"]);
    refused("no key", "api_key = { env = \"SOME_KEY\" }", "", &["api_key"]);
    refused("no such variable", "SOME_KEY", "NO_SUCH_KEY", &["NO_SUCH_KEY"]);
    refused("no such file", "env = \"SOME_KEY\"", "file = \"/nonexistent/key\"", &["/nonexistent/key"]);
}

#[test]
fn two_endpoints_that_are_one_are_refused() {
    let again = BASE.split_once("\n\n").unwrap().1;
    let home = home_with(&format!("{BASE}\n{}", again.replace("main", "other")));
    let done = home.run(&["config", "check"]).expect_code(2);
    assert!(done.stderr.contains("main") && done.stderr.contains("other"), "{}", done.stderr);
    let with_another_key = again.replace("main", "other").replace("SOME_KEY", "OTHER_KEY");
    home.write_config(&format!("{BASE}\n{with_another_key}"));
    home.run(&["config", "check"]).expect_code(0);
    home.write_config(&format!("{BASE}\n{}", with_another_key.replace("other", "main")));
    home.run(&["config", "check"]).expect_code(2);
}

#[test]
fn files_with_keys_that_others_can_read_are_refused() {
    let home = home_with(&BASE.replace("{ env = \"SOME_KEY\" }", "\"sk-literal\""));
    home.run(&["config", "check"]).expect_code(0);
    set_mode(&home.config_path(), 0o644);
    let done = home.run(&["config", "check"]).expect_code(2);
    assert!(done.stderr.contains("qcc.toml") && !done.stderr.contains("sk-literal"), "{}", done.stderr);

    let key_file = home.path("relay.key");
    home.write_config(&BASE.replace("env = \"SOME_KEY\"", &format!("file = '{}'", key_file.display())));
    home.write_private("relay.key", "sk-from-a-file\n");
    home.run(&["config", "check"]).expect_code(0);
    set_mode(&key_file, 0o640);
    let done = home.run(&["config", "check"]).expect_code(2);
    assert!(done.stderr.contains("relay.key"), "{}", done.stderr);
}

#[test]
fn an_address_that_others_reach_needs_client_tokens() {
    let done = home_with(&BASE.replace("127.0.0.1:0", "0.0.0.0:0")).run(&["proxy", "start"]).expect_code(2);
    assert!(done.stderr.contains("token") && done.stderr.contains("listen"), "{}", done.stderr);
    let other = home_with(BASE).run(&["proxy", "start", "--listen", "0.0.0.0:0"]).expect_code(2);
    assert!(other.stderr.contains("token"), "{}", other.stderr);
}

#[test]
fn the_path_is_the_flags_the_variables_or_the_home_directorys() {
    let home = Home::empty("work");
    let shown = |args: &[&str], env: &[(&str, &str)]| {
        home.run_with(args, env).expect_code(0).stdout.trim().to_owned()
    };
    assert_eq!(shown(&["config", "path"], &[]), home.path("config/qcc/config.toml").display().to_string());
    assert_eq!(
        shown(&["config", "path"], &[("QCC_CONFIG", "/tmp/by-variable.toml")]),
        "/tmp/by-variable.toml"
    );
    let both = shown(
        &["config", "path", "--config", "/tmp/by-flag.toml"],
        &[("QCC_CONFIG", "/tmp/by-variable.toml")],
    );
    assert_eq!(both, "/tmp/by-flag.toml");
    let missing = home.run(&["config", "check"]).expect_code(2);
    assert!(
        missing.stderr.contains("config.toml") && missing.stderr.contains("config init"),
        "{}",
        missing.stderr
    );
}

#[test]
fn init_writes_a_file_that_is_right_private_and_never_overwritten() {
    let home = Home::empty("work").with([("ANTHROPIC_API_KEY".into(), "sk-ant".into())]);
    home.run(&["config", "init"]).expect_code(0);
    let path = home.path("config/qcc/config.toml");
    assert_eq!(mode(&path), 0o600);
    home.run(&["config", "check"]).expect_code(0);
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains("[[clusters."), "{written}");
    let again = home.run(&["config", "init"]);
    assert!(matches!(again.code, Some(1 | 2)) && again.stderr.contains("config.toml"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
}

#[test]
fn a_cluster_may_be_left_out_only_where_there_is_one() {
    let second = BASE.replace("clusters.work", "clusters.home");
    let home = home_with(&format!("{BASE}\n{second}"));
    let done = home.run(&["proxy", "start"]).expect_code(2);
    assert!(done.stderr.contains("work") && done.stderr.contains("home"), "{}", done.stderr);
    let done = home.run(&["proxy", "start", "--cluster", "wrok"]).expect_code(2);
    assert!(done.stderr.contains("wrok") && done.stderr.contains("work"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_by_variable_file_command_or_literally() {
    let home = Home::empty("work").with([("SOME_KEY".into(), "sk-variable".into())]);
    home.write_private("some.key", "sk-file\n");
    let file = format!("{{ file = '{}' }}", home.path("some.key").display());
    let sources = [
        ("{ env = 'SOME_KEY' }", "sk-variable"),
        (file.as_str(), "sk-file"),
        ("{ command = ['printf', 'sk-%s\\n', 'command'] }", "sk-command"),
        ("'sk-literal'", "sk-literal"),
    ];
    let upstreams: Vec<_> = sources.iter().map(|_| Upstream::healthy()).collect();
    let endpoints = sources.iter().zip(&upstreams).enumerate().map(|(number, ((source, _), upstream))| {
        Endpoint::new(&format!("e{number}"), upstream).line(&format!("api_key = {source}"))
    });
    home.write_config(&Cluster::tiers(endpoints).render());
    let _qcc = home.start();
    for ((source, key), upstream) in sources.iter().zip(&upstreams) {
        assert_eq!(upstream.requests()[0].header("x-api-key"), Some(*key), "{source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flag_for_the_address_wins_and_http_proxy_is_ignored() {
    let (a, elsewhere) = (Upstream::healthy(), Upstream::healthy());
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    let home = Home::new(&one(&a)).with(names.map(|name| (name.into(), elsewhere.url())));
    let qcc: Qcc = home.start_with(&["--listen", "127.0.0.1:0"]);
    let client = super::support::Client::of(&qcc);
    exchange(client.post("/v1/messages", &llm::message("direct"))).await.expect_from("a");
    assert_eq!(elsewhere.connections(), 0);
    assert_eq!(qcc.status()["listen"], qcc.address());
}
