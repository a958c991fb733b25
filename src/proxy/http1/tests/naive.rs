//! The reader of heads that looks at a line as often as it has questions about it.

use bytes::BytesMut;
use hyper::Uri;
use memchr::memchr;
use proptest::prelude::*;

use super::super::head::FIELDS_MAX;
use super::super::{Framing, HEAD_BYTES_MAX, Head, Refusal};
use super::agreed::{self, piece};
use crate::chunked::ChunkedBody;
use crate::proxy::head::RequestHead;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

#[derive(Default)]
struct Naive {
    scanned: usize,
    line_start: usize,
    version: Option<Version>,
    framing: Option<Framing>,
    has_host: bool,
    fields: usize,
}

impl Naive {
    /// Reads on in a head of which all bytes so far are given; at its end, its length and framing.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, Refusal> {
        loop {
            let fresh = &bytes[self.scanned..];
            let line_end = memchr(b'\n', fresh);
            let seen = &fresh[..line_end.unwrap_or(fresh.len())];
            // Seen before the line is whole: a TLS greeting needs no line end to be refused.
            if seen.iter().any(|&byte| is_control(byte) && byte != b'\r') {
                return Err(Refusal::Control);
            }
            self.scanned += seen.len() + usize::from(line_end.is_some());
            if self.scanned > HEAD_BYTES_MAX {
                return Err(Refusal::TooLong);
            }
            if line_end.is_none() {
                return Ok(None);
            }
            let line = bytes[self.line_start..self.scanned].strip_suffix(b"\r\n").ok_or(Refusal::LineEnd)?;
            if memchr(b'\r', line).is_some() {
                return Err(Refusal::LineEnd);
            }
            self.line_start = self.scanned;
            match (line, self.version) {
                // RFC 9112 §2.2: empty lines before a request are passed over.
                ([], None) => {}
                ([], Some(_)) => return Ok(Some((self.scanned, self.framing.unwrap_or_default()))),
                (line, None) => self.version = Some(read_request_line(line)?),
                (line, Some(version)) => self.read_field(line, version)?,
            }
        }
    }

    fn read_field(&mut self, line: &[u8], version: Version) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Refusal::TooManyFields);
        }
        if line[0] == b' ' || line[0] == b'\t' {
            return Err(Refusal::Folded);
        }
        let colon = memchr(b':', line).ok_or(Refusal::Name)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(Refusal::Name);
        }
        if name.eq_ignore_ascii_case(b"host") {
            if self.has_host {
                return Err(Refusal::Hosts);
            }
            self.has_host = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.framing = match self.framing {
                None => Some(Framing::Length(read_length(value)?)),
                Some(Framing::Length(_)) => return Err(Refusal::Length),
                Some(Framing::Chunked(_)) => return Err(Refusal::BothFramings),
            };
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.framing = match self.framing {
                None if version == Version::Http11 && value.eq_ignore_ascii_case(b"chunked") => {
                    Some(Framing::Chunked(ChunkedBody::default()))
                }
                None | Some(Framing::Chunked(_)) => return Err(Refusal::Coding),
                Some(Framing::Length(_)) => return Err(Refusal::BothFramings),
            };
        }
        Ok(())
    }
}

fn read_request_line(line: &[u8]) -> Result<Version, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::RequestLine);
    }
    if memchr(b'#', target).is_some() {
        return Err(Refusal::Fragment);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Refusal::RequestLine),
    }
}

/// Digits and nothing else: no sign, no list, no more than fits a signed count.
fn read_length(value: &[u8]) -> Result<u64, Refusal> {
    let push = |length: u64, &digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    let length = if value.is_empty() { None } else { value.iter().try_fold(0, push) };
    length.filter(|&length| length <= i64::MAX.cast_unsigned()).ok_or(Refusal::Length)
}

/// RFC 9110 §5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Heads that are well formed but for a few bytes.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "[a-zA-Z!~-]{1,20}: ?[ -~\t\u{80}-\u{ff}]{0,40}\r\n",
        1 => "(host|Content-Length|transfer-encoding): ?(chunked|h|0|5|7x)? ?\r\n",
        1 => "(Connection|expect): ?(close|Keep-alive|x|100-continue|,| ){0,3}\r\n",
        1 => "[ -~\t]{0,12}\r\n",
    ];
    let odd = prop_oneof![3 => Just(&b""[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\0"[..]), 1 => Just(&b"\x7f"[..]), 1 => Just(&b"#"[..]), 1 => Just(&b" "[..]), 1 => Just(&b":"[..])];
    let first = "(\r\n)?(GET|P~T) [/*][!-~]{0,20} HTTP/1\\.[01]\r\n";
    (first, proptest::collection::vec(line, 0..8), odd, any::<prop::sample::Index>()).prop_map(
        |(first, lines, odd, at)| {
            let mut bytes = [first, lines.concat(), "\r\nbody".to_owned()].concat().into_bytes();
            let at = at.index(bytes.len());
            bytes.splice(at..at, odd.iter().copied());
            bytes
        },
    )
}

fn assert_read_alike(bytes: &[u8], step: usize) {
    let (mut head, mut naive) = (Head::default(), Naive::default());
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        let (read, expected) = (head.read(&bytes[..end]), naive.read(&bytes[..end]));
        assert_eq!(read, expected, "{} of {:?}", end, String::from_utf8_lossy(bytes));
        if let Ok(Some((length, _))) = read {
            let (is_kept, is_body_held_back) = (head.is_kept(), head.is_body_held_back());
            let request = head.into_request(BytesMut::from(&bytes[..length]));
            if let Ok(RequestHead { version, fields, .. }) = &request {
                assert_eq!(is_kept, agreed::is_kept(*version, fields.all("connection")));
                assert_eq!(is_body_held_back, fields.has("expect") && *version == hyper::Version::HTTP_11);
            }
            assert_parts(request, &bytes[..length]);
            break;
        } else if read.is_err() {
            break;
        }
    }
}

/// A request has what splitting its lines gives.
#[track_caller]
fn assert_parts(request: Result<RequestHead, Refusal>, head: &[u8]) {
    let text_of = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
    let text = text_of(head);
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let [method, target, version] = lines.next().unwrap().split(' ').collect::<Vec<_>>()[..] else {
        panic!("{text:?}");
    };
    let request = match request {
        Ok(request) => request,
        Err(refusal) => {
            assert!(refusal == Refusal::Target && target.parse::<Uri>().is_err(), "{refusal:?}: {text:?}");
            return;
        }
    };
    assert_eq!(request.method, method);
    // Behind an authority an empty path is shown as the root.
    let shown =
        if target.contains("://") { target.parse::<Uri>().unwrap().to_string() } else { target.to_owned() };
    assert_eq!(request.uri.to_string(), shown);
    assert_eq!(format!("{:?}", request.version), version);
    let fields: Vec<_> =
        request.fields.iter().map(|field| (text_of(field.name), text_of(field.value))).collect();
    let expected = lines.map(|line| line.split_once(':').unwrap());
    let expected: Vec<_> = expected
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        .collect();
    assert_eq!(fields, expected, "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]
    #[test]
    fn heads_are_read_as_the_naive_reader_reads_them(head in head(), step in 1..80usize) {
        assert_read_alike(&head, step);
    }

    #[test]
    fn bytes_are_read_as_the_naive_reader_reads_them(
        pieces in proptest::collection::vec(piece(), 1..8),
        step in 1..80usize,
    ) {
        assert_read_alike(&pieces.concat(), step);
    }
}

#[test]
fn heads_at_the_limits_are_read_as_the_naive_reader_reads_them() {
    for fields in FIELDS_MAX - 1..=FIELDS_MAX + 1 {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(fields));
        assert_read_alike(head.as_bytes(), 1000);
    }
    let around = "GET / HTTP/1.1\r\nx: \r\n\r\n".len();
    for length in HEAD_BYTES_MAX - 6..=HEAD_BYTES_MAX + 6 {
        let long = "y".repeat(length - around);
        for end in ["\r\n\r\n", "\0\r\n\r\n", "\n\n"] {
            assert_read_alike(format!("GET / HTTP/1.1\r\nx: {long}{end}").as_bytes(), 30_000);
        }
    }
}
