//! The schema's table against what the parser does, and the page written from it.

use std::fs;

use super::super::TEMPLATE;
use super::super::keys::{CLUSTER, ENDPOINT, GROUPS, HEALTH, SECRET, TIMEOUTS};
use super::super::schema::{Fallback, Form, Group, Key};
use super::super::{AuthForm, Billing, EndpointSettings, ModelGlob, Protocol, RetryAmbiguous, Settings};
use super::files::Scratch;
use super::{authority, file, parse};

/// A file in which the key of the group is set.
fn with_key(group: &Group, key: &Key, value: &str) -> String {
    let line = format!("{} = {value}", key.name);
    match group.header {
        "[clusters.NAME]" => file(&line, ""),
        "[clusters.NAME.health]" => file(&format!("health.{line}"), ""),
        "[clusters.NAME.timeouts]" => file(&format!("timeouts.{line}"), ""),
        "[[clusters.NAME.endpoints]]" => {
            let lines: Vec<_> = file("", "")
                .lines()
                .filter(|old| !old.starts_with(&format!("{} =", key.name)))
                .map(str::to_owned)
                .collect();
            lines.join("\n") + "\n" + &line
        }
        other => panic!("{other}"),
    }
}

/// A value that is no default; `None` for tables, whose keys are looked at themselves.
fn another_value(key: &Key, scratch: &Scratch) -> Option<String> {
    match key.form {
        // Seven seconds would be less than its base.
        Form::Duration if key.name == "auth_backoff_max" => Some("\"7h\"".into()),
        // Three would be less than max_body.
        Form::Size if key.name == "max_bodies" => Some("\"300 MiB\"".into()),
        Form::Address | Form::LoopbackAddress => Some("\"127.0.0.1:1\"".into()),
        Form::Count { max, .. } => Some(max.to_string()),
        Form::Duration | Form::DurationOrZero => Some("\"7s\"".into()),
        Form::Size => Some("\"3 MiB\"".into()),
        Form::Fraction => Some("0.25".into()),
        Form::Flag => Some("false".into()),
        Form::Name | Form::Text | Form::Secret => Some("\"other\"".into()),
        Form::Url => Some("\"http://other\"".into()),
        Form::ProxyUrl => Some("\"http://proxy.lan:3128\"".into()),
        Form::Path => Some(format!("{:?}", scratch.write("ca.pem", 0o644, authority()))),
        Form::Secrets => Some("[\"other\"]".into()),
        Form::Globs => Some("[\"other-*\"]".into()),
        Form::GlobMap => Some("{ \"other-*\" = \"other\" }".into()),
        Form::Hosts => Some("[\"qcc.lan\"]".into()),
        Form::Choice(words) => words.last().map(|word| format!("\"{word}\"")),
        Form::Table | Form::Tables | Form::Words => None,
    }
}

fn every_key() -> impl Iterator<Item = (&'static Group, &'static Key)> {
    [&CLUSTER, &HEALTH, &TIMEOUTS, &ENDPOINT]
        .into_iter()
        .flat_map(|group| group.keys.iter().map(move |key| (group, key)))
}

fn settings(text: &str) -> Settings {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_key_is_accepted_and_changes_the_settings() {
    let default = settings(&file("", ""));
    let scratch = Scratch::new("table");
    for (group, key) in every_key() {
        let Some(value) = another_value(key, &scratch) else { continue };
        assert_ne!(settings(&with_key(group, key, &value)), default, "{} {}", group.header, key.name);
    }
}

#[test]
fn every_default_shown_is_the_one_the_parser_gives() {
    let default = settings(&file("", ""));
    for (group, key) in every_key() {
        if let Fallback::Toml(value) = key.default {
            assert_eq!(settings(&with_key(group, key, value)), default, "{} {}", group.header, key.name);
        }
    }
}

/// The contract of the file, written down once more by hand.
#[test]
fn the_defaults_are_those_of_the_contract() {
    let defaults: Vec<_> = every_key()
        .filter_map(|(_, key)| match key.default {
            Fallback::Toml(value) => Some(format!("{}={}", key.name, value.trim_matches('"'))),
            Fallback::Required | Fallback::Unset(_) => None,
        })
        .collect();
    assert_eq!(
        defaults.join(" "),
        "listen=127.0.0.1:7860 client_tokens=[] allowed_hosts=[] queue_timeout=10s drain_timeout=30s max_body=64 MiB \
         max_bodies=512 MiB max_attempts=4 commit_after=5s session_ttl=5m retry_ambiguous=per-token failure_threshold=3 success_threshold=1 \
         backoff_base=5s backoff_max=5m auth_backoff_base=1m auth_backoff_max=30m quota_backoff=10m \
         check_interval=30s check_timeout=10s slow_start=30s ratio_window=30s ratio_min_samples=20 \
         ratio_threshold=0.5 connect=5s \
         first_byte=2m answer=10m idle=5m client_header=30s protocol=anthropic billing=per-token \
         priority=1 weight=100 enabled=true"
    );
    let settings = settings(&file("", ""));
    let cluster = settings.cluster(None).unwrap();
    let endpoint = &cluster.endpoints[0];
    assert_eq!((cluster.retry_ambiguous, cluster.admin_listen), (RetryAmbiguous::PerToken, None));
    assert_eq!((cluster.max_body_bytes, cluster.timeouts.first_byte.as_secs()), (64 << 20, 120));
    assert_eq!((endpoint.protocol, endpoint.billing), (Protocol::Anthropic, Billing::PerToken));
    assert!(endpoint.allows_model("any") && cluster.health.check_model.is_none());
}

#[test]
fn the_auth_form_follows_the_host_unless_the_file_says() {
    let endpoint =
        |text: &str| -> EndpointSettings { settings(text).cluster(None).unwrap().endpoints[0].clone() };
    let plain = file("", "");
    let auth_at = |host: &str| endpoint(&plain.replace("api.anthropic.com", host)).auth;
    assert_eq!(auth_at("api.anthropic.com"), AuthForm::XApiKey);
    assert_eq!(auth_at("API.OpenAI.com"), AuthForm::Bearer);
    assert_eq!(auth_at("relay.example"), AuthForm::Both);
    assert_eq!(endpoint(&file("", "auth = \"both\"")).auth, AuthForm::Both);
}

#[test]
fn an_endpoint_with_patterns_allows_only_models_that_match_one() {
    let settings = settings(&file("", "models = [\"claude-*\", \"gpt-?\"]"));
    let endpoint = &settings.cluster(None).unwrap().endpoints[0];
    assert_eq!(endpoint.models.iter().map(ModelGlob::as_str).collect::<Vec<_>>(), ["claude-*", "gpt-?"]);
    assert!(
        endpoint.allows_model("claude-opus")
            && endpoint.allows_model("gpt-5")
            && !endpoint.allows_model("o3")
    );
}

#[test]
fn the_template_parses_with_its_comments_and_without() {
    let with_environment = |text: &str| {
        let variables = [("ANTHROPIC_API_KEY", "a"), ("RELAY_API_KEY", "b")];
        let environment = super::super::Environment::closed(variables);
        super::super::parse_str(text, "config.toml".as_ref(), &environment)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    assert_eq!(with_environment(TEMPLATE).clusters["work"].endpoints.len(), 1);
    let uncommented: Vec<_> = TEMPLATE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line))
        .collect();
    assert_eq!(with_environment(&uncommented.join("\n")).clusters["work"].endpoints.len(), 2);
}

#[test]
fn key_names_and_docs_are_tidy() {
    for group in GROUPS {
        for key in group.keys {
            assert!(key.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", key.name);
            assert!(key.doc.ends_with(['.', ')']) && !key.doc.contains('|'), "{}", key.name);
        }
    }
    assert_eq!(SECRET.keys.len(), 3);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the switch that rewrites the page")]
fn configuration_docs_are_generated_from_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = super::super::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        fs::write(path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is stale: run UPDATE_DOCS=1 cargo test --lib config");
}
