//! Just enough HTTP/1.1 to see and to send exact bytes. Deliberately not hyper: the program under
//! test is built on it, and a shared mistake would be invisible.

pub type Headers = Vec<(String, String)>;

#[derive(Clone, Debug)]
pub struct Head {
    pub start_line: String,
    /// In the order and the case they came in.
    pub headers: Headers,
    /// As it came, up to the empty line, for values that are no text.
    pub bytes: Vec<u8>,
}

impl Head {
    /// The head at the front of `bytes` and its length, once it is complete.
    pub fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
        let length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..length - 4]).into_owned();
        let mut lines = text.split("\r\n");
        let start_line = lines.next()?.to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Some((Head { start_line, headers, bytes: bytes[..length].to_vec() }, length))
    }

    pub fn status(&self) -> u16 {
        let code = self.start_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.start_line))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The header lines as name, in lower case, and value, in the order they came in.
    pub fn lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.bytes)
    }

    /// How the body that follows is delimited.
    pub fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length") {
            Some(value) => Framing::Length(value.parse().expect("a content-length is a number")),
            None => Framing::None,
        }
    }
}

/// The header lines of a head as it came: names in lower case, values byte for byte.
pub fn header_lines(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = head.split(|&byte| byte == b'\n').skip(1).map(<[u8]>::trim_ascii);
    let named = lines.filter_map(|line| line.iter().position(|&byte| byte == b':').map(|at| (line, at)));
    let field = |(line, at): (&[u8], usize)| {
        let name = String::from_utf8_lossy(&line[..at]).to_ascii_lowercase();
        (name, line[at + 1..].trim_ascii().to_vec())
    };
    named.map(field).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// A request without a body; an answer that ends with its connection.
    None,
}

pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    find_all(headers, name).into_iter().next()
}

pub fn find_all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = headers.iter().filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dechunked {
    pub body: Vec<u8>,
    /// Bytes used up: whole chunks only, and the terminator when it was there.
    pub consumed: usize,
    /// The terminating chunk was seen: a clean end.
    pub complete: bool,
}

/// Decodes what is there of a chunked body. Trailers are taken for part of the terminator.
pub fn dechunk(bytes: &[u8]) -> Dechunked {
    let mut out = Dechunked::default();
    while let Some(line) = line_end(&bytes[out.consumed..]) {
        let start = out.consumed + line + 2;
        let size_text = String::from_utf8_lossy(&bytes[out.consumed..start - 2]).into_owned();
        let size_text = size_text.split(';').next().unwrap_or("").trim();
        let size =
            usize::from_str_radix(size_text, 16).unwrap_or_else(|_| panic!("no chunk size: {size_text:?}"));
        if size == 0 {
            let Some(end) = trailers_end(&bytes[start..]) else { break };
            out.consumed = start + end;
            out.complete = true;
            break;
        }
        if bytes.len() < start + size + 2 {
            break;
        }
        out.body.extend_from_slice(&bytes[start..start + size]);
        out.consumed = start + size + 2;
    }
    out
}

pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|window| window == b"\r\n")
}

fn trailers_end(bytes: &[u8]) -> Option<usize> {
    let mut offset = 0;
    loop {
        let line = line_end(&bytes[offset..])?;
        offset += line + 2;
        if line == 0 {
            return Some(offset);
        }
    }
}
