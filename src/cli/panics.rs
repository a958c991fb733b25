//! What is told of a panic, which is always a defect of this program: where, and never with what. A message that
//! was put together at the time may hold whatever was at hand, a key too.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use super::output;

/// From now on panics are told by this room.
pub fn tell_of_panics() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = thread::current();
        output::tell(&text(
            panic.payload(),
            place.as_deref(),
            thread.name().unwrap_or("unnamed"),
            backtrace.as_deref(),
        ));
    }));
}

/// A backtrace (`RUST_BACKTRACE=1`) names functions and lines, and shows no values.
fn text(payload: &dyn Any, place: Option<&str>, thread: &str, backtrace: Option<&str>) -> String {
    let place = place.unwrap_or("an unknown place");
    // A literal was written by a programmer; any other payload was made while the program ran.
    let said = payload.downcast_ref::<&'static str>().map(|said| format!(": {said}")).unwrap_or_default();
    let backtrace = backtrace.map(|backtrace| format!("\n{backtrace}")).unwrap_or_default();
    format!("qcc: internal error at {place}, in thread {thread}{said}; this is a defect of qcc{backtrace}")
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn told(fails: fn()) -> String {
        let payload = catch_unwind(fails).unwrap_err();
        text(&*payload, Some("src/a.rs:1:2"), "main", Some("0: qcc::main"))
    }

    #[test]
    fn a_panic_is_told_by_its_place_and_not_with_what_was_at_hand() {
        // A literal among the arguments would become part of the message when it is compiled.
        let formatted = told(|| panic!("no header value: {}", std::hint::black_box("sk-canary".to_owned())));
        assert_eq!(
            formatted,
            "qcc: internal error at src/a.rs:1:2, in thread main; this is a defect of qcc\n0: qcc::main"
        );
        for shown in [
            told(|| std::hint::black_box(Err::<(), _>("sk-canary".to_owned())).unwrap()),
            told(|| panic::panic_any("sk-canary".to_owned())),
            told(|| panic::panic_any(vec!["sk-canary"])),
            told(|| assert_eq!(std::hint::black_box("sk-canary"), "x")),
        ] {
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_literal_of_the_programs_own_is_told() {
        assert!(told(|| panic!("the impossible")).contains("in thread main: the impossible; this"));
    }
}
