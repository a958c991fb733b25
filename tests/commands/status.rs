//! The status, as a document and as a table.

use serde_json::{Value, json};

use super::support::{Client, Cluster, Endpoint, Qcc, Upstream, llm};
use super::{one, two};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_exit_code_says_how_many_are_usable() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let qcc = Qcc::start(&two(&a, &b));
    for (command, name, code, usable) in
        [("drain", "a", 3, 1), ("disable", "b", 4, 0), ("enable", "a", 3, 1), ("enable", "b", 0, 2)]
    {
        qcc.command(command, name);
        for args in [&["status"][..], &["status", "--json"], &["status", "--cluster", "work"]] {
            qcc.run(args).expect_code(code);
        }
        assert_eq!(qcc.status()["usable"], usable, "after {command} {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_every_field_of_the_contract() {
    use sha2::{Digest, Sha256};
    let a = Upstream::start(llm::on_get(llm::always(401)));
    let b = Upstream::healthy();
    let cluster =
        Cluster::tiers([Endpoint::new("a", &a).line("weight = 50"), Endpoint::new("b", &b).openai()]);
    let qcc = Qcc::start(&cluster);
    let status = qcc.status();
    assert_eq!((&status["version"], &status["cluster"]), (&1.into(), &"work".into()));
    assert_eq!(status["listen"], qcc.address());
    assert!(is_rfc3339(&status["started_at"]), "{status:#}");
    let (a_now, b_now) = (&status["endpoints"][0], &status["endpoints"][1]);
    assert_eq!((&a_now["name"], &b_now["name"]), (&"a".into(), &"b".into()), "in the order of the file");
    for field in [
        "name",
        "id",
        "base_url",
        "protocol",
        "billing",
        "priority",
        "weight",
        "state",
        "admin",
        "usable",
        "cause",
        "check_method",
        "failures",
        "level",
        "epoch",
        "since",
        "next_check_at",
        "cooldown_until",
        "last_error",
        "in_flight",
        "latency_ms",
        "requests",
        "checks",
    ] {
        assert!(a_now.get(field).is_some() && b_now.get(field).is_some(), "{field}: {status:#}");
    }
    for (field, value) in [
        ("base_url", json!(a.url())),
        ("protocol", json!("anthropic")),
        ("billing", json!("per-token")),
        ("priority", json!(1)),
        ("weight", json!(50)),
        ("state", json!("unhealthy")),
        ("admin", json!("active")),
        ("usable", json!(false)),
        ("cause", json!("auth")),
        ("check_method", json!("model-list")),
        ("cooldown_until", Value::Null),
        ("requests", json!({"sent": 0, "passed": 0, "failed": 0, "neutral": 0, "stale": 0})),
        ("checks", json!({"sent": 1, "passed": 0, "failed": 1, "neutral": 0})),
    ] {
        assert_eq!(a_now[field], value, "{field}");
    }
    assert!(is_rfc3339(&a_now["since"]) && is_rfc3339(&a_now["next_check_at"]), "{a_now:#}");
    assert!(a_now["last_error"].as_str().is_some_and(|error| error.contains("401")), "{a_now:#}");
    assert_eq!(
        (&b_now["state"], &b_now["protocol"], &b_now["cause"]),
        (&"healthy".into(), &"openai".into(), &Value::Null)
    );
    let id: String = Sha256::digest(format!("{}|sk-key-of-a-0123456789", a.url()))
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(a_now["id"], id);
}

fn is_rfc3339(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_says_the_same_without_colours_in_a_pipe() {
    let (a, b) = (Upstream::start(llm::on_get(llm::always(401))), Upstream::healthy());
    let qcc = Qcc::start(&Cluster::tiers([Endpoint::new("refused-one", &a), Endpoint::new("good-one", &b)]));
    let table = qcc.run(&["status"]).expect_code(3).stdout;
    let row = |name: &str| {
        table.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name}:\n{table}"))
    };
    assert!(row("refused-one").contains("unhealthy") && row("refused-one").contains("auth"), "{table}");
    assert!(row("good-one").contains("healthy") && !row("good-one").contains("unhealthy"), "{table}");
    assert!(!table.contains('\x1b'), "{table:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_an_endpoint_that_is_not_there_fails_and_names_it() {
    let a = Upstream::healthy();
    let qcc = Qcc::start(&one(&a));
    for command in ["drain", "enable", "disable", "reset", "recheck"] {
        let done = qcc.run(&["endpoint", command, "nosuch"]);
        assert!(matches!(done.code, Some(1 | 2)), "{command}: {done:?}");
        assert!(done.stderr.contains("nosuch"), "{command}: {done:?}");
    }
    qcc.run(&["status", "--cluster", "nosuch"]).expect_code(5);
    Client::of(&qcc).ask("as ever").await.expect_from("a");
}
