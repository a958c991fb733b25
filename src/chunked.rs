//! A chunked body as it comes (RFC 9112 §7.1), from a client or from an upstream. It is no more lenient than hyper's
//! decoder: what both take ends at the same byte.

use std::{fmt, io};

use crate::text::{TCHARS, is_control};

/// The most bytes of sizes, extensions and trailers beyond [`BESIDE_BYTES_A_BYTE`]: as many as hyper takes.
const BESIDE_BYTES_MAX: usize = 16 * 1024;
/// How many of them may come with each byte of the body, however long it is: a chunk of one byte has 5.
const BESIDE_BYTES_A_BYTE: usize = 16;

/// A chunked body of which not all has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkedBody {
    chunks: Chunks,
    /// How much more has come of sizes, extensions and trailers than the body accounts for.
    beside_bytes: usize,
}

/// The chunks are none, or carry next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chunks of the body are malformed")
    }
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed.to_string())
    }
}

impl ChunkedBody {
    /// Adds what these bytes carry of the body to `data`, and gives how many of them are its.
    ///
    /// # Errors
    /// When they are malformed, once what came before that was given.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, Malformed> {
        let (before, mut taken) = (data.len(), 0);
        while taken < bytes.len() && !self.is_over() {
            if let Chunks::Data { left } = &mut self.chunks {
                let length = (bytes.len() - taken).min(usize::try_from(*left).unwrap_or(usize::MAX));
                data.extend_from_slice(&bytes[taken..taken + length]);
                taken += length;
                *left -= length as u64;
                if *left == 0 {
                    self.chunks = Chunks::DataCr;
                }
                // Piece by piece, so that it is the same wherever the network cuts.
                self.beside_bytes = self.beside_bytes.saturating_sub(length * BESIDE_BYTES_A_BYTE);
                continue;
            }
            let room = BESIDE_BYTES_MAX - self.beside_bytes;
            let passed = self.chunks.pass(&bytes[taken..bytes.len().min(taken + room)]);
            taken += passed;
            self.beside_bytes += passed;
            let goes_on = matches!(self.chunks, Chunks::Data { .. } | Chunks::End);
            if !goes_on && taken < bytes.len() {
                // The next look finds it again.
                return if data.len() > before { Ok(taken) } else { Err(Malformed) };
            }
        }
        Ok(taken)
    }

    /// Whether all of it has come.
    pub fn is_over(&self) -> bool {
        self.chunks == Chunks::End
    }
}

/// Where in a chunked body the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunks {
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
    TrailerName,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Chunks {
    /// Goes on to the next data or to the end, and gives how many of these bytes that took.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            match self.after(byte) {
                None => return at,
                Some(next) => *self = next,
            }
            if matches!(self, Self::Data { .. } | Self::End) {
                return at + 1;
            }
        }
        bytes.len()
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
            // Dropped, and not to be taken for something else (RFC 9112 §5.1).
            (Self::TrailerName, b':') => Some(Self::Trailer),
            (Self::Line | Self::TrailerName, _) if TCHARS.has(byte) => Some(Self::TrailerName),
            (Self::Trailer, _) if !is_control(byte) => Some(Self::Trailer),
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
                | Self::TrailerName
                | Self::Trailer
                | Self::TrailerLf
                | Self::EndLf
                | Self::End,
                _,
            ) => None,
        }
    }
}
