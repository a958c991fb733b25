//! "How an outcome counts": the rows of exchanges that bring no answer, and who may be asked again.

use super::protocols::{ALL, BOTH, Mode, Protocol};
use super::rig::{OF_B, Rig};
use super::support::{Answer, Client as User, Cluster, End, Endpoint, Qcc, Upstream, llm};
use super::table::{Case, Client, Verdict, case, run};

fn nothing(name: &str, protocol: Protocol, mode: Mode, end: End) -> Case {
    case(name, protocol, mode, move |_| Answer::nothing(end))
}

fn each() -> impl Iterator<Item = (Protocol, Mode)> {
    ALL.into_iter().flat_map(|protocol| BOTH.map(|mode| (protocol, mode)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_connection_weighs_two_and_is_served_elsewhere() {
    let mut cases = Vec::new();
    for (protocol, mode) in each() {
        cases.push(
            nothing("refused connections", protocol, mode, End::Stall)
                .stopped_before_the_request()
                .gives(Client::FromB, Verdict::FailsUnsent(2)),
        );
    }
    run(cases).await;
}

/// An endpoint `a` that no connection comes about with. It is billed by the request, so that no check at
/// the start finds it out first: where nothing was sent, that makes no difference.
async fn unconnected(base_url: &str) {
    let b = Upstream::start(llm::on_post(|request| llm::say(request, OF_B)));
    let endpoints = [Endpoint::at("a", base_url).per_request(), Endpoint::new("b", &b)];
    let qcc = Qcc::start(&Cluster::tiers(endpoints).timeouts("connect = '2s'"));
    let reply = User::of(&qcc).ask("once").await.expect_from("b");
    assert_eq!(reply.attempts(), "2");
    let after = qcc.endpoint_in("a", "unhealthy").await;
    assert_eq!((&after["cause"], &after["check_method"]), (&"network".into(), &"network".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_that_does_not_resolve_sends_nothing_and_moves_on() {
    // RFC 6761 §6.4: no resolver knows it.
    unconnected("http://no-such-host.invalid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failed_tls_handshake_sends_nothing_and_moves_on() {
    let plain = Upstream::healthy();
    unconnected(&format!("https://{}", plain.address())).await;
    assert_eq!(plain.requests().len(), 0, "no request on a connection that is not secured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_exchange_lost_before_its_head_is_a_failure_of_the_network() {
    let mut cases = Vec::new();
    for (protocol, mode) in each() {
        for end in [End::Fin, End::Reset] {
            let name = format!("{end:?} before a head");
            cases
                .push(nothing(&name, protocol, mode, end).gives(Client::FromB, Verdict::Fails("network", 1)));
        }
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_head_in_time_is_a_failure_of_time() {
    let mut cases = Vec::new();
    for (protocol, mode) in each() {
        cases.push(
            nothing("silent", protocol, mode, End::Stall)
                .cluster(impatient(mode))
                .gives(Client::FromB, Verdict::Fails("timeout", 1)),
        );
    }
    run(cases).await;
}

fn impatient(mode: Mode) -> fn(Cluster) -> Cluster {
    match mode {
        Mode::Whole => |cluster| cluster.timeouts("answer = '200ms'"),
        Mode::Streamed => |cluster| cluster.timeouts("first_byte = '200ms'"),
    }
}

/// The head and the first event, and then nothing more.
fn cut_before_content(protocol: Protocol, end: End) -> Case {
    let events = protocol.events(&["of-a"]);
    let name = format!("{end:?} before content");
    case(&name, protocol, Mode::Streamed, move |_| Answer::events(&events[..1]).ending(end))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_may_have_been_billed_by_the_request_is_not_asked_for_again() {
    // Nobody vouched for such an endpoint before, so that its first failure takes it out.
    let mut cases = Vec::new();
    for (protocol, mode) in each() {
        let lost = |end| nothing(&format!("{end:?}, billed by the request"), protocol, mode, end);
        for end in [End::Fin, End::Reset] {
            cases.push(lost(end).gives(Client::Lost, Verdict::Decides("network")));
        }
        let silent = lost(End::Stall).cluster(impatient(mode));
        cases.push(silent.gives(Client::Lost, Verdict::Decides("timeout")));
        let error = protocol.error("odd", "said by the upstream");
        cases.push(
            case("500, billed by the request", protocol, mode, move |_| Answer::json(500, &error))
                .gives(Client::FromB, Verdict::Decides("server")),
        );
    }
    for protocol in ALL {
        cases.push(cut_before_content(protocol, End::Fin).gives(Client::Lost, Verdict::Decides("stream")));
    }
    run(cases.into_iter().map(|case| case.endpoint(Endpoint::per_request)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn retry_ambiguous_says_which_lost_exchanges_are_asked_for_again() {
    let mut cases = Vec::new();
    for (protocol, mode) in each() {
        cases.push(
            nothing("lost, never repeated", protocol, mode, End::Fin)
                .cluster(|cluster| cluster.line("retry_ambiguous = 'never'"))
                .gives(Client::Lost, Verdict::Fails("network", 1)),
        );
        cases.push(
            nothing("lost, always repeated", protocol, mode, End::Fin)
                .cluster(|cluster| cluster.line("retry_ambiguous = 'always'"))
                .endpoint(Endpoint::per_request)
                .gives(Client::FromB, Verdict::Decides("network")),
        );
    }
    for protocol in ALL {
        cases.push(
            cut_before_content(protocol, End::Fin)
                .cluster(|cluster| cluster.line("retry_ambiguous = 'never'"))
                .gives(Client::Lost, Verdict::Fails("stream", 1)),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_while_idle_costs_no_attempt_however_soon_after() {
    let protocol = Protocol::Messages;
    let rig =
        Rig::start(protocol, move |request| protocol.well(Mode::of(request), "of-a"), |cluster| cluster);
    for round in 0..40 {
        let first = rig.ask("leaves a connection", Mode::Whole).await;
        assert_eq!(first.head.header("x-qcc-endpoint"), Some("a"));
        rig.a.stop();
        rig.a.restart();
        let second = rig.ask("needs another", Mode::Streamed).await;
        let header = |name| second.head.header(name);
        let served = (header("x-qcc-endpoint"), header("x-qcc-attempts"));
        assert_eq!(served, (Some("a"), Some("1")), "round {round}");
        assert_eq!(rig.a.users().len(), 2 * (round + 1), "no POST is sent twice");
    }
    assert_eq!(rig.settled("a", 80).await["requests"]["failed"], 0);
}
