//! The beginnings of compressed bodies, decoded to be looked into. What is forwarded is what came.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::BrotliDecoderParameter;
use brotli_decompressor::Decompressor;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::StreamingDecoder;

use crate::fields::Fields;

/// How much of a body, of its decoded beginning or of an event is looked at.
pub const INSPECTED_BYTES_MAX: usize = 8 * 1024;
/// The largest window of a zstd frame that is decoded: what every decoder must take (RFC 8878 §3.1.1.1.2).
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What can be seen of the beginning of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning<'a> {
    /// It is not encoded.
    Plain(Cow<'a, [u8]>),
    /// It was decoded, up to 8 KiB of it.
    Decoded {
        /// As far as the bytes and the limit go, or to where they are damaged.
        text: Vec<u8>,
        /// Whether that is the whole body.
        is_whole: bool,
    },
    /// Its coding is not known here, or there are several.
    Hidden,
}

impl<'a> Beginning<'a> {
    /// Of up to 8 KiB of a body with these headers. Nothing that the bytes say makes it fail.
    pub fn of(bytes: Cow<'a, [u8]>, fields: &Fields) -> Self {
        let mut codings = fields.all("content-encoding");
        let Some(coding) = codings.next() else { return Self::Plain(bytes) };
        if codings.next().is_some() {
            return Self::Hidden;
        }
        let coding = coding.trim_ascii();
        let is = |names: &[&[u8]]| names.iter().any(|name| coding.eq_ignore_ascii_case(name));
        // RFC 9110 §8.4.1: x-gzip is gzip.
        if is(&[b"", b"identity"]) {
            Self::Plain(bytes)
        } else if is(&[b"gzip", b"x-gzip"]) {
            decoded(GzDecoder::new(&bytes[..]))
        } else if is(&[b"deflate"]) {
            deflated(&bytes)
        } else if is(&[b"br"]) {
            let mut decoder = Decompressor::new(&bytes[..], INSPECTED_BYTES_MAX);
            // Its window is then 16 MiB at most (RFC 7932 §9.1).
            decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
            decoded(decoder)
        } else if is(&[b"zstd"]) {
            match StreamingDecoder::new_with_max_window_size(&bytes[..], ZSTD_WINDOW_BYTES_MAX) {
                Ok(decoder) => decoded(decoder),
                Err(_) => Self::Decoded { text: Vec::new(), is_whole: false },
            }
        } else {
            Self::Hidden
        }
    }

    /// What can be seen; empty where nothing can.
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Plain(text) => text,
            Self::Decoded { text, .. } => text,
            Self::Hidden => &[],
        }
    }
}

/// The coding `deflate` is the zlib format (RFC 9110 §8.4.1.2), but some send it without that frame.
fn deflated(bytes: &[u8]) -> Beginning<'static> {
    // RFC 1950 §2.2: compression method 8, and a checksum over the first two bytes.
    let is_framed = bytes.len() < 2
        || (bytes[0] & 15 == 8 && u16::from_be_bytes([bytes[0], bytes[1]]).is_multiple_of(31));
    let mut decoder = Decompress::new(is_framed);
    let mut text = vec![0; INSPECTED_BYTES_MAX];
    let status = decoder.decompress(bytes, &mut text, FlushDecompress::None);
    text.truncate(usize::try_from(decoder.total_out()).unwrap_or_default());
    Beginning::Decoded { text, is_whole: matches!(status, Ok(Status::StreamEnd)) }
}

fn decoded(mut decoder: impl Read) -> Beginning<'static> {
    let mut text = vec![0; INSPECTED_BYTES_MAX];
    let mut length = 0;
    let mut is_whole = false;
    while length < text.len() {
        match decoder.read(&mut text[length..]) {
            Ok(0) => {
                is_whole = true;
                break;
            }
            Ok(read) => length += read,
            // Cut off, or damaged: what there is counts.
            Err(_) => break,
        }
    }
    text.truncate(length);
    Beginning::Decoded { text, is_whole }
}

#[cfg(test)]
mod tests;
