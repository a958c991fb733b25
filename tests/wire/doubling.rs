//! Overloads in a row are left alone for longer each time, until one request is served.

use jiff::Timestamp;

use super::protocols::{Mode, Protocol};
use super::rig::Rig;
use super::support::{Answer, Gate, llm};

/// The clock of the health core goes in steps of 100 ms.
const STEP_SECS: f64 = 0.1;

/// One overload, and its cooldown: no less than the first figure, no more than the second.
async fn overload(rig: &Rig) -> (f64, f64) {
    rig.a.set(llm::on_post(|_| llm::error(529)));
    let sent = Timestamp::now();
    let reply = rig.ask("overloaded", Mode::Whole).await;
    let answered = Timestamp::now();
    assert_eq!((reply.status(), reply.head.header("x-qcc-attempts")), (200, Some("2")));
    let until = rig.status("a").await["cooldown_until"].as_str().map(str::to_owned);
    let until: Timestamp = until.expect("a cooldown").parse().expect("RFC 3339");
    let since = |moment: Timestamp| until.duration_since(moment).as_secs_f64();
    (since(answered) - STEP_SECS, since(sent) + STEP_SECS)
}

async fn cooled(rig: &Rig) {
    rig.status_when("a", "has cooled", |a| a["cooldown_until"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overloads_in_a_row_double_until_a_success() {
    let rig = Rig::start(Protocol::Messages, |_| Answer::new(529), |cluster| cluster);
    for longest in [1.0, 2.0, 4.0] {
        let (least, most) = overload(&rig).await;
        assert!(
            least <= longest && most >= longest / 2.0,
            "{least}–{most} s, not {}–{longest}",
            longest / 2.0
        );
        cooled(&rig).await;
    }
    rig.a.set(llm::healthy);
    assert_eq!(rig.ask("served", Mode::Whole).await.head.header("x-qcc-endpoint"), Some("a"));
    let (least, most) = overload(&rig).await;
    assert!(least <= 1.0, "the doubling begins again: {least}–{most} s");
    rig.qcc.command("reset", "a");
    let (least, most) = overload(&rig).await;
    assert!(least <= 1.0, "and after a reset: {least}–{most} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_meet_one_overload_together_double_nothing() {
    let gate = Gate::new("all at a");
    let held = gate.clone();
    let posts = move |_: &_| llm::error(529).after(&held);
    let rig = Rig::start(Protocol::Messages, posts, |cluster| cluster);
    let mut sent = Vec::new();
    for _ in 0..8 {
        sent.push(rig.send("overloaded", Mode::Whole).await);
    }
    gate.arrived(8).await;
    let released = Timestamp::now();
    gate.open();
    for mut raw in sent {
        assert_eq!(raw.read_reply().await.expect("a reply").head.header("x-qcc-endpoint"), Some("b"));
    }
    let answered = Timestamp::now();
    let until = rig.status("a").await["cooldown_until"].as_str().map(str::to_owned);
    if let Some(until) = until {
        let until: Timestamp = until.parse().expect("RFC 3339");
        let taken = answered.duration_since(released).as_secs_f64();
        let cooldown = until.duration_since(released).as_secs_f64();
        assert!(cooldown <= 1.0 + taken + STEP_SECS, "{cooldown} s");
    }
    cooled(&rig).await;
    let (least, most) = overload(&rig).await;
    assert!(least <= 2.0 && most >= 1.0, "the second in a row: {least}–{most} s");
}
