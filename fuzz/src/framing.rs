//! The inbound framing guard: where the network cuts a connection's bytes changes nothing of what is passed
//! on, nor of where it stops.

use qcc::proxy::{Follower, Stop};

/// The first byte says in which pieces the rest comes.
pub fn run(bytes: &[u8]) {
    let Some((&piece, sent)) = bytes.split_first() else { return };
    let whole = passed(sent, sent.len().max(1));
    for piece in [1, usize::from(piece) + 1] {
        assert_eq!(passed(sent, piece), whole, "in pieces of {piece}");
    }
}

/// How many bytes are passed on in all, and where it stopped.
fn passed(sent: &[u8], piece: usize) -> (usize, Option<Stop>) {
    let mut follower = Follower::default();
    let (mut passed, mut come) = (0, 0);
    while come < sent.len() {
        come = (come + piece).min(sent.len());
        let more = follower.follow(&sent[passed..come]);
        passed += more;
        assert!(passed <= come, "more than came");
        if follower.stopped().is_some() {
            break;
        }
    }
    (passed, follower.stopped())
}
