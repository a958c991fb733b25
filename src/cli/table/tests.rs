use super::*;
use crate::cluster::TallySnapshot;

const NOW: &str = "2026-03-01T12:00:00Z";

fn healthy(name: &str) -> EndpointStatus {
    EndpointStatus {
        name: name.to_owned(),
        id: "1e3e69eb".to_owned(),
        base_url: "https://api.example".to_owned(),
        protocol: "anthropic".to_owned(),
        billing: "per-token".to_owned(),
        priority: 1,
        weight: 100,
        state: "healthy".to_owned(),
        admin: "active".to_owned(),
        usable: true,
        cause: None,
        check_method: None,
        failures: 0,
        level: 0,
        epoch: 1,
        since: "2026-03-01T11:57:00Z".to_owned(),
        next_check_at: None,
        cooldown_until: None,
        last_error: None,
        in_flight: 2,
        latency_ms: Some(812.4),
        requests: TallySnapshot { sent: 12, passed: 9, failed: 3, neutral: 0, stale: 0 },
        checks: crate::admin::CheckCounts::default(),
    }
}

fn refused(name: &str) -> EndpointStatus {
    EndpointStatus {
        state: "unhealthy".to_owned(),
        usable: false,
        cause: Some("auth".to_owned()),
        check_method: Some("chat".to_owned()),
        next_check_at: Some("2026-03-01T12:00:12Z".to_owned()),
        last_error: Some("401 authentication_error: invalid x-api-key".to_owned()),
        ..healthy(name)
    }
}

fn shown(endpoints: Vec<EndpointStatus>, width: usize) -> String {
    shown_with(endpoints, Vec::new(), width)
}

fn shown_with(endpoints: Vec<EndpointStatus>, clients: Vec<ClientStatus>, width: usize) -> String {
    let status = StatusDocument {
        version: 1,
        cluster: "work".to_owned(),
        listen: "127.0.0.1:7860".to_owned(),
        started_at: "2026-03-01T10:00:00Z".to_owned(),
        usable: endpoints.iter().filter(|endpoint| endpoint.usable).count(),
        retries_refused: 0,
        clients,
        endpoints,
    };
    of_status(&status, NOW.parse().unwrap(), Screen { is_terminal: false, has_colour: false, width })
}

#[test]
fn a_person_sees_what_is_wrong_since_when_and_what_is_next() {
    assert_eq!(
        shown(vec![healthy("main"), refused("relay")], 140),
        "cluster work on http://127.0.0.1:7860  1/2 usable  since 2h ago
ENDPOINT  STATE      SINCE   NEXT CHECK  METHOD  IN FLIGHT  LATENCY  PASS/FAIL  WHY
● main    healthy    3m ago                              2    812ms        9/3
✗ relay   unhealthy  3m ago  in 12s      chat            2    812ms        9/3  auth: 401 authentication_error: \
         invalid x-api-key
"
    );
}

#[test]
fn columns_with_nothing_in_them_are_left_out() {
    assert_eq!(
        shown(vec![healthy("main")], 80),
        "cluster work on http://127.0.0.1:7860  1/1 usable  since 2h ago
ENDPOINT  STATE    SINCE   IN FLIGHT  LATENCY  PASS/FAIL
● main    healthy  3m ago          2    812ms        9/3
"
    );
}

#[test]
fn each_client_has_a_line_where_there_are_tokens() {
    let client = |name: &str, requests, last_seen: Option<&str>| ClientStatus {
        name: name.to_owned(),
        requests,
        last_seen: last_seen.map(str::to_owned),
    };
    let clients = vec![client("ci", 12_345, Some("2026-03-01T11:57:00Z")), client("a\u{1b}[2Jda", 0, None)];
    assert_eq!(
        shown_with(vec![healthy("main")], clients, 80),
        "cluster work on http://127.0.0.1:7860  1/1 usable  since 2h ago
ENDPOINT  STATE    SINCE   IN FLIGHT  LATENCY  PASS/FAIL
● main    healthy  3m ago          2    812ms        9/3

CLIENT        REQUESTS  LAST SEEN
ci               12345  3m ago
a\\u{1b}[2Jda         0  never
"
    );
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let wordy = |name: &str| EndpointStatus {
        state: "recovering".to_owned(),
        check_method: Some("model-list".to_owned()),
        last_error: Some("额度不足 ".repeat(40)),
        ..refused(name)
    };
    for screen in [80, 100, 132] {
        let table = shown(vec![healthy("main"), wordy("a-rather-long-name-of-an-endpoint")], screen);
        assert!(table.lines().all(|line| width(line) <= screen), "{screen}\n{table}");
        assert!(table.contains("auth: 额") && table.contains("a-rather-long-name-of-a…"), "{table}");
    }
}

#[test]
fn control_characters_are_shown_and_not_obeyed() {
    let mut endpoint = refused("main");
    endpoint.name = "a\u{1b}[31m".to_owned();
    endpoint.last_error = Some("401 \u{1b}[2J\r\n● forged".to_owned());
    let table = shown(vec![endpoint], 200);
    assert!(!table.contains(['\u{1b}', '\r']) && table.lines().count() == 3, "{table}");
    assert!(
        table.contains("a\\u{1b}[31m") && table.contains("401 \\u{1b}[2J\\u{d}\\u{a}● forged"),
        "{table}"
    );
}

#[test]
fn every_condition_has_its_glyph() {
    let of = |state: &str, admin: &str, usable| {
        let endpoint =
            EndpointStatus { state: state.to_owned(), admin: admin.to_owned(), usable, ..healthy("main") };
        Row { endpoint: &endpoint, now: NOW.parse().unwrap() }.look().0
    };
    let conditions = [
        ("healthy", "active", true, '●'),
        ("unknown", "active", true, '○'),
        ("healthy", "active", false, '◔'),
        ("recovering", "active", false, '◐'),
        ("unhealthy", "active", false, '✗'),
        ("healthy", "draining", false, '‖'),
        ("unhealthy", "disabled", false, '‖'),
    ];
    for (state, admin, usable, glyph) in conditions {
        assert_eq!(of(state, admin, usable), glyph, "{state} {admin}");
    }
}

#[test]
fn a_rate_limited_endpoint_says_when_it_is_back() {
    let endpoint = EndpointStatus {
        usable: false,
        cooldown_until: Some("2026-03-01T12:00:07Z".to_owned()),
        ..healthy("main")
    };
    assert!(shown(vec![endpoint], 100).contains("left alone, back in 7s"));
}

#[test]
fn an_endpoint_billed_per_request_waits_for_a_request() {
    let endpoint = EndpointStatus { billing: "per-request".to_owned(), ..refused("relay") };
    assert!(shown(vec![endpoint], 100).contains("in 12s      a request"));
}
