//! The head of an answer, and how its body is delimited (RFC 9112 §4–§6).

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::Bytes;
use httparse::ParserConfig;
use hyper::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Method, StatusCode};

use super::super::age;
use super::body::Framing;
use crate::chunked::Chunks;

/// The most header lines of an answer.
const FIELDS_MAX: usize = 100;

/// The head of an answer that is not informational.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// How its body is delimited.
    pub framing: Framing,
    /// How long its connection may lie idle afterwards; zero where it can't be used again.
    pub idle_max: Duration,
}

/// What some bytes begin with.
#[derive(Debug)]
pub(super) enum Read {
    /// No whole head.
    Partial,
    /// An informational answer of this length, after which another one comes (RFC 9110 §15.2).
    Informational(usize),
    /// The answer's head, of this length.
    Final(usize, Box<AnswerHead>),
}

/// Reads the head of the answer to a request of this method. The values share the bytes.
///
/// # Errors
/// When it is none, or does not say clearly where its body ends.
pub(super) fn read(bytes: &Bytes, method: &Method) -> io::Result<Read> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut fields);
    let length = match read.map_err(|error| malformed(error.to_string()))? {
        httparse::Status::Partial => return Ok(Read::Partial),
        httparse::Status::Complete(length) => length,
    };
    let code = head.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| malformed(format!("its status is {code}")))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Read::Informational(length));
    }
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(malformed(format!("its header {:?} is malformed", field.name)));
        };
        headers.append(name, value);
    }
    let is_http11 = head.version == Some(1);
    let framing = framing(status, method, &headers, is_http11)?;
    let lengths = settle_lengths(&mut headers, &framing);
    let keeps =
        lengths == Lengths::Agree && framing != Framing::UntilClose && stays_open(&headers, is_http11);
    let idle_max = if keeps { age::idle_allowed(&headers) } else { Duration::ZERO };
    Ok(Read::Final(length, Box::new(AnswerHead { status, headers, framing, idle_max })))
}

/// RFC 9112 §6.3.
fn framing(status: StatusCode, method: &Method, headers: &HeaderMap, is_http11: bool) -> io::Result<Framing> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || *method == Method::HEAD {
        return Ok(Framing::Length(0));
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if !is_http11 {
            return Err(malformed("it has a Transfer-Encoding, which HTTP/1.0 does not know"));
        }
        return Ok(match is_chunked(last) {
            true => Framing::Chunked { chunks: Chunks::default(), beside_bytes: 0 },
            false => Framing::UntilClose,
        });
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for said in value.as_bytes().split(|&byte| byte == b',') {
            let said = number(said.trim_ascii());
            if said.is_none() || length.is_some_and(|length| Some(length) != said) {
                return Err(malformed("its Content-Length is not one number"));
            }
            length = said;
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// Whether the last of the transfer codings is the one that tells where it ends.
fn is_chunked(last: &HeaderValue) -> bool {
    let coding = last.as_bytes().rsplit(|&byte| byte == b',').next().unwrap_or_default();
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Digits and nothing else, no more than fits a signed count.
fn number(digits: &[u8]) -> Option<u64> {
    let push = |number: u64, &digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let number = if digits.is_empty() { None } else { digits.iter().try_fold(0, push) };
    number.filter(|&number| number <= i64::MAX.cast_unsigned())
}

/// What a head says of its body's length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    Agree,
    /// In two ways, of which the next reader may take the other one.
    Differ,
}

/// Leaves the one length in the head that the body is read by, so that nobody after us reads it by another one. An
/// upstream that says it in two ways is not trusted with another request on the connection (RFC 9112 §6.3).
fn settle_lengths(headers: &mut HeaderMap, framing: &Framing) -> Lengths {
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    let agrees = match (said.next(), said.next()) {
        (None, _) => true,
        (Some(length), None) => {
            !length.as_bytes().contains(&b',') && !headers.contains_key(TRANSFER_ENCODING)
        }
        (Some(_), Some(_)) => false,
    };
    if agrees {
        return Lengths::Agree;
    }
    match *framing {
        Framing::Length(length) if length > 0 => {
            drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length)));
        }
        // Where there is no body, as after HEAD, the length may be that of another one.
        Framing::Length(_) | Framing::Chunked { .. } | Framing::UntilClose => {
            drop(headers.remove(CONTENT_LENGTH))
        }
    }
    Lengths::Differ
}

/// RFC 9112 §9.3.
fn stays_open(headers: &HeaderMap, is_http11: bool) -> bool {
    let says = |option: &str| {
        let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|said| said.trim().eq_ignore_ascii_case(option)))
    };
    !says("close") && (is_http11 || says("keep-alive"))
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is malformed: {}", what.into()))
}
