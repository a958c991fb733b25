//! Upstreams that never come to an end: heads, informational answers, empty lines. They end by a size or by a limit of
//! time, and the program stays as small as it is.

use super::kinds::Kind;
use super::rig::{Billing, Rig};
use super::support::client::BodyEnd;
use super::support::faults::Act;

/// So many at once.
const FLOODS: usize = 30;
/// What the program may grow by while they go on: half a megabyte each and as much again.
const GROWTH_KIB_MAX: usize = 32 * 1024;
const FOREVER: usize = usize::MAX;

/// The most memory that the process has had, in KiB (proc(5), `VmHWM`).
fn peak_kib(rig: &Rig) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.qcc.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

struct Flood {
    what: &'static str,
    kind: Kind,
    begins: Vec<u8>,
    goes_on: Vec<u8>,
    cause: &'static str,
}

async fn flood(flood: Flood) {
    let Flood { what, kind, begins, goes_on, cause } = flood;
    let rig = Rig::start(false, Billing::PerToken, |cluster| {
        // No limit of time ends them.
        cluster.timeouts("first_byte = '10m'").timeouts("answer = '10m'")
    });
    assert_eq!(rig.ask(kind, "").await.status(), 200);
    rig.earn_retries(FLOODS).await;
    let before = peak_kib(&rig);
    let rig = std::sync::Arc::new(rig);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..FLOODS {
        let acts = [Act::Read, Act::Send(begins.clone()), Act::Flood(goes_on.clone(), FOREVER)];
        rig.a.script(&number.to_string(), acts);
        let rig = rig.clone();
        clients.spawn(async move { rig.ask(kind, &number.to_string()).await });
    }
    for reply in clients.join_all().await {
        let told = (reply.status(), reply.head.header("x-qcc-endpoint"), &reply.end);
        assert_eq!(told, (200, Some("b"), &BodyEnd::Clean), "{what}");
    }
    let sent: usize = rig.a.connections().iter().map(|opened| opened.bytes_sent()).sum();
    let growth = peak_kib(&rig) - before;
    println!("{what}: {FLOODS} at once, {} KiB sent, {growth} KiB more at most", sent / 1024);
    assert!(growth < GROWTH_KIB_MAX, "{what}: {growth} KiB more");
    assert_eq!(rig.status("a").await["cause"], cause, "{what}");
    for taken in (0..FLOODS).flat_map(|number| rig.a.taken(&number.to_string())) {
        let opened = &taken.connection;
        super::support::eventually("the flood ends", || opened.end().is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_without_an_end_are_bounded_and_no_answer() {
    let ok = b"HTTP/1.1 200 OK\r\n";
    for (what, begins, goes_on) in [
        ("one header without an end", [ok.as_slice(), b"x-bomb: "].concat(), vec![b'x'; 64 << 10]),
        ("headers without an end", ok.to_vec(), b"x-header: y\r\n".repeat(1000)),
        ("a status line without an end", b"HTTP/1.1 200 ".to_vec(), vec![b'O'; 64 << 10]),
    ] {
        flood(Flood { what, kind: Kind::Messages, begins, goes_on, cause: "network" }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn informational_answers_without_an_end_are_bounded_and_no_answer() {
    for kind in [Kind::Messages, Kind::MessagesStreamed] {
        let goes_on = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100);
        let what = "informational answers";
        flood(Flood { what, kind, begins: Vec::new(), goes_on, cause: "network" }).await;
    }
}
