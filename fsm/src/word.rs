//! The packed word, and its typed copy.

use core::fmt;

use crate::{Cause, CheckMethod, Deadline};

/// The bit fields of the word. Each shift is derived from the field below it, so that a width changed
/// in one place moves everything above it.
pub mod layout {
    /// A run of bits in the word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Field {
        /// Lowest bit.
        pub shift: u32,
        /// Number of bits, 1 to 63.
        pub width: u32,
    }

    impl Field {
        pub(crate) const fn first(width: u32) -> Self {
            Self { shift: 0, width }
        }

        pub(crate) const fn above(self, width: u32) -> Self {
            Self { shift: self.shift + self.width, width }
        }

        /// The largest value that the field holds.
        pub const fn max(self) -> u64 {
            (1 << self.width) - 1
        }

        /// The field's bits within the word.
        pub const fn mask(self) -> u64 {
            self.max() << self.shift
        }

        /// Reads the field.
        pub const fn get(self, word: u64) -> u64 {
            (word >> self.shift) & self.max()
        }

        /// The field's part of a word. A value that is too large is cut to the field's width.
        pub const fn put(self, value: u64) -> u64 {
            (value & self.max()) << self.shift
        }
    }

    /// [`State`](crate::State).
    pub const STATE: Field = Field::first(2);
    /// [`Admin`](crate::Admin).
    pub const ADMIN: Field = STATE.above(2);
    /// [`Cause`](crate::Cause), zero for none.
    pub const CAUSE: Field = ADMIN.above(4);
    /// [`CheckMethod`](crate::CheckMethod), zero for none.
    pub const METHOD: Field = CAUSE.above(2);
    /// Consecutive weighted failures, saturating.
    pub const FAILURES: Field = METHOD.above(4);
    /// Trials passed in this recovery, saturating.
    pub const PASSES: Field = FAILURES.above(3);
    /// Whether a trial is in flight.
    pub const TRIAL: Field = PASSES.above(1);
    /// Backoff level, saturating.
    pub const LEVEL: Field = TRIAL.above(4);
    /// [`Deadline`](crate::Deadline).
    pub const DEADLINE: Field = LEVEL.above(22);
    /// [`Epoch`](crate::Epoch), wrapping.
    pub const EPOCH: Field = DEADLINE.above(20);

    /// All fields, from the lowest up.
    pub const ALL: [Field; 10] =
        [STATE, ADMIN, CAUSE, METHOD, FAILURES, PASSES, TRIAL, LEVEL, DEADLINE, EPOCH];

    const _: () = {
        let mut covered = 0u64;
        let mut i = 0;
        while i < ALL.len() {
            assert!(covered & ALL[i].mask() == 0, "two fields share a bit");
            covered |= ALL[i].mask();
            i += 1;
        }
        assert!(covered == u64::MAX, "the fields leave a bit unused");
    };
}

/// The health of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing is known yet. It may be used.
    Unknown,
    /// In service.
    Healthy,
    /// Known to be down: nothing goes there until a claim.
    Unhealthy,
    /// Down, with trials that may bring it back.
    Recovering,
}

impl State {
    /// The name that people and scripts see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Recovering => "recovering",
        }
    }
}

impl Admin {
    /// The name that people and scripts see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// What the operator wants of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Admin {
    /// In use.
    Active,
    /// No new exchanges; running ones finish.
    Draining,
    /// Out of use.
    Disabled,
}

/// Which period of an endpoint's health a ticket belongs to. Wraps at 2^20.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch as a number, for display.
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self((self.0 + 1) & layout::EPOCH.max() as u32)
    }
}

/// The packed word: what the cell stores.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Word(pub(crate) u64);

impl Word {
    /// The word of these 64 bits, or none when some field holds a value that has no name.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let word = Self(bits);
        (word.decode().encode() == word).then_some(word)
    }

    /// The 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The typed copy. Total: bits that no state has (admin 3, cause above the last) read as the
    /// nearest safe value, out of use and no cause.
    #[inline]
    pub fn decode(self) -> Snapshot {
        use layout::*;
        let bits = self.0;
        Snapshot {
            state: match STATE.get(bits) {
                0 => State::Unknown,
                1 => State::Healthy,
                2 => State::Unhealthy,
                _ => State::Recovering,
            },
            admin: match ADMIN.get(bits) {
                0 => Admin::Active,
                1 => Admin::Draining,
                _ => Admin::Disabled,
            },
            cause: Cause::from_bits(CAUSE.get(bits)),
            method: CheckMethod::from_bits(METHOD.get(bits)),
            failures: FAILURES.get(bits) as u8,
            passes: PASSES.get(bits) as u8,
            trial: TRIAL.get(bits) == 1,
            level: LEVEL.get(bits) as u8,
            deadline: Deadline::from_bits(DEADLINE.get(bits)),
            epoch: Epoch(EPOCH.get(bits) as u32),
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decode().fmt(f)
    }
}

/// A typed copy of the word: everything in it is of one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The health.
    pub state: State,
    /// The operator's will.
    pub admin: Admin,
    /// Why it is not in service; none while it is.
    pub cause: Option<Cause>,
    /// The method that found it out, hence the one that must clear it.
    pub method: Option<CheckMethod>,
    /// Consecutive weighted failures, 0–15.
    pub failures: u8,
    /// Trials passed in this recovery, 0–7.
    pub passes: u8,
    /// Whether a trial is in flight.
    pub trial: bool,
    /// Backoff level, 0–15.
    pub level: u8,
    /// Next trial due (Unhealthy, Recovering), lease end (trial in flight), level decay (Healthy).
    pub deadline: Deadline,
    /// The period that tickets are bound to.
    pub epoch: Epoch,
}

impl Snapshot {
    /// Packs the fields; counters are cut to their width, which the machine never exceeds.
    #[inline]
    pub fn encode(&self) -> Word {
        use layout::*;
        Word(
            STATE.put(self.state as u64)
                | ADMIN.put(self.admin as u64)
                | CAUSE.put(Cause::to_bits(self.cause))
                | METHOD.put(CheckMethod::to_bits(self.method))
                | FAILURES.put(u64::from(self.failures))
                | PASSES.put(u64::from(self.passes))
                | TRIAL.put(u64::from(self.trial))
                | LEVEL.put(u64::from(self.level))
                | DEADLINE.put(self.deadline.bits())
                | EPOCH.put(u64::from(self.epoch.0)),
        )
    }

    /// Whether a request may be sent there without a claim.
    #[inline]
    pub fn is_available(&self) -> bool {
        self.admin == Admin::Active && matches!(self.state, State::Unknown | State::Healthy)
    }

    /// Whether it is in use but out of service.
    pub fn is_sidelined(&self) -> bool {
        self.admin == Admin::Active && matches!(self.state, State::Unhealthy | State::Recovering)
    }

    /// The moment at which [`Event::Sweep`](crate::Event::Sweep) or a claim has something to do.
    pub fn due(&self) -> Option<Deadline> {
        let decaying = self.state == State::Healthy && self.level > 0;
        (self.is_sidelined() || (self.admin == Admin::Active && decaying)).then_some(self.deadline)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?} epoch={}", self.state, self.admin, self.epoch.0)?;
        if let Some(cause) = self.cause {
            write!(f, " cause={cause}")?;
        }
        if let Some(method) = self.method {
            write!(f, " method={method}")?;
        }
        write!(f, " failures={} passes={} level={}", self.failures, self.passes, self.level)?;
        write!(f, " deadline={}", self.deadline.bits())?;
        if self.trial { f.write_str(" trial") } else { Ok(()) }
    }
}
