//! A chunked body as it comes (RFC 9112 §7.1), from a client or from an upstream. It is no more lenient than hyper's
//! decoder: what both take ends at the same byte.

use crate::text::is_control;

/// Where in a chunked body the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the places are those of the grammar")]
pub enum Chunks {
    /// The first digit of a size.
    #[default]
    Start,
    Size(u64),
    /// White space after a size.
    Blank(u64),
    Extension(u64),
    SizeLf(u64),
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// The first byte of a trailer line or of the empty one.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// What the bytes so far have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More of the body is to come.
    More,
    /// The body is over.
    End,
    /// It is none.
    Malformed,
}

impl Chunks {
    /// How many of these bytes belong to the body, and whether it ended or broke after them. Hands what they carry to
    /// `each`, piece by piece.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> (usize, Progress) {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let Self::Data { left } = self {
                let length = (bytes.len() - taken).min(usize::try_from(*left).unwrap_or(usize::MAX));
                each(&bytes[taken..taken + length]);
                taken += length;
                *left -= length as u64;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            let Some(next) = self.after(byte) else { return (taken, Progress::Malformed) };
            taken += 1;
            *self = next;
            if next == Self::End {
                return (taken, Progress::End);
            }
        }
        (taken, Progress::More)
    }

    fn after(self, byte: u8) -> Option<Self> {
        let digit = || char::from(byte).to_digit(16).map(u64::from);
        match (self, byte) {
            (Self::Start, _) => Some(Self::Size(digit()?)),
            (Self::Size(size) | Self::Blank(size) | Self::Extension(size), b'\r') => Some(Self::SizeLf(size)),
            (Self::Size(size) | Self::Blank(size), b';') => Some(Self::Extension(size)),
            (Self::Size(size) | Self::Blank(size), b' ' | b'\t') => Some(Self::Blank(size)),
            (Self::Size(size), _) => Some(Self::Size(size.checked_mul(16)?.checked_add(digit()?)?)),
            (Self::Extension(size), _) if !is_control(byte) => Some(Self::Extension(size)),
            (Self::SizeLf(0), b'\n') => Some(Self::Line),
            (Self::SizeLf(left), b'\n') => Some(Self::Data { left }),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::Start),
            (Self::Line, b'\r') => Some(Self::EndLf),
            (Self::Trailer, b'\r') => Some(Self::TrailerLf),
            (Self::Line | Self::Trailer, _) if !is_control(byte) => Some(Self::Trailer),
            (Self::TrailerLf, b'\n') => Some(Self::Line),
            (Self::EndLf, b'\n') => Some(Self::End),
            (
                Self::Blank(_)
                | Self::Extension(_)
                | Self::SizeLf(_)
                | Self::Data { .. }
                | Self::DataCr
                | Self::DataLf
                | Self::Line
                | Self::Trailer
                | Self::TrailerLf
                | Self::EndLf
                | Self::End,
                _,
            ) => None,
        }
    }
}
