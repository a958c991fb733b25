//! What can happen to an endpoint.

use core::fmt;

use crate::{Stamp, Ticks};

/// Why an endpoint is not in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Our key was refused.
    Auth = 1,
    /// The account has no money or no quota left.
    Quota,
    /// The endpoint answered with an error of its own.
    Server,
    /// No answer in time.
    Timeout,
    /// No connection, or one that broke before an answer.
    Network,
    /// An answer that is not what was asked for.
    InvalidResponse,
    /// An answer that broke off after it had begun.
    Stream,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 7] = [
        Self::Auth,
        Self::Quota,
        Self::Server,
        Self::Timeout,
        Self::Network,
        Self::InvalidResponse,
        Self::Stream,
    ];

    /// Whether one failure decides, and waiting alone does not mend it: a key or an account needs a hand.
    pub const fn is_decisive(self) -> bool {
        matches!(self, Self::Auth | Self::Quota)
    }

    /// The name that people and scripts see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::InvalidResponse => "invalid-response",
            Self::Stream => "stream",
        }
    }

    pub(crate) const fn to_bits(cause: Option<Self>) -> u64 {
        match cause {
            None => 0,
            Some(cause) => cause as u64,
        }
    }

    pub(crate) const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1..=7 => Some(Self::ALL[bits as usize - 1]),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A way to find out how an endpoint is, ordered by how much it shows: a network check that passes says
/// less than a model list, which says less than a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CheckMethod {
    /// Any HTTP answer to our key.
    Network = 1,
    /// The list of models.
    ModelList,
    /// A chat with a verification code; also what a user's own request shows.
    Chat,
}

impl CheckMethod {
    /// All methods, the weakest first.
    pub const ALL: [Self; 3] = [Self::Network, Self::ModelList, Self::Chat];

    /// The name that people and scripts see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::ModelList => "model-list",
            Self::Chat => "chat",
        }
    }

    pub(crate) const fn to_bits(method: Option<Self>) -> u64 {
        match method {
            None => 0,
            Some(method) => method as u64,
        }
    }

    pub(crate) const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1..=3 => Some(Self::ALL[bits as usize - 1]),
            _ => None,
        }
    }
}

impl fmt::Display for CheckMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a pass rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// A user's request was answered.
    Traffic,
    /// A check passed.
    Check(CheckMethod),
}

/// What a failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The method that found it out.
    pub method: CheckMethod,
    /// How much it counts towards the threshold, 1–15. A decisive cause counts as the whole threshold
    /// whatever stands here.
    pub weight: u8,
    /// When the endpoint said that it will be back, for a quota.
    pub resets_in: Option<Ticks>,
}

impl Failure {
    /// A failure of weight 1 without an announced end.
    pub const fn new(cause: Cause, method: CheckMethod) -> Self {
        Self { cause, method, weight: 1, resets_in: None }
    }

    /// The same failure with another weight.
    pub const fn weighing(self, weight: u8) -> Self {
        Self { weight, ..self }
    }

    /// The same failure with the end that the endpoint announced.
    pub const fn until(self, resets_in: Option<Ticks>) -> Self {
        Self { resets_in, ..self }
    }
}

/// What one exchange says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It works.
    Pass(Evidence),
    /// It does not.
    Fail(Failure),
    /// Nothing: a rate limit, a client that left, a request that was itself at fault.
    Neutral,
}

/// Who asks for a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claimant {
    /// The prober, at the deadline, of endpoints billed per token.
    Prober,
    /// A user's request, at the deadline, of endpoints billed per request.
    Request,
    /// A user's request when nothing else is eligible, before the deadline too. The caller limits it to
    /// one a second with an [`Interval`](crate::Interval).
    LastResort,
}

impl Claimant {
    /// All claimants.
    pub const ALL: [Self; 3] = [Self::Prober, Self::Request, Self::LastResort];
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdminCommand {
    /// Send nothing new there.
    Drain,
    /// Take it out of use.
    Disable,
    /// Take it back into use, as unknown.
    Enable,
    /// Forget its history.
    Reset,
}

impl AdminCommand {
    /// All commands.
    pub const ALL: [Self; 4] = [Self::Drain, Self::Disable, Self::Enable, Self::Reset];
}

/// Something that happened; see [`next`](crate::next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An exchange ended, or showed its first content.
    Verdict {
        /// The stamp of the ticket that the exchange was sent with.
        stamp: Stamp,
        /// What it says.
        verdict: Verdict,
    },
    /// Too many of the exchanges of one epoch failed, be it with passes between them; see
    /// [`FailureWindow`](crate::FailureWindow).
    Trip {
        /// The stamp of a ticket of that epoch.
        stamp: Stamp,
        /// The last failure.
        failure: Failure,
    },
    /// Somebody wants to try the endpoint.
    Claim {
        /// Who.
        by: Claimant,
        /// How long the trial may take before it is taken back.
        lease: Ticks,
    },
    /// Time has passed: levels decay, a lost trial is taken back, an old deadline is renewed.
    Sweep,
    /// An operator wants the next check now.
    Recheck,
    /// An operator's command.
    Admin(AdminCommand),
}
