//! What upstreams are like from one moment to another, and what they do with a request then.

use fastrand::Rng;

use crate::network::End;

/// How an upstream is for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Good,
    /// Each request gets this.
    Always(Plan),
    /// Each request gets this with the probability given, in percent.
    Flaky(u8, Plan),
    /// Each request gets whatever comes.
    Mixed,
    Away(Unreachable),
}

/// Why no connection comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    NoName,
    Refused,
    Silent,
    /// This machine has no descriptor left, which says nothing of the endpoint.
    ShortHere,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Good,
    /// Good, in pieces that come slowly.
    Slow,
    /// 401.
    KeyRefused,
    /// 403.
    Forbidden,
    /// 402.
    NoMoney,
    /// 429 that says that the money is gone.
    SpendLimit,
    /// 429, with a `retry-after` in seconds.
    RateLimited(Option<u8>),
    /// 529.
    Overloaded,
    /// 503 with `retry-after`.
    Busy(u8),
    ServerError(u16),
    BadRequest,
    UnknownModel,
    /// 200 with a page.
    Page,
    /// 200 with an empty body.
    Nothing,
    /// 200 whose body is an error.
    ErrorBody,
    /// A relay with a dead key: lists models, and answers a chat with a polite text.
    Liar,
    ErrorEvent(When),
    /// A stream that ends in due form without its last event.
    Unfinished(When),
    CutBeforeHead(End),
    /// At this share of the answer's bytes, in thousandths.
    Cut(u16, End),
    Hang,
    /// Silent from this share of the answer's bytes on.
    Stall(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    BeforeContent,
    AfterContent,
}

impl Mood {
    pub fn draw(dice: &mut Rng) -> Self {
        match dice.u8(..21) {
            0..=5 => Self::Good,
            6..=9 => Self::Always(Plan::draw(dice)),
            10..=14 => Self::Flaky(dice.u8(10..90), Plan::draw(dice)),
            15..=16 => Self::Mixed,
            17 => Self::Away(Unreachable::NoName),
            18 => Self::Away(Unreachable::Refused),
            19 => Self::Away(Unreachable::Silent),
            _ => Self::Away(Unreachable::ShortHere),
        }
    }

    pub fn unreachable(self) -> Option<Unreachable> {
        match self {
            Self::Away(why) => Some(why),
            Self::Good | Self::Always(_) | Self::Flaky(..) | Self::Mixed => None,
        }
    }

    /// What the next request gets.
    pub fn plan(self, dice: &mut Rng) -> Plan {
        match self {
            Self::Good | Self::Away(_) => Plan::Good,
            Self::Always(plan) => plan,
            Self::Flaky(percent, plan) => {
                if dice.u8(..100) < percent {
                    plan
                } else {
                    Plan::Good
                }
            }
            Self::Mixed => {
                if dice.bool() {
                    Plan::draw(dice)
                } else {
                    Plan::Good
                }
            }
        }
    }
}

impl Plan {
    pub fn draw(dice: &mut Rng) -> Self {
        let end = if dice.bool() { End::Fin } else { End::Rst };
        let when = if dice.bool() { When::BeforeContent } else { When::AfterContent };
        match dice.u8(..26) {
            0 => Self::Slow,
            1 | 2 => Self::KeyRefused,
            3 => Self::Forbidden,
            4 => Self::NoMoney,
            5 => Self::SpendLimit,
            6 => Self::RateLimited(None),
            7 => Self::RateLimited(Some(dice.u8(1..20))),
            8 => Self::Overloaded,
            9 => Self::Busy(dice.u8(1..10)),
            10 | 11 => Self::ServerError(*dice.choice(&[500, 502, 503, 504]).expect("not empty")),
            12 => Self::BadRequest,
            13 => Self::UnknownModel,
            14 => Self::Page,
            15 => Self::Nothing,
            16 => Self::ErrorBody,
            17 => Self::Liar,
            18 => Self::ErrorEvent(when),
            19 => Self::Unfinished(when),
            20 => Self::CutBeforeHead(end),
            21 | 22 => Self::Cut(dice.u16(1..1000), end),
            23 => Self::Hang,
            _ => Self::Stall(dice.u16(1..1000)),
        }
    }

    /// The most that it may weigh against the endpoint; a whole threshold for what decides alone.
    pub fn weight(self) -> u32 {
        match self {
            Self::Good
            | Self::RateLimited(_)
            | Self::Overloaded
            | Self::Busy(_)
            | Self::BadRequest
            | Self::UnknownModel => 0,
            Self::KeyRefused | Self::Forbidden | Self::NoMoney | Self::SpendLimit => 15,
            Self::Slow
            | Self::ServerError(_)
            | Self::Page
            | Self::Nothing
            | Self::ErrorBody
            | Self::Liar
            | Self::ErrorEvent(_)
            | Self::Unfinished(_)
            | Self::CutBeforeHead(_)
            | Self::Cut(..)
            | Self::Hang
            | Self::Stall(_) => 1,
        }
    }

    /// Whether what an endpoint did for it is lost, and may be billed.
    pub fn loses_answer(self) -> bool {
        matches!(self, Self::CutBeforeHead(_) | Self::Cut(..) | Self::Hang | Self::Stall(_))
    }

    /// Whether its first bytes say that it is no success.
    pub fn tells_early(self) -> bool {
        !self.loses_answer() && !matches!(self, Self::Good | Self::Slow)
    }

    /// Whether another attempt after it comes out of the budget.
    pub fn is_charged(self) -> bool {
        self.weight() == 1
    }
}
