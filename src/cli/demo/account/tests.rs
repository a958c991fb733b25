use super::*;

fn received(what: Asked, status: u16) -> Received {
    Received { what, status, arrived: 0, answered: 1 }
}

fn record(role: Role, to: &'static str, cause: Option<Cause>, source: Source) -> Record {
    Record {
        at: jiff::Timestamp::UNIX_EPOCH,
        endpoint: role.name().to_owned(),
        epoch: 1,
        from: "healthy",
        to,
        cause,
        method: Some(CheckMethod::Chat),
        source,
    }
}

fn kept() -> Account {
    let outcome = |number: u32| Outcome {
        form: if number.is_multiple_of(3) { Form::Stream } else { Form::Whole },
        knowledge: Some(match number > WAVE_REQUESTS {
            true => Knowledge::RefusalKnown,
            false => Knowledge::RefusalUnknown,
        }),
        ending: Ending::Complete,
    };
    let early = Asked::Chat(Knowledge::RefusalUnknown);
    Account {
        received: vec![
            (Role::Good, vec![received(early, 200), received(Asked::Chat(Knowledge::RefusalKnown), 200)]),
            (Role::DeadKey, vec![received(Asked::ModelList, 200), received(early, 401)]),
            (Role::Flaky, vec![received(early, 500), received(Asked::ChatCheck, 200)]),
            (Role::Relay, vec![received(early, 200)]),
        ],
        outcomes: (1..=2 * WAVE_REQUESTS).map(outcome).collect(),
        records: vec![
            record(Role::DeadKey, "unhealthy", Some(Cause::Auth), Source::Traffic),
            record(Role::Flaky, "unhealthy", Some(Cause::Server), Source::Traffic),
            record(Role::Flaky, "healthy", None, Source::Check),
        ],
    }
}

fn text(account: &Account) -> String {
    account.text(Screen { is_terminal: false, has_colour: false, width: 100 })
}

#[test]
fn a_promise_that_was_kept_is_told_so() {
    let account = kept();
    assert!(account.is_kept(), "{}", text(&account));
    assert!(text(&account).ends_with("\nthe promise held\n"), "{}", text(&account));
    assert!(text(&account).contains("0 of the 100 requests sent after dead-key's refusal went to it"));
}

#[test]
fn one_request_after_the_refusal_breaks_it() {
    let mut account = kept();
    account.received[1].1.push(received(Asked::Chat(Knowledge::RefusalKnown), 401));
    assert!(!account.is_kept());
    assert!(
        text(&account).contains("✗ 1 of the 100 requests sent after dead-key's refusal went to it"),
        "{}",
        text(&account)
    );
}

#[test]
fn a_client_that_noticed_breaks_it() {
    for ending in
        [Ending::Incomplete, Ending::Status(500), Ending::None("the connection was reset".to_owned())]
    {
        let mut account = kept();
        account.outcomes[0].ending = ending;
        assert!(!account.is_kept(), "{}", text(&account));
    }
    let mut account = kept();
    account.outcomes.pop();
    assert!(!account.is_kept());
}

#[test]
fn a_check_of_the_relay_breaks_it() {
    let mut account = kept();
    account.received[3].1.push(received(Asked::ModelList, 200));
    assert!(!account.is_kept());
}

#[test]
fn a_demo_in_which_nothing_went_wrong_shows_nothing() {
    for missing in 0..3 {
        let mut account = kept();
        account.records.remove(missing);
        assert!(!account.is_kept(), "{missing}");
    }
}
