//! "How an outcome counts": the rows after a stream's content has begun.

use super::protocols::{ALL, Mode, Protocol};
use super::support::{Answer, End};
use super::table::{Case, Client, FIRST_DOUBLING, Verdict, case, run};

/// What comes of a stream up to its first content.
fn shown(protocol: Protocol) -> Vec<String> {
    let mut events = protocol.events(&["of-a", "never"]);
    events.truncate(protocol.events_before_content() + 1);
    events
}

fn after_content(name: &str, protocol: Protocol, last: Option<String>, end: End, verdict: Verdict) -> Case {
    let events: Vec<String> = shown(protocol).into_iter().chain(last).collect();
    let body = events.concat().into_bytes();
    case(name, protocol, Mode::Streamed, move |_| Answer::events(&events).ending(end))
        .gives(Client::Aborted { body }, verdict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_breaks_after_content_is_aborted_and_counts_against_the_stream() {
    let stream = Verdict::Breaks(&["stream"]);
    let mut cases = Vec::new();
    for protocol in ALL {
        cases.push(after_content("cut", protocol, None, End::Fin, stream.clone()));
        cases.push(after_content("without its last event", protocol, None, End::Clean, stream.clone()));
        cases.push(
            after_content("silent past idle", protocol, None, End::Stall, stream.clone())
                .cluster(|cluster| cluster.timeouts("idle = '200ms'")),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_event_after_content_counts_by_its_type_and_is_never_moved_on() {
    let mut cases = Vec::new();
    for protocol in ALL {
        let (server, money) = match protocol.is_openai() {
            false => ("api_error", "billing_error"),
            true => ("server_error", "insufficient_quota"),
        };
        for (kind, verdict) in [
            (protocol.overload(), Verdict::Cools(FIRST_DOUBLING)),
            (server, Verdict::Breaks(&["stream", "server"])),
            (money, Verdict::Decides("quota")),
        ] {
            for end in [End::Clean, End::Fin] {
                let event = Some(protocol.error_event(kind, "said by the upstream"));
                let name = format!("{kind}, then {end:?}");
                cases.push(after_content(&name, protocol, event, end, verdict.clone()));
            }
        }
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_overload_after_content_is_found_where_the_vendor_puts_it() {
    let protocol = Protocol::Responses;
    // The members and their order as the Responses API documents them.
    let event = concat!(
        "event: response.failed\n",
        r#"data: {"type":"response.failed","sequence_number":117,"response":{"#,
        r#""id":"resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b","object":"response","#,
        r#""created_at":1756315696,"status":"failed","background":false,"#,
        r#""error":{"code":"server_is_overloaded","message":"Our servers are currently overloaded."},"#,
        r#""incomplete_details":null,"model":"gpt-test-1","output":[],"usage":null}}"#,
        "\n\n"
    );
    let verdict = Verdict::Cools(FIRST_DOUBLING);
    run(vec![after_content("overloaded", protocol, Some(event.into()), End::Clean, verdict)]).await;
}
