//! The head of an answer, and how its body is delimited (RFC 9112 §4–§6, §9.3).

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use httparse::ParserConfig;
use hyper::{Method, StatusCode};

use super::super::age;
use super::super::head::{is_passed_down, named_by};
use super::body::Framing;
use crate::chunked::ChunkedBody;
use crate::fields::Fields;
use crate::text::content_length;

/// The most header lines of an answer.
const FIELDS_MAX: usize = 100;

/// Room for the header lines that are added on the way to the client: the endpoint's name, the number of attempts.
const OWN_FIELDS: usize = 2;
/// The bytes that they take.
const OWN_FIELDS_BYTES: usize = 96;

/// The head of an answer that is not informational.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub status: StatusCode,
    /// Those header lines that are for the client.
    pub fields: Fields,
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

/// Reads the head of the answer to a request of this method. What httparse takes for a name is a token, and for a value a
/// text without control characters (RFC 9110 §5.1, §5.5).
///
/// # Errors
/// When it is none, or does not say clearly where its body ends.
pub(super) fn read(bytes: &[u8], method: &Method) -> io::Result<Read> {
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
    let mut fields = Fields::with_room(head.headers.len() + OWN_FIELDS, length + OWN_FIELDS_BYTES);
    let mut said = Said::default();
    for field in head.headers.iter() {
        let (name, value) = (field.name.as_bytes(), field.value.trim_ascii());
        said.note(name, value);
        if is_passed_down(name) {
            fields.push(name, value);
        }
    }
    for name in &said.named {
        fields.remove(name);
    }
    let is_http11 = head.version == Some(1);
    let framing = match status {
        _ if *method == Method::HEAD => Framing::Length(0),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::Length(0),
        _ => said.framing(is_http11)?,
    };
    let idle_max = match said.is_clear() && framing != Framing::UntilClose && said.stays_open(is_http11) {
        true => said.idle_max.unwrap_or(age::IDLE_MAX),
        false => Duration::ZERO,
    };
    if !said.is_clear() {
        settle_length(&mut fields, &framing);
    }
    Ok(Read::Final(length, Box::new(AnswerHead { status, fields, framing, idle_max })))
}

/// What the headers say of the body's end and of the connection.
#[derive(Default)]
struct Said {
    /// The numbers in `Content-Length`, if they are numbers and all the same.
    length: Option<u64>,
    lengths: usize,
    is_no_length: bool,
    coding: Option<Coding>,
    closes: bool,
    keeps: bool,
    /// What `Connection` names beside that.
    named: Vec<String>,
    idle_max: Option<Duration>,
}

/// The last of the transfer codings.
#[derive(Clone, Copy)]
enum Coding {
    Chunked,
    /// It does not tell where it ends.
    Other,
}

impl Said {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        let parts = || value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if name.eq_ignore_ascii_case(b"content-length") {
            for length in parts().map(content_length) {
                self.is_no_length |= length.is_none() || (self.lengths > 0 && self.length != length);
                self.length = length;
                self.lengths += 1;
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_chunked = parts().next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            self.coding = Some(if is_chunked { Coding::Chunked } else { Coding::Other });
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.closes |= parts().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keeps |= parts().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
            self.named.extend(named_by(value));
        } else if name.eq_ignore_ascii_case(b"keep-alive") {
            self.idle_max = self.idle_max.or(age::idle_allowed(value));
        }
    }

    /// RFC 9112 §6.3.
    fn framing(&self, is_http11: bool) -> io::Result<Framing> {
        match (self.coding, self.length) {
            (Some(_), _) if !is_http11 => {
                Err(malformed("it has a Transfer-Encoding, which HTTP/1.0 does not know"))
            }
            (Some(Coding::Chunked), _) => Ok(Framing::Chunked(ChunkedBody::default())),
            (Some(Coding::Other), _) => Ok(Framing::UntilClose),
            (None, _) if self.is_no_length => Err(malformed("its Content-Length is not one number")),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) => Ok(Framing::UntilClose),
        }
    }

    /// Whether the length is said once at most. Who says it in two ways is not trusted with another request on the
    /// connection (RFC 9112 §6.3).
    fn is_clear(&self) -> bool {
        self.lengths == 0 || (self.lengths == 1 && self.coding.is_none())
    }

    fn stays_open(&self, is_http11: bool) -> bool {
        !self.closes && (is_http11 || self.keeps)
    }
}

/// Leaves the one length in the head that the body is read by, so that nobody after us reads it by another one.
fn settle_length(fields: &mut Fields, framing: &Framing) {
    match *framing {
        Framing::Length(length) if length > 0 => {
            fields.set("content-length", itoa::Buffer::new().format(length));
        }
        // Where there is no body, as after HEAD, the length may be that of another one.
        Framing::Length(_) | Framing::Chunked(_) | Framing::UntilClose => fields.remove("content-length"),
    }
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is malformed: {}", what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_chunk() -> Framing {
        Framing::Chunked(ChunkedBody::default())
    }

    fn answer(method: Method, head: &str) -> Result<Box<AnswerHead>, String> {
        match read(head.as_bytes(), &method) {
            Ok(Read::Final(length, answer)) if length == head.len() => Ok(answer),
            other => Err(format!("{other:?}")),
        }
    }

    fn framed(lines: &str) -> Option<(Framing, bool)> {
        let head = answer(Method::POST, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).ok()?;
        Some((head.framing, !head.idle_max.is_zero()))
    }

    #[test]
    fn a_body_ends_in_one_way() {
        let length = |length| Some((Framing::Length(length), true));
        assert_eq!(framed("content-length: 5\r\n"), length(5));
        assert_eq!(framed("Content-Length:0\r\n"), length(0));
        assert_eq!(framed("transfer-encoding: chunked\r\n"), Some((no_chunk(), true)));
        assert_eq!(framed("transfer-encoding: gzip, Chunked \r\n"), Some((no_chunk(), true)));
        assert_eq!(
            framed("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
            Some((no_chunk(), true))
        );
        assert_eq!(framed("transfer-encoding: chunked, gzip\r\n"), Some((Framing::UntilClose, false)));
        assert_eq!(framed(""), Some((Framing::UntilClose, false)));
        for value in ["", "-1", "+1", "1 1", "0x1", "1, 2", "18446744073709551615", "9223372036854775808"] {
            assert_eq!(framed(&format!("content-length: {value}\r\n")), None, "{value:?}");
        }
        assert_eq!(framed("content-length: 5\r\ncontent-length: 6\r\n"), None);
    }

    #[test]
    fn what_says_its_length_in_two_ways_is_read_by_one_and_its_connection_is_not_used_again() {
        for (lines, framing, said) in [
            ("content-length: 5\r\ncontent-length: 5\r\n", Framing::Length(5), Some("5")),
            ("content-length: 5, 5\r\n", Framing::Length(5), Some("5")),
            ("content-length: 5\r\ntransfer-encoding: chunked\r\n", no_chunk(), None),
        ] {
            let head = answer(Method::POST, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap();
            let length = head.fields.text("content-length");
            assert_eq!((head.framing, length, head.idle_max), (framing, said, Duration::ZERO), "{lines}");
        }
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let lines = "content-length: 5\r\n\r\n";
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
            let head = answer(method, &format!("HTTP/1.1 {status} x\r\n{lines}")).unwrap();
            assert_eq!((head.framing, head.fields.text("content-length")), (Framing::Length(0), Some("5")));
        }
    }

    #[test]
    fn a_connection_stays_open_unless_it_is_said_or_the_version_is_old() {
        for (version, connection, stays) in [
            ("1.1", "x: y", true),
            ("1.1", "connection: Close", false),
            ("1.1", "connection: keep-alive, close", false),
            ("1.1", "connection: close\r\nconnection: keep-alive", false),
            ("1.0", "x: y", false),
            ("1.0", "connection: Keep-Alive", true),
        ] {
            let head = format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{connection}\r\n\r\n");
            assert_eq!(
                !answer(Method::GET, &head).unwrap().idle_max.is_zero(),
                stays,
                "{version} {connection}"
            );
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkeep-alive: timeout=5\r\n\r\n";
        assert_eq!(answer(Method::GET, head).unwrap().idle_max, Duration::from_secs(4));
    }

    #[test]
    fn a_head_is_read_once_it_is_whole_and_not_before() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\n";
        for cut in 0..head.len() {
            let read = read(&head.as_bytes()[..cut], &Method::POST);
            assert!(matches!(read, Ok(Read::Partial)), "{cut}: {read:?}");
        }
        let informational = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        let both = [informational, head].concat();
        let Ok(Read::Informational(length)) = read(both.as_bytes(), &Method::POST) else { panic!() };
        assert_eq!(length, informational.len());
        assert_eq!(answer(Method::POST, head).unwrap().fields.text("x-a"), Some("b"));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for start in ["HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/2.0 200 OK", "ICY 200 OK", "\0", "{"] {
            assert!(
                answer(Method::GET, &format!("{start}\r\ncontent-length: 0\r\n\r\n")).is_err(),
                "{start}"
            );
        }
        for line in ["x: a\x01b", "x: a\0", "x: \x7f", "x\0: a", "x y: a", ": a", "x(y): a", "x: a\rb"] {
            assert!(answer(Method::GET, &format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n")).is_err(), "{line:?}");
        }
        assert!(answer(Method::GET, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(answer(Method::GET, &format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101))).is_err());
    }
}
