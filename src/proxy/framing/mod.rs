//! The inbound framing guard: a request that two readers could read differently goes nowhere.
//!
//! hyper reads more than it shows: it drops a `Content-Length` beside a `Transfer-Encoding`, and takes
//! a bare LF for a line end. So the bytes of an HTTP/1 connection pass here first:
//!
//! ```text
//!           whole and well formed: passed on                 length, or chunks
//!   ┌──── Head ──────────────────────────────────▶ Body ◀──────────────────────┐
//!   │      ▲  │                                      │ │  more of it: passed on │
//!   │      │  └─ incomplete: held back               │ └────────────────────────┘
//!   │      └─────────────── its last byte ───────────┤
//!   ▼ malformed                                      ▼ malformed
//!  Stopped: a refused request in its place          Stopped: the connection ends here
//! ```

mod head;
mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use stream::Guarded;

use crate::chunked::{Chunks, Progress};
use head::{Framing, Head};

/// The most bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most header lines of a request: as many as hyper reads.
pub const FIELDS_MAX: usize = 100;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is longer than `HEAD_BYTES_MAX`.
    TooLong,
    /// It has more than `FIELDS_MAX` header lines.
    TooManyFields,
    /// A line ends in LF or CR alone.
    LineEnd,
    /// It holds a NUL or another control character.
    Control,
    /// The first line is not a method, a target and HTTP/1.0 or HTTP/1.1, with one space between.
    RequestLine,
    /// The target has a fragment, which is no part of one (RFC 9112 §3.2), and which hyper would cut off.
    Fragment,
    /// A line begins with a space or a tab (obs-fold).
    Folded,
    /// A line has no name and colon, or something between them.
    Name,
    /// There is more than one `Host`.
    Hosts,
    /// There is more than one `Content-Length`, or it is no number.
    Length,
    /// `Transfer-Encoding` is not `chunked` once, or the version knows none.
    Coding,
    /// `Content-Length` and `Transfer-Encoding` are both there.
    BothFramings,
}

impl Refusal {
    /// Whether a smaller one would do.
    pub const fn is_of_size(self) -> bool {
        match self {
            Self::TooLong | Self::TooManyFields => true,
            Self::LineEnd
            | Self::Control
            | Self::RequestLine
            | Self::Fragment
            | Self::Folded
            | Self::Name
            | Self::Hosts
            | Self::Length
            | Self::Coding
            | Self::BothFramings => false,
        }
    }

    /// For the one who sent it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "is longer than 64 KiB",
            Self::TooManyFields => "has more than 100 header lines",
            Self::LineEnd => "has a line that does not end in CR LF",
            Self::Control => "holds a control character",
            Self::RequestLine => "does not begin with an HTTP/1.1 request line",
            Self::Fragment => "has a target with a fragment",
            Self::Folded => "has a header line that begins with white space",
            Self::Name => "has a header line without a well-formed name",
            Self::Hosts => "has more than one Host",
            Self::Length => "has a Content-Length that is not one number",
            Self::Coding => "has a Transfer-Encoding other than chunked",
            Self::BothFramings => "has both Content-Length and Transfer-Encoding",
        }
    }
}

/// Where following a connection came to a stop, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a head.
    Head(Refusal),
    /// In a body whose chunks are malformed.
    Body,
}

#[derive(Debug)]
enum Place {
    Head(Head),
    Length { left: u64 },
    Chunks(Chunks),
    Stopped(Stop),
}

/// Follows the requests of a connection.
#[derive(Debug)]
pub struct Follower {
    place: Place,
}

impl Default for Follower {
    /// At the beginning of a connection.
    fn default() -> Self {
        Self { place: Place::Head(Head::default()) }
    }
}

impl Follower {
    /// Where it came to a stop, if it did.
    pub fn stopped(&self) -> Option<Stop> {
        match self.place {
            Place::Stopped(stop) => Some(stop),
            Place::Head(_) | Place::Length { .. } | Place::Chunks(_) => None,
        }
    }

    /// Whether the client may be about to send more that nobody will read.
    fn expects_more(&self) -> bool {
        match self.place {
            Place::Head(_) => false,
            Place::Length { .. } | Place::Chunks(_) | Place::Stopped(_) => true,
        }
    }

    /// How many of these bytes may be passed on. Unless it stopped, the rest is an incomplete head,
    /// with which the next call's bytes must begin.
    pub fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            let next = match &mut self.place {
                Place::Stopped(_) => return passed,
                Place::Head(head) => match head.read(rest) {
                    Err(refusal) => Place::Stopped(Stop::Head(refusal)),
                    Ok(None) => return passed,
                    Ok(Some((length, framing))) => {
                        passed += length;
                        match framing {
                            Framing::Length(0) => Place::Head(Head::default()),
                            Framing::Length(left) => Place::Length { left },
                            Framing::Chunked => Place::Chunks(Chunks::default()),
                        }
                    }
                },
                Place::Length { left } => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    passed += taken;
                    *left -= taken as u64;
                    if *left > 0 {
                        return passed;
                    }
                    Place::Head(Head::default())
                }
                Place::Chunks(chunks) => {
                    let (taken, progress) = chunks.read(rest, |_| {});
                    passed += taken;
                    match progress {
                        Progress::More => return passed,
                        Progress::End => Place::Head(Head::default()),
                        Progress::Malformed => Place::Stopped(Stop::Body),
                    }
                }
            };
            self.place = next;
        }
    }
}
