//! HTTP/2 frame by frame (RFC 9113 §4), for what no library sends. Header fields go out as literals without an
//! index (RFC 7541 §6.2.2); of answers only what a test looks at is read.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header block of these fields, exactly as they are.
pub fn block<T: AsRef<[u8]>>(fields: impl IntoIterator<Item = (T, T)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The head of an answer.
    Status(u16),
    /// The stream was reset, with this error code.
    Reset(u32),
    /// The connection is given up, with this error code.
    GoAway(u32),
    /// The connection ended.
    Closed,
}

/// A connection on which every frame is the test's.
pub struct Frames {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Frames {
    /// With the preface and empty settings sent.
    pub async fn connect(address: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("a connection");
        let mut frames = Self { stream, unread: Vec::new() };
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        frames
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A peer that has given up may have closed; what it said is what counts.
        let _ = within("frames sent", self.stream.write_all(bytes)).await;
    }

    /// One request on stream 1 of a new connection, and what is said to it.
    pub async fn ask(address: &str, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Said {
        let mut frames = Self::connect(address).await;
        let end = if body.is_none() { END_STREAM } else { 0 };
        let head = frame(HEADERS, END_HEADERS | end, 1, &block(fields.iter().copied()));
        let data = body.map(|body| frame(DATA, END_STREAM, 1, body)).unwrap_or_default();
        frames.send(&[head, data].concat()).await;
        frames.said().await
    }

    /// The next frame that answers, or the end.
    pub async fn said(&mut self) -> Said {
        loop {
            let Some((kind, flags, payload)) = self.read_frame().await else { return Said::Closed };
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            match kind {
                HEADERS => return Said::Status(status_of(&payload)),
                RST_STREAM => return Said::Reset(number(0)),
                GOAWAY => return Said::GoAway(number(4)),
                PING if flags == 0 => self.send(&frame(PING, 1, 0, &payload)).await,
                _ => {}
            }
        }
    }

    /// Reads to the end of the connection, which must come, and gives the error code of the last GOAWAY.
    pub async fn end(&mut self) -> Option<u32> {
        let mut last = None;
        while let Some((kind, _, payload)) = self.read_frame().await {
            if kind == GOAWAY {
                last = Some(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
            }
        }
        last
    }

    async fn read_frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        loop {
            if let Some(header) = self.unread.get(..9) {
                let length =
                    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
                let (kind, flags) = (header[3], header[4]);
                if self.unread.len() >= 9 + length {
                    let payload = self.unread[9..9 + length].to_vec();
                    self.unread.drain(..9 + length);
                    return Some((kind, flags, payload));
                }
            }
            let read = within("frames", self.stream.read_buf(&mut self.unread)).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }
}

/// The status, which is the first field of an answer: indexed, or a literal with the indexed name (RFC 7541 §6,
/// Appendix A), in digits or in their Huffman code (Appendix B).
fn status_of(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let (first, rest) = block.split_first().expect("a field");
    if first & 0x80 != 0 {
        return INDEXED[usize::from(first & 0x7f) - 8];
    }
    let (length, rest) = rest.split_first().expect("a value");
    let value = &rest[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).expect("digits").parse().expect("a status");
    }
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut status = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().expect("a code");
        }
        let digit = if code < 3 { code } else { (code << 1 | bits.next().expect("a code")) - 25 + 3 };
        status = status * 10 + digit;
    }
    status
}
