//! The same splitter with a copy of each line and of each event: what the one that copies what was cut must
//! find.

use memchr::memchr2;

use super::super::late_type::LateType;

#[derive(Debug, Default)]
pub struct Event {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    pub late_type: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Splitter {
    limit_bytes: usize,
    line: Vec<u8>,
    event: Event,
    /// Reads on in data that exceed the limit.
    late_type: Option<LateType>,
    /// Whether it has read the line that is being kept.
    has_read_line: bool,
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
            late_type: None,
            has_read_line: false,
            has_fields: false,
            after_cr: false,
            at_start: true,
        }
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
        let (kept, beyond) = part.split_at(part.len().min(room));
        self.line.extend_from_slice(kept);
        if !beyond.is_empty() {
            self.read_beyond(beyond);
        }
    }

    /// The line of data has become longer than is kept of it.
    fn read_beyond(&mut self, beyond: &[u8]) {
        let (name, value) = field(&self.line);
        if name != b"data" {
            return;
        }
        if !std::mem::replace(&mut self.has_read_line, true) {
            self.late_type.get_or_insert_with(|| LateType::after(&self.event.data)).read(value);
        }
        if let Some(late_type) = &mut self.late_type {
            late_type.read(beyond);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&Event)) {
        if std::mem::take(&mut self.at_start) && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        if self.line.is_empty() {
            let late_type = self.late_type.take();
            if std::mem::take(&mut self.has_fields) {
                self.event.late_type = late_type.and_then(LateType::found);
                each(&self.event);
            }
            self.event.name.clear();
            self.event.data.clear();
            self.event.late_type = None;
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.take_field(&line);
        self.line = line;
        self.line.clear();
    }

    fn take_field(&mut self, line: &[u8]) {
        let has_read_line = std::mem::take(&mut self.has_read_line);
        match field(line) {
            (b"data", value) => {
                let room = |data: &[u8]| self.limit_bytes.saturating_sub(data.len());
                if !self.event.data.is_empty() && room(&self.event.data) > 0 {
                    self.event.data.push(b'\n');
                }
                let room = room(&self.event.data);
                let kept = value.len().min(room);
                if !has_read_line && (kept < value.len() || self.late_type.is_some()) {
                    self.late_type.get_or_insert_with(|| LateType::after(&self.event.data)).read(value);
                }
                self.event.data.extend_from_slice(&value[..kept]);
                self.has_fields = true;
            }
            (b"event", value) => {
                self.event.name.clear();
                self.event.name.extend_from_slice(value);
                self.has_fields = true;
            }
            _ => {}
        }
    }
}

/// A line's name and value.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default();
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}
