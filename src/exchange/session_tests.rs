use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::exchange::{RequestFacts, json};

const ID: &str = "0f3a2b1c-7d4e-4a6f-9b8c-1d2e3f405162";

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().copied().collect()
}

fn session_of(list: &[(&str, &str)], body: &str) -> Option<SessionKey> {
    RequestFacts::with_clues(body.as_bytes()).1.session(&fields(list))
}

fn session_in(body: &Value) -> Option<SessionKey> {
    session_of(&[("x-api-key", "k")], &body.to_string())
}

/// What the name alone gives.
fn id() -> Option<SessionKey> {
    Some(SessionKey(xxh3_64(ID.as_bytes())))
}

#[test]
fn a_name_gives_the_same_session_wherever_it_stands() {
    let user_id = json!({"device_id": "d\"1", "session_id": ID}).to_string();
    for (list, body) in [
        (vec![("x-claude-code-session-id", ID)], json!({"messages": []})),
        (vec![("X-Claude-Code-Session-Id", ID)], Value::Null),
        (vec![], json!({"metadata": {"user_id": user_id}})),
        (vec![], json!({"metadata": {"a": 1, "user_id": format!("user_ab_account_cd_session_{ID}")}})),
        (vec![("session-id", ID)], json!({"input": "x"})),
        (vec![("session_id", ID)], json!({"input": "x"})),
        (vec![], json!({"prompt_cache_key": ID, "input": "x"})),
    ] {
        assert_eq!(session_of(&list, &body.to_string()), id(), "{list:?} {body}");
    }
}

#[test]
fn a_session_is_the_same_after_a_restart_and_in_the_next_release() {
    assert_eq!(id(), Some(SessionKey(3_207_884_641_211_354_389)));
    assert_eq!(
        session_in(&json!({"system": "s", "tools": [1]})),
        Some(SessionKey(16_808_006_710_635_536_359))
    );
}

#[test]
fn the_first_name_in_the_order_of_clues_counts() {
    let other = "another";
    let user_id = |id: &str| json!({"session_id": id}).to_string();
    for (list, body) in [
        (vec![("x-claude-code-session-id", ID), ("session-id", other)], json!({"prompt_cache_key": other})),
        (vec![("x-claude-code-session-id", ID)], json!({"metadata": {"user_id": user_id(other)}})),
        (
            vec![("session-id", other)],
            json!({"metadata": {"user_id": user_id(ID)}, "prompt_cache_key": other}),
        ),
        (vec![("session-id", ID)], json!({"prompt_cache_key": other, "system": "s"})),
        (vec![("x-claude-code-session-id", " ")], json!({"prompt_cache_key": ID, "system": "s"})),
        (vec![], json!({"metadata": {"user_id": "somebody"}, "prompt_cache_key": ID})),
        (vec![], json!({"metadata": {"user_id": user_id("")}, "prompt_cache_key": ID})),
    ] {
        assert_eq!(session_of(&list, &body.to_string()), id(), "{list:?} {body}");
    }
}

#[test]
fn a_prompt_tells_sessions_apart_by_credential_system_and_tools() {
    let tools = json!([{"name": "read", "input_schema": {"type": "object"}}]);
    let turn = |text: &str| json!([{"role": "user", "content": text}]);
    let base = json!({"system": "Be brief.", "tools": tools, "messages": turn("one")});
    let same = json!({"messages": turn("two"), "model": "m", "system": "Be brief.", "tools": tools});
    assert!(session_in(&base).is_some());
    assert_eq!(session_in(&base), session_in(&same), "turns and order don't matter");
    let others = [
        session_of(&[("x-api-key", "other")], &base.to_string()),
        session_of(&[("authorization", "Bearer k")], &base.to_string()),
        session_of(&[], &base.to_string()),
        session_in(&json!({"system": "Be long.", "tools": tools})),
        session_in(&json!({"system": "Be brief."})),
        session_in(&json!({"tools": tools})),
    ];
    let all: HashSet<_> = others.into_iter().chain([session_in(&base)]).collect();
    assert_eq!(all.len(), 7);
    assert!(!all.contains(&None));
}

#[test]
fn a_request_without_system_and_tools_has_no_session() {
    for body in [
        json!({"messages": [{"role": "user", "content": "hi"}]}),
        json!({"system": "", "tools": [], "messages": []}),
        json!({"system": null, "instructions": null, "tools": null}),
        json!({"system": [], "input": "hi"}),
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "late"}]}),
        json!([1, 2]),
        Value::Null,
    ] {
        assert_eq!(session_in(&body), None, "{body}");
    }
    assert_eq!(session_of(&[("x-api-key", "k")], ""), None);
}

#[test]
fn the_leading_system_turns_of_a_chat_are_its_system_prompt() {
    let chat = |system: &str, user: &str| {
        json!({"messages": [
            {"role": "system", "content": system}, {"content": "[}", "role": "developer"},
            {"role": "user", "content": user}, {"role": "system", "content": user}]})
    };
    assert!(session_in(&chat("s", "one")).is_some());
    assert_eq!(session_in(&chat("s", "one")), session_in(&chat("s", "two")));
    assert_ne!(session_in(&chat("s", "one")), session_in(&chat("t", "one")));
    let responses = |user: &str| json!({"input": [{"role": "developer", "content": "d"}, {"role": "user", "content": user}]});
    assert_eq!(session_in(&responses("one")), session_in(&responses("two")));
    assert!(session_in(&responses("one")).is_some());
    assert!(session_in(&json!({"instructions": "i", "input": "x"})).is_some());
}

#[test]
fn a_billing_line_that_changes_is_no_part_of_the_prompt() {
    let line = |count: u32| format!("x-anthropic-billing-header: cc_version=2.1.330; n=\\{count}\";");
    let of_blocks = |count: u32, prompt: &str| {
        let blocks = [line(count), prompt.to_owned()].map(|text| json!({"type": "text", "text": text}));
        session_in(&json!({"system": blocks}))
    };
    let in_one =
        |count: u32, prompt: &str| session_in(&json!({"system": format!("{}\n{prompt}", line(count))}));
    for system_of in [&of_blocks as &dyn Fn(u32, &str) -> Option<SessionKey>, &in_one] {
        assert!(system_of(1, "p").is_some());
        assert_eq!(system_of(1, "p"), system_of(2, "p"));
        assert_ne!(system_of(1, "p"), system_of(1, "q"));
    }
    assert_eq!(session_in(&json!({"system": line(1)})), None, "nothing else is there");
    let quoted = |count: u32| session_in(&json!({"system": format!("Never send {}", line(count))}));
    assert_ne!(quoted(1), quoted(2), "a prompt that speaks of it is a prompt");
}

#[test]
fn metadata_that_is_too_long_or_malformed_names_no_session() {
    let long = "a".repeat(METADATA_BYTES_MAX);
    for metadata in [
        json!({"user_id": format!("{long}_session_{ID}")}),
        json!({"user_id": 7}),
        json!({"user_id": "{\"session_id\": 7}"}),
        json!({"user_id": "{\"session_id"}),
        json!({"user_id": "user_x_session_"}),
        json!("user_x_session_y"),
        json!({}),
    ] {
        assert_eq!(session_in(&json!({"metadata": metadata})), None, "{metadata}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_it_panic(text in "[\\[\\]{}\",:\\\\n a-z]{0,80}") {
        for name in ["system", "messages", "metadata", "prompt_cache_key", "tools"] {
            let _ = session_of(&[("x-api-key", "k")], &format!("{{\"{name}\":{text}}}"));
            let _ = session_of(&[("x-api-key", "k")], &format!("{{\"{name}\":{text}"));
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    #[test]
    fn the_leading_system_turns_are_those_that_a_look_at_each_whole_turn_finds(text in json::tests::pieces()) {
        let is_system = |turn: &&[u8]| {
            let role = json::naive::TopLevel::of(turn).find(|(name, _)| *name == b"role");
            matches!(role, Some((_, br#""system""# | br#""developer""#)))
        };
        let expected: Vec<_> = json::naive::Elements::of(&text).take_while(is_system).collect();
        let mut turns = Elements::of(&text);
        assert_eq!(std::iter::from_fn(|| turns.next_if(is_system_turn)).collect::<Vec<_>>(), expected);
    }
}
