//! The health of an endpoint, as a typed state machine in one atomic word.
//!
//! Everything that a decision reads stands in one [`AtomicU64`](core::sync::atomic::AtomicU64), which
//! only one compare-exchange loop writes. The crate holds no clock, does no I/O and allocates nothing:
//! time comes in as a [`Tick`], what happened comes in as an [`Event`], and the answer says what the
//! caller must do about it.
//!
//! ```
//! use qcc_fsm::*;
//!
//! let policy = Policy::new(Billing::PerToken);
//! let cell = HealthCell::new();
//! let now = Tick::from_secs(1);
//!
//! // Two requests choose the endpoint while it is in service.
//! let mut first = cell.admit(now).expect("an unknown endpoint is available");
//! let second = cell.admit(now).expect("and stays so");
//!
//! // The first one is refused. One refusal of the key decides.
//! let refused = Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat));
//! let outcome = cell.report(&mut first, refused, now, &policy);
//! assert!(matches!(outcome, Outcome::Moved(change) if change.to.state == State::Unhealthy));
//!
//! // The second one's ticket is of an older epoch: it must not be written to the wire.
//! assert!(!cell.is_current(second.stamp(), now));
//! assert!(cell.admit(now).is_none());
//!
//! // When the deadline is reached, one caller may try the endpoint, with the method in the word.
//! let later = now + Ticks::from_secs(61);
//! let claim = cell.claim(Claimant::Prober, Ticks::from_secs(15), later, &policy).expect("it is due");
//! assert_eq!(claim.change.to.method, Some(CheckMethod::Chat));
//! assert!(cell.claim(Claimant::Prober, Ticks::from_secs(15), later, &policy).is_none());
//!
//! let mut trial = claim.ticket;
//! let passed = Verdict::Pass(Evidence::Check(CheckMethod::Chat));
//! assert!(matches!(cell.report(&mut trial, passed, later, &policy), Outcome::Moved(_)));
//! assert!(cell.admit(later).is_some());
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod cell;
mod context;
mod cooldown;
mod event;
mod interval;
mod machine;
mod mutant;
mod policy;
mod sync;
mod tick;
mod window;
mod word;

pub use cell::{Change, Claim, HealthCell, Outcome, Stamp, Ticket};
pub use cooldown::Cooldown;
pub use event::{AdminCommand, Cause, CheckMethod, Claimant, Event, Evidence, Failure, Verdict};
pub use interval::Interval;
pub use machine::next;
pub use policy::{Billing, Policy};
pub use tick::{Deadline, Tick, Ticks};
pub use window::{FailureLimit, FailureWindow, Sample};
pub use word::{Admin, Epoch, Snapshot, State, Word, layout};
