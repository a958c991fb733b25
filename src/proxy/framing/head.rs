//! One request head, line by line as it comes (RFC 9112 §2–§6).

use super::text::{TCHARS, text_length};
use super::{FIELDS_MAX, HEAD_BYTES_MAX, Refusal};
use crate::text::content_length;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What the lines so far have said.
#[derive(Debug, Default)]
pub struct Head {
    /// Bytes looked at. A CR is, once it is seen what follows it.
    scanned: usize,
    /// Where the line that is not complete begins.
    line_start: usize,
    /// Whether a CR or an LF stands in it alone.
    is_broken: bool,
    version: Option<Version>,
    framing: Option<Framing>,
    has_host: bool,
    fields: usize,
}

impl Head {
    /// Reads on in a head of which all bytes so far are given; at its end, its length and framing.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, Refusal> {
        while let Some(line) = self.next_line(bytes)? {
            match (line, self.version) {
                // RFC 9112 §2.2: empty lines before a request are passed over.
                ([], None) => {}
                ([], Some(_)) => return Ok(Some((self.scanned, self.framing.unwrap_or(Framing::Length(0))))),
                (line, None) => self.version = Some(read_request_line(line)?),
                (line, Some(version)) => self.read_field(line, version)?,
            }
        }
        Ok(None)
    }

    /// The next line without its end; none before it is whole.
    fn next_line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
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
        let line = &bytes[self.line_start..end];
        self.line_start = self.scanned;
        Ok(Some(line))
    }

    fn read_field(&mut self, line: &[u8], version: Version) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Refusal::TooManyFields);
        }
        let (name, rest) = line.split_at(TCHARS.prefix_length(line));
        let value = match rest {
            [b':', value @ ..] if !name.is_empty() => value,
            [b' ' | b'\t', ..] if name.is_empty() => return Err(Refusal::Folded),
            _ => return Err(Refusal::Name),
        };
        if name.eq_ignore_ascii_case(b"host") {
            if self.has_host {
                return Err(Refusal::Hosts);
            }
            self.has_host = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.framing = match self.framing {
                None => Some(Framing::Length(content_length(value.trim_ascii()).ok_or(Refusal::Length)?)),
                Some(Framing::Length(_)) => return Err(Refusal::Length),
                Some(Framing::Chunked) => return Err(Refusal::BothFramings),
            };
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.framing = match self.framing {
                None if version == Version::Http11 && value.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                    Some(Framing::Chunked)
                }
                None | Some(Framing::Chunked) => return Err(Refusal::Coding),
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
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Refusal::RequestLine),
    }
}
