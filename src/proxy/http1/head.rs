//! One request head, line by line as it comes (RFC 9112 §2–§6).
//!
//! One reader finds where it ends and what it says, so that no two can differ about either.

use std::ops::Range;

use bytes::BytesMut;
use hyper::{Method, Uri, Version};
use memchr::memchr;

use super::super::head::RequestHead;
use super::body::Framing;
use super::refusal::Refusal;
use super::text::text_length;
use crate::chunked::ChunkedBody;
use crate::fields::{Fields, Line};
use crate::text::{TCHARS, content_length};
use crate::upstream::TARGET_BYTES_MAX;

/// The most bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most header lines of a request: as many as hyper reads.
pub const FIELDS_MAX: usize = 100;
/// Room for the header lines of most requests: Claude Code sends 22.
const FIELDS_USUAL: usize = 24;

/// What the lines so far have said.
#[derive(Debug, Default)]
pub struct Head {
    /// Bytes looked at. A CR is, once it is seen what follows it.
    scanned: usize,
    /// Where the line that is not complete begins.
    line_start: usize,
    /// Whether a CR or an LF stands in it alone.
    is_broken: bool,
    line: Option<RequestLine>,
    framing: Option<Framing>,
    has_host: bool,
    closes: bool,
    keeps: bool,
    expects: bool,
    fields: Vec<Line>,
}

/// Where in the head the parts of the request line are.
#[derive(Clone, Debug)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
}

impl Head {
    /// Reads on in a head of which all bytes so far are given; at its end, its length and framing.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, Refusal> {
        while let Some(line) = self.next_line(bytes)? {
            match (&bytes[line.clone()], self.line.as_ref().map(|line| line.version)) {
                // RFC 9112 §2.2: empty lines before a request are passed over.
                ([], None) => {}
                ([], Some(_)) => return Ok(Some((self.scanned, self.framing.unwrap_or_default()))),
                (text, None) => self.line = Some(read_request_line(text, line.start)?),
                (text, Some(version)) => self.read_field(text, line.start, version)?,
            }
        }
        Ok(None)
    }

    /// Whether any of these bytes, all so far, is its own: the empty lines before it are not.
    pub fn has_begun(&self, bytes: &[u8]) -> bool {
        self.line.is_some() || self.line_start < bytes.len()
    }

    /// Its version; HTTP/1.1 as long as that is not known.
    pub fn version(&self) -> Version {
        self.line.as_ref().map_or(Version::HTTP_11, |line| line.version)
    }

    /// Whether the connection may carry another request, as far as its client says (RFC 9112 §9.3).
    pub fn is_kept(&self) -> bool {
        !self.closes && (self.keeps || self.version() == Version::HTTP_11)
    }

    /// Whether the answer is to have no body (RFC 9110 §9.3.2).
    pub fn asks_for_head(&self, bytes: &[u8]) -> bool {
        let method = self.line.as_ref().and_then(|line| bytes.get(line.method.clone()));
        method == Some(b"HEAD")
    }

    /// Whether the body may be held back until it is asked for (RFC 9110 §10.1.1: HTTP/1.0 knows no expectations).
    pub fn is_body_held_back(&self) -> bool {
        self.expects && self.version() == Version::HTTP_11
    }

    /// What the head says that was read whole, of which these are the bytes. It shares them.
    ///
    /// # Errors
    /// When its target is none.
    pub fn into_request(self, bytes: BytesMut) -> Result<RequestHead, Refusal> {
        // As long as no line was read there is no whole head.
        let RequestLine { method, target, version } = self.line.ok_or(Refusal::RequestLine)?;
        let is_long = target.len() > TARGET_BYTES_MAX;
        let no_target = |_| if is_long { Refusal::LongTarget } else { Refusal::Target };
        let method = Method::from_bytes(&bytes[method]).map_err(|_| Refusal::RequestLine)?;
        let uri = Uri::try_from(&bytes[target]).map_err(no_target)?;
        let fields = Fields::of(bytes, self.fields);
        Ok(RequestHead { method, uri, version, fields })
    }

    /// Where the next line is, without its end; none before it is whole.
    fn next_line(&mut self, bytes: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
        let end = loop {
            self.scanned += text_length(&bytes[self.scanned..]);
            let end = self.scanned;
            match bytes[end..] {
                [] | [b'\r'] if bytes.len() > HEAD_BYTES_MAX => return Err(Refusal::TooLong),
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => {
                    self.scanned += 2;
                    break end;
                }
                [b'\n', ..] => {
                    self.scanned += 1;
                    self.is_broken = true;
                    break end;
                }
                [b'\r', ..] => {
                    self.scanned += 1;
                    self.is_broken = true;
                }
                // Seen before the line is whole: a TLS greeting needs no line end to be refused.
                [_, ..] => return Err(Refusal::Control),
            }
        };
        if self.scanned > HEAD_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        if self.is_broken {
            return Err(Refusal::LineEnd);
        }
        let line = self.line_start..end;
        self.line_start = self.scanned;
        Ok(Some(line))
    }

    fn read_field(&mut self, line: &[u8], start: usize, version: Version) -> Result<(), Refusal> {
        if self.fields.len() >= FIELDS_MAX {
            return Err(Refusal::TooManyFields);
        }
        let Some(colon) = memchr(b':', line).filter(|&colon| colon > 0 && TCHARS.has_all(&line[..colon]))
        else {
            return Err(if matches!(line[0], b' ' | b'\t') { Refusal::Folded } else { Refusal::Name });
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii_start());
        let value_start = start + line.len() - value.len();
        let value = value.trim_ascii_end();
        if self.fields.is_empty() {
            self.fields.reserve(FIELDS_USUAL);
        }
        self.fields.push(Line::new(start..start + colon, value_start..value_start + value.len()));
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.has_host {
                    return Err(Refusal::Hosts);
                }
                self.has_host = true;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.expects = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.framing = match self.framing {
                    None => Some(Framing::Length(content_length(value).ok_or(Refusal::Length)?)),
                    Some(Framing::Length(_)) => return Err(Refusal::Length),
                    Some(Framing::Chunked(_)) => return Err(Refusal::BothFramings),
                };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.framing = match self.framing {
                    None if version == Version::HTTP_11 && value.eq_ignore_ascii_case(b"chunked") => {
                        Some(Framing::Chunked(ChunkedBody::default()))
                    }
                    None | Some(Framing::Chunked(_)) => return Err(Refusal::Coding),
                    Some(Framing::Length(_)) => return Err(Refusal::BothFramings),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

fn read_request_line(line: &[u8], start: usize) -> Result<RequestLine, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    if method.is_empty()
        || !TCHARS.has_all(method)
        || target.is_empty()
        || !target.iter().all(u8::is_ascii_graphic)
    {
        return Err(Refusal::RequestLine);
    }
    if target.contains(&b'#') {
        return Err(Refusal::Fragment);
    }
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(Refusal::RequestLine),
    };
    let target_start = start + method.len() + b" ".len();
    Ok(RequestLine {
        method: start..start + method.len(),
        target: target_start..target_start + target.len(),
        version,
    })
}
