//! Why a request's head is refused, and what its sender is told.

use super::super::answers::OwnAnswer;
use super::super::outgoing::OutgoingBody;
use crate::answer::Answer;

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
    /// The target is longer than any that may go up, and than can be told apart.
    LongTarget,
    /// The target is no URI reference of a form that requests have (RFC 9112 §3.2).
    Target,
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
    /// The answer to the one who sent it.
    pub(super) fn into_outgoing(self) -> Answer<OutgoingBody> {
        // What it asks for is not known.
        self.into_answer().on_path("/")
    }

    fn into_answer(self) -> OwnAnswer {
        let message = || format!("qcc: the request's head {}", self.as_str());
        match self {
            Self::TooLong | Self::TooManyFields => OwnAnswer::head_too_large(message()),
            Self::LongTarget => OwnAnswer::target_too_long(),
            Self::LineEnd
            | Self::Control
            | Self::RequestLine
            | Self::Fragment
            | Self::Target
            | Self::Folded
            | Self::Name
            | Self::Hosts
            | Self::Length
            | Self::Coding
            | Self::BothFramings => OwnAnswer::bad_request(message()),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "is longer than 64 KiB",
            Self::TooManyFields => "has more than 100 header lines",
            Self::LineEnd => "has a line that does not end in CR LF",
            Self::Control => "holds a control character",
            Self::RequestLine => "does not begin with an HTTP/1.1 request line",
            Self::Fragment => "has a target with a fragment",
            Self::LongTarget => "has a target that is too long",
            Self::Target => "has a target that is none",
            Self::Folded => "has a header line that begins with white space",
            Self::Name => "has a header line without a well-formed name",
            Self::Hosts => "has more than one Host",
            Self::Length => "has a Content-Length that is not one number",
            Self::Coding => "has a Transfer-Encoding other than chunked",
            Self::BothFramings => "has both Content-Length and Transfer-Encoding",
        }
    }
}
