//! What a request's headers say of where it comes from and how it may be forwarded, by one look through them.

use crate::fields::{Field, Fields};
use crate::upstream::has_passed_here;

/// A header that a request has once, or not at all.
#[derive(Clone, Copy, Debug, Default)]
pub enum Once<'a> {
    #[default]
    Absent,
    One(&'a [u8]),
    Several,
}

impl<'a> Once<'a> {
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Look<'a> {
    /// `Host`.
    pub host: Once<'a>,
    /// `Origin`.
    pub origin: Once<'a>,
    /// `Max-Forwards`.
    pub max_forwards: Once<'a>,
    /// Whether a `Sec-Fetch-Site` names another place than this, or than a person (`none` is what they typed in).
    pub comes_from_elsewhere: bool,
    /// Whether it asks for another protocol.
    pub asks_for_upgrade: bool,
    /// Whether it expects something else than 100 (Continue).
    pub expects_unknown: bool,
    /// Whether this process has forwarded it already.
    pub has_passed_here: bool,
}

impl<'a> Look<'a> {
    /// Looks through all of them.
    pub fn at(fields: &'a Fields) -> Self {
        let mut look = Self::default();
        for Field { name, value, .. } in fields.iter() {
            match name {
                b"host" => look.host.note(value),
                b"origin" => look.origin.note(value),
                b"max-forwards" => look.max_forwards.note(value),
                b"sec-fetch-site" => look.comes_from_elsewhere |= value != b"same-origin" && value != b"none",
                b"upgrade" => look.asks_for_upgrade = true,
                b"expect" => look.expects_unknown |= !value.eq_ignore_ascii_case(b"100-continue"),
                b"via" => look.has_passed_here |= has_passed_here(value),
                _ => {}
            }
        }
        look
    }
}
