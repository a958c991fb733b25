//! What is refused, and what the message says.

use super::{CANARY, file, message, parse};

/// Each message must hold all of the parts.
fn assert_says(text: &str, parts: &[&str]) {
    let shown = message(text);
    for part in parts {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one_and_its_place() {
    let shown = message(&file("queue_timout = \"3s\"", ""));
    assert_eq!(
        shown,
        "/c/config.toml:2: clusters.work: unknown key `queue_timout`\n  did you mean `queue_timeout`?"
    );
}

#[test]
fn an_unknown_key_is_an_error_at_every_level() {
    for (cluster_line, endpoint_line, place) in [
        (
            "health.failure_treshold = 3",
            "",
            "clusters.work.health: unknown key `failure_treshold`\n  did you mean `failure_threshold`",
        ),
        ("timeouts = { conect = \"1s\" }", "", "clusters.work.timeouts: unknown key `conect`"),
        ("", "waight = 1", ":8: clusters.work.endpoints[0]: unknown key `waight`"),
        (
            "client_tokens = [{ evn = \"X\" }]",
            "",
            "clusters.work.client_tokens[0]: unknown key `evn`\n  did you mean `env`",
        ),
        ("", "nonsense = 1", "known here: name, base_url"),
        ("", "[cluster.x]", "/c/config.toml:8: unknown key `cluster`\n  did you mean `clusters`?"),
    ] {
        assert_says(&file(cluster_line, endpoint_line), &[place]);
    }
}

#[test]
fn a_fraction_is_a_number_above_zero_and_up_to_one() {
    for number in ["0.0", "0", "1.5", "2", "-0.5", "nan", "inf", "1e-9"] {
        assert_says(
            &file(&format!("health.ratio_threshold = {number}"), ""),
            &[":2: clusters.work.health.ratio_threshold: must be"],
        );
    }
    assert_says(
        &file("health.ratio_threshold = \"half\"", ""),
        &["must be a fraction above 0 and up to 1, as 0.5, not a string"],
    );
    assert_says(&file("health.ratio_min_samples = 0", ""), &["must be a whole number from 1 to 10000"]);
    for number in ["1", "1.0", "0.000001"] {
        assert!(parse(&file(&format!("health.ratio_threshold = {number}"), "")).is_ok(), "{number}");
    }
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    assert_says(&file("priority = 2", ""), &["it belongs in [[clusters.NAME.endpoints]]"]);
    assert_says(&file("backoff_base = \"1s\"", ""), &["it belongs in [clusters.NAME.health]"]);
}

#[test]
fn a_wrong_word_names_the_allowed_ones_and_the_nearest() {
    assert_says(
        &file("", "protocol = \"antropic\""),
        &[
            ":8: clusters.work.endpoints[0].protocol: must be one of anthropic, openai",
            "did you mean \"anthropic\"?",
        ],
    );
    assert_says(&file("retry_ambiguous = \"per_token\"", ""), &["did you mean \"per-token\"?"]);
}

#[test]
fn a_wrong_type_says_what_is_wanted_and_what_is_there() {
    for (line, what) in [
        ("listen = 7860", "must be an address as \"127.0.0.1:7860\", not an integer"),
        ("queue_timeout = 10", "must be a duration as \"10s\", from 0s to 24h, not an integer"),
        ("max_attempts = \"4\"", "must be a whole number from 1 to 32, not a string"),
        ("max_attempts = 4.0", "must be a whole number from 1 to 32, not a float"),
        ("client_tokens = \"x\"", "must be a list of secrets, not a string"),
        ("client_tokens = [7]", "client_tokens[0]: must be a secret"),
        ("health = 3", "clusters.work.health: must be a table, not an integer"),
    ] {
        assert_says(&file(line, ""), &[what, "/c/config.toml:2: "]);
    }
    assert_says(
        &file("", "models = \"claude-*\""),
        &["must be a list of patterns as [\"claude-*\"], not a string"],
    );
    assert_says(&file("", "enabled = \"yes\""), &["must be true or false, not a string"]);
    assert_says("[clusters.a]\nendpoints = { name = \"x\" }", &["write [[clusters.a.endpoints]]"]);
    assert_says("clusters = 1", &["clusters: must be a table"]);
}

#[test]
fn numbers_and_durations_have_limits() {
    for line in [
        "max_attempts = 0",
        "max_attempts = 33",
        "max_attempts = -1",
        "max_attempts = 99999999999999999999",
        "health.failure_threshold = 16",
        "health.success_threshold = 8",
        "health.check_interval = \"0s\"",
        "timeouts.connect = \"0ms\"",
        "timeouts.idle = \"25h\"",
        "max_body = 1023",
        "max_body = \"2 GiB\"",
        "max_body = -1",
        "max_bodies = \"63 MiB\"",
        "max_body = \"1 GiB\"",
        "health.check_model = \"\"",
        "health = { backoff_base = \"10s\", backoff_max = \"9s\" }",
    ] {
        assert_says(&file(line, ""), &["must "]);
    }
    for line in ["priority = 0", "weight = 0", "weight = 1001", "models = []", "models = [\"\"]"] {
        assert_says(&file("", line), &[":8: clusters.work.endpoints[0]."]);
    }
    for line in
        ["queue_timeout = \"0s\"", "max_body = 0x400", "max_attempts = 32", "listen = \"localhost:0\""]
    {
        assert!(parse(&file(line, "")).is_ok(), "{line}");
    }
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    let text =
        file("listen = \"x\"\nmax_attempts = 0\nhealth.slow_start = \"x\"", "weight = 0\nauth = \"x\"")
            .replace("https://api", "api");
    let shown = message(&text);
    let lines: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("/c/config.toml:")).collect();
    let starts: Vec<_> =
        lines.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        starts,
        [
            "2 clusters.work.listen",
            "3 clusters.work.max_attempts",
            "4 clusters.work.health.slow_start",
            "8 clusters.work.endpoints[0].base_url",
            "10 clusters.work.endpoints[0].weight",
            "11 clusters.work.endpoints[0].auth",
        ]
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_says("", &["/c/config.toml:1: clusters: is missing"]);
    assert_says("[clusters]", &["has no cluster"]);
    assert_says("\n[clusters.work]", &["/c/config.toml:2: clusters.work.endpoints: is missing"]);
    assert_says("[clusters.work]\nendpoints = []", &["at least one endpoint"]);
    let shown = message("[[clusters.work.endpoints]]");
    for key in ["name", "base_url", "api_key"] {
        assert!(shown.contains(&format!("clusters.work.endpoints[0].{key}: is missing")), "{shown}");
    }
}

#[test]
fn a_syntax_error_doesnt_quote_the_line() {
    for text in [
        format!("[clusters.work]\napi_key = \"{CANARY}\n"),
        format!("[clusters.work]\napi_key \"{CANARY}\"\n"),
        format!("[clusters.work]\napi_key = {CANARY}\n"),
        format!("[clusters.work]\napi_key = '{CANARY}' x\n"),
        format!("[clusters.work]\napi_key = \"\\q{CANARY}\"\n"),
    ] {
        assert_says(&text, &["/c/config.toml:2: not valid TOML: "]);
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    for endpoint_line in [
        format!("protocol = \"{CANARY}\""),
        format!("models = \"{CANARY}\""),
        format!("weight = \"{CANARY}\""),
        format!("{CANARY} = 1"),
    ] {
        message(&file("", &endpoint_line));
    }
    for api_key in [
        "{ env = \"K\" }",
        "{ file = \"K\" }",
        "{ command = [\"K\"] }",
        "{ K = 1 }",
        "[\"K\"]",
        "\"Bearer K\"",
    ] {
        let text = file("", "").replace(&format!("\"{CANARY}\""), &api_key.replace('K', CANARY));
        message(&text);
    }
    for base_url in ["https://u:K@host", "K", "https://host?key=K", "https://K:K"] {
        message(&file("", "").replace("https://api.anthropic.com", &base_url.replace('K', CANARY)));
    }
}

#[test]
fn names_are_checked_and_unique() {
    assert_says(&file("", "").replace("\"main\"", "\"a b\""), &["endpoints[0].name: a name must be"]);
    assert_says(&file("", "").replace("clusters.work", "clusters.\"../x\""), &["clusters: a name must be"]);
    let twins =
        file("", "[[clusters.work.endpoints]]\nname = \"main\"\nbase_url = \"https://b\"\napi_key = \"k\"");
    assert_says(
        &twins,
        &["clusters.work.endpoints[1].name: is the name of clusters.work.endpoints[0] already"],
    );
}

#[test]
fn two_endpoints_with_one_id_are_named_both() {
    let twin = "[[clusters.work.endpoints]]\nname = \"twin\"\nbase_url = \"https://api.anthropic.com\"";
    let text = file("", &format!("{twin}\napi_key = \"{CANARY}\""));
    assert_says(&text, &["endpoints[1].api_key: main and twin have the same base_url and api_key"]);
    assert!(parse(&file("", &format!("{twin}\napi_key = \"other\""))).is_ok());
}

#[test]
fn an_address_that_others_reach_needs_client_tokens() {
    assert_says(
        &file("listen = \"0.0.0.0:7860\"", ""),
        &[
            "clusters.work.listen: is not loopback",
            "anybody who reaches it could use the keys",
            "set client_tokens",
        ],
    );
    let guarded =
        parse(&file("listen = \"0.0.0.0:7860\"\nclient_tokens = [{ env = \"TOKEN\" }, \"t2\"]", "")).unwrap();
    let cluster = guarded.cluster(None).unwrap();
    let name = |presented: &[u8]| cluster.client_token(presented).map(|token| token.name().to_string());
    assert_eq!(name(b"token-1").as_deref(), Some("token-1"));
    assert_eq!((name(b"t2").as_deref(), name(b"token")), (Some("token-2"), None));
}

#[test]
fn an_address_is_loopback_only_where_it_is_so_beyond_doubt() {
    for own in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7860", "localhost:0"] {
        assert!(parse(&file(&format!("listen = \"{own}\""), "")).is_ok(), "{own}");
    }
    // A mapped address is an IPv4 one to the kernel, and may be anything to what stands in between.
    for other in
        ["0.0.0.0:1", "[::]:1", "[::ffff:127.0.0.1]:1", "[::ffff:0.0.0.0]:1", "192.168.0.1:1", "[fe80::1]:1"]
    {
        let line = format!("listen = \"{other}\"");
        assert_says(&file(&line, ""), &["clusters.work.listen: is not loopback"]);
        assert!(parse(&file(&format!("{line}\nclient_tokens = [\"t\"]"), "")).is_ok(), "{other}");
        assert_says(&file(&format!("admin_listen = \"{other}\""), ""), &["must be a loopback address"]);
    }
}

#[test]
fn a_client_token_has_a_name_of_its_own() {
    let named = |list: &str| parse(&file(&format!("client_tokens = [{list}]"), ""));
    let names = |list: &str| -> Vec<String> {
        let settings = named(list).unwrap();
        let tokens = &settings.cluster(None).unwrap().client_tokens;
        tokens.iter().map(|token| token.name().to_string()).collect()
    };
    assert_eq!(names("\"t1\", { name = \"ci\", env = \"TOKEN\" }, \"t3\""), ["token-1", "ci", "token-3"]);
    for (list, parts) in [
        ("{ name = \"a b\", env = \"TOKEN\" }", ["client_tokens[0].name: a name must be", ":2: "]),
        ("{ name = 7, env = \"TOKEN\" }", ["client_tokens[0].name: must be a name", ":2: "]),
        ("{ name = \"ci\" }", ["client_tokens[0]: must have exactly one of env, file, command", ""]),
        ("{ nmae = \"ci\", env = \"TOKEN\" }", ["unknown key `nmae`", "did you mean `name`?"]),
        (
            "\"t1\", { name = \"token-1\", env = \"TOKEN\" }",
            ["client_tokens[1]: has the name of clusters.work.client_tokens[0]", "called after its place"],
        ),
        (
            "{ name = \"ci\", env = \"TOKEN\" }, { name = \"ada\", env = \"TOKEN\" }",
            ["client_tokens[1]: is the same token as clusters.work.client_tokens[0]", ""],
        ),
    ] {
        let shown = named(list).unwrap_err().to_string();
        assert!(parts.iter().all(|part| shown.contains(part)), "{list}: {shown}");
    }
    let twice = named(&format!("\"{CANARY}\", \"{CANARY}\"")).unwrap_err();
    assert!(!format!("{twice} {twice:?}").contains(CANARY), "{twice}");
    let named_key = file("", "").replace(&format!("\"{CANARY}\""), "{ name = \"x\", env = \"TOKEN\" }");
    assert_says(&named_key, &["api_key: unknown key `name`"]);
}

#[test]
fn a_proxy_that_others_reach_keeps_its_tokens() {
    let listening = "0.0.0.0:7860".parse().unwrap();
    let cluster = |line: &str| parse(&file(line, "")).unwrap().cluster(None).unwrap().clone();
    let shown = cluster("").keep_listening_on(listening).unwrap_err().to_string();
    assert!(shown.contains("0.0.0.0:7860") && shown.contains("is not loopback"), "{shown}");
    let mut guarded = cluster("client_tokens = [\"t\"]");
    assert!(guarded.keep_listening_on(listening).is_ok());
    assert_eq!(guarded.listen, listening);
}

#[test]
fn the_admin_address_is_loopback_and_another_one() {
    assert_says(&file("admin_listen = \"0.0.0.0:1\"", ""), &["admin_listen: must be a loopback address"]);
    assert_says(
        &file("admin_listen = \"127.0.0.1:7860\"", ""),
        &["admin_listen: must not be the same as listen"],
    );
}

#[test]
fn a_listen_address_from_the_command_line_is_held_to_the_same_rule() {
    let mut cluster = parse(&file("", "")).unwrap().cluster(None).unwrap().clone();
    assert!(cluster.override_listen("127.0.0.1:0").is_ok());
    assert_eq!(cluster.listen.port(), 0);
    for text in ["0.0.0.0:1", "x"] {
        let shown = cluster.override_listen(text).unwrap_err().to_string();
        assert!(shown.starts_with("--listen for cluster work: "), "{shown}");
    }
}

#[test]
fn a_cluster_is_found_by_name_or_alone() {
    let one = parse(&file("", "")).unwrap();
    assert_eq!(one.cluster(None).unwrap().name, "work");
    assert!(one.cluster(Some("wrk")).unwrap_err().to_string().contains("did you mean `work`?"));
    let two = parse(&(file("", "") + &file("", "").replace("clusters.work", "clusters.play"))).unwrap();
    assert_eq!(two.names, ["play", "work"]);
    assert!(two.cluster(None).unwrap_err().to_string().contains("choose one with --cluster: play, work"));
    assert!(
        two.cluster(Some("other"))
            .unwrap_err()
            .to_string()
            .contains("has no cluster `other`\n  it has: play, work")
    );
}

#[test]
fn a_model_map_has_patterns_and_names() {
    for (value, what) in [
        ("\"x\"", "must be a table from patterns to names"),
        ("{ \"\" = \"x\" }", "must be 1 to 256 bytes"),
        ("{ a = \"\" }", "must map to names of 1 to 256 bytes"),
        ("{ a = 1 }", "must be a table from patterns to names"),
    ] {
        assert_says(&file("", &format!("model_map = {value}")), &[what]);
    }
}
