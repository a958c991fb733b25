//! Splitting a byte stream into server-sent events.
//!
//! WHATWG HTML §9.2.6: lines end with LF, CR LF or CR; an event ends with an empty line; `data:` lines
//! of one event are joined with LF; one space after the colon is dropped; a line that begins with a
//! colon is a comment. The bytes are only read here: what is forwarded is what came.

use memchr::memchr2;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event` field, empty where there is none.
    pub name: Vec<u8>,
    /// The `data` lines, cut off at the splitter's limit.
    pub data: Vec<u8>,
}

/// An incremental splitter. Its memory is bounded by the limit, whatever comes.
#[derive(Debug)]
pub struct Splitter {
    limit_bytes: usize,
    line: Vec<u8>,
    event: Event,
    has_fields: bool,
    after_cr: bool,
    at_start: bool,
}

impl Splitter {
    /// A splitter that keeps up to `limit_bytes` of a line and of an event's data.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            line: Vec::new(),
            event: Event::default(),
            has_fields: false,
            after_cr: false,
            at_start: true,
        }
    }

    /// Lowers or raises the limit for what comes next.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Takes up bytes and hands each event that they complete to `each`.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Event)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.keep(bytes);
                return;
            };
            self.keep(&bytes[..end]);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(&mut each);
        }
    }

    /// The data of the event that the bytes ended within: whole lines of it, and the line cut off.
    pub fn unfinished(mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.line);
        self.take_field(&line);
        self.event.data
    }

    fn keep(&mut self, part: &[u8]) {
        let room = self.limit_bytes.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self, each: &mut impl FnMut(&Event)) {
        if std::mem::take(&mut self.at_start) && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        if self.line.is_empty() {
            if std::mem::take(&mut self.has_fields) {
                each(&self.event);
            }
            self.event.name.clear();
            self.event.data.clear();
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.take_field(&line);
        self.line = line;
        self.line.clear();
    }

    fn take_field(&mut self, line: &[u8]) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push(b'\n');
                }
                let room = self.limit_bytes.saturating_sub(self.event.data.len());
                self.event.data.extend_from_slice(&value[..value.len().min(room)]);
                self.has_fields = true;
            }
            b"event" => {
                self.event.name = value.to_vec();
                self.has_fields = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]]) -> Vec<(String, String)> {
        let mut splitter = Splitter::new(8192);
        let mut events = Vec::new();
        for part in parts {
            splitter.push(part, |event| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                events.push((text(&event.name), text(&event.data)));
            });
        }
        events
    }

    const STREAM: &[u8] =
        b"\xef\xbb\xbf: hello\n\nevent: a\ndata: 1\n\ndata:2\r\ndata: 3\r\n\r\nevent:b\rdata:x\r\rdata: cut";

    #[test]
    fn lines_end_in_any_of_the_three_ways() {
        let expected = [("a", "1"), ("", "2\n3"), ("b", "x")];
        let found = split(&[STREAM]);
        assert_eq!(found, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
    }

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference() {
        let whole = split(&[STREAM]);
        for cut in 0..STREAM.len() {
            assert_eq!(split(&[&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(split(&single), whole);
    }

    #[test]
    fn a_long_line_is_cut_and_takes_no_memory() {
        let mut splitter = Splitter::new(16);
        let mut seen = Vec::new();
        splitter.push(b"data: ", |_| {});
        for _ in 0..1000 {
            splitter.push(&[b'x'; 100], |_| {});
        }
        assert!(splitter.line.capacity() <= 64);
        splitter.push(b"\n\n", |event| seen = event.data.clone());
        assert_eq!(seen, b"xxxxxxxxxx");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_split_alike_however_they_are_cut(
            bytes in proptest::collection::vec(proptest::sample::select(b"ab:\r\n dataevent".to_vec()), 0..80),
            cut in 0usize..80,
        ) {
            let cut = cut.min(bytes.len());
            assert_eq!(split(&[&bytes]), split(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
