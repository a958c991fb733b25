//! Overloads in a row are left alone for longer each time, until one request is served.

use jiff::Timestamp;

use super::protocols::{Mode, Protocol};
use super::rig::Rig;
use super::support::{Answer, llm};

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
