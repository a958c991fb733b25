//! Splitting a byte stream into server-sent events.
//!
//! WHATWG HTML §9.2.6: lines end with LF, CR LF or CR; an event ends with an empty line; `data:` lines
//! of one event are joined with LF; one space after the colon is dropped; a line that begins with a
//! colon is a comment. The bytes are only read here: what is forwarded is what came.

use std::borrow::Cow;

use memchr::memchr2;

use super::late_type::LateType;

/// One event. What came in one piece is not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field, empty where there is none.
    pub name: Cow<'a, [u8]>,
    /// The `data` lines, cut off at the splitter's limit.
    pub data: Cow<'a, [u8]>,
    /// The member `type` of data that were cut off, wherever in them it stands: relays that write the
    /// members of an object in alphabetical order put it last.
    pub late_type: Option<Vec<u8>>,
}

impl Event<'_> {
    fn into_owned(self) -> Event<'static> {
        let (name, data) = (self.name.into_owned(), self.data.into_owned());
        Event { name: Cow::Owned(name), data: Cow::Owned(data), late_type: self.late_type }
    }
}

/// An incremental splitter. Its memory is bounded by the limit, whatever comes; between two events it holds
/// next to none.
#[derive(Debug)]
pub struct Splitter {
    limit_bytes: usize,
    /// The beginning of a line that the bytes so far cut off.
    line: Vec<u8>,
    /// The whole lines of an event that they cut off.
    event: Event<'static>,
    /// Reads on in data that exceed the limit.
    late_type: Option<Box<LateType>>,
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
    pub fn push<'a>(&mut self, mut bytes: &'a [u8], mut each: impl FnMut(&Event<'_>)) {
        let mut event: Event<'a> = std::mem::take(&mut self.event);
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = line_end(bytes) else {
                self.keep(bytes, &event);
                break;
            };
            let part = &bytes[..end];
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.line.is_empty() && end <= self.limit_bytes {
                self.end_line(part, &mut event, Cow::Borrowed, &mut each);
            } else {
                self.keep(part, &event);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut event, |value| Cow::Owned(value.to_vec()), &mut each);
                self.line = emptied(line);
            }
        }
        if self.has_fields {
            self.event = event.into_owned();
        }
    }

    /// The data of the event that the bytes ended within: whole lines of it, and the line cut off.
    pub fn unfinished(mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.line);
        let mut event = std::mem::take(&mut self.event);
        self.take_field(&line, &mut event, |value| Cow::Owned(value.to_vec()));
        event.data.into_owned()
    }

    fn keep(&mut self, part: &[u8], event: &Event<'_>) {
        let room = self.limit_bytes.saturating_sub(self.line.len());
        let (kept, beyond) = part.split_at(part.len().min(room));
        self.line.extend_from_slice(kept);
        if !beyond.is_empty() {
            self.read_beyond(beyond, event);
        }
    }

    /// The line of data has become longer than is kept of it.
    fn read_beyond(&mut self, beyond: &[u8], event: &Event<'_>) {
        let Some(value) = value_of(b"data", &self.line) else { return };
        if !std::mem::replace(&mut self.has_read_line, true) {
            self.late_type.get_or_insert_with(|| Box::new(LateType::after(&event.data))).read(value);
        }
        if let Some(late_type) = &mut self.late_type {
            late_type.read(beyond);
        }
    }

    /// Takes up a whole line, of which `held` makes what the event may hold.
    fn end_line<'l, 'a>(
        &mut self,
        line: &'l [u8],
        event: &mut Event<'a>,
        held: impl Fn(&'l [u8]) -> Cow<'a, [u8]>,
        each: &mut impl FnMut(&Event<'_>),
    ) {
        let mut line = line;
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if !line.is_empty() {
            return self.take_field(line, event, held);
        }
        let late_type = self.late_type.take();
        if std::mem::take(&mut self.has_fields) {
            event.late_type = late_type.and_then(|late_type| late_type.found());
            each(event);
            *event = Event::default();
        }
    }

    fn take_field<'l, 'a>(
        &mut self,
        line: &'l [u8],
        event: &mut Event<'a>,
        held: impl Fn(&'l [u8]) -> Cow<'a, [u8]>,
    ) {
        let has_read_line = std::mem::take(&mut self.has_read_line);
        if let Some(value) = value_of(b"data", line) {
            let room = |data: &[u8]| self.limit_bytes.saturating_sub(data.len());
            if !event.data.is_empty() && room(&event.data) > 0 {
                event.data.to_mut().push(b'\n');
            }
            let kept = value.len().min(room(&event.data));
            if !has_read_line && (kept < value.len() || self.late_type.is_some()) {
                self.late_type.get_or_insert_with(|| Box::new(LateType::after(&event.data))).read(value);
            }
            if event.data.is_empty() {
                event.data = held(&value[..kept]);
            } else {
                event.data.to_mut().extend_from_slice(&value[..kept]);
            }
            self.has_fields = true;
        } else if let Some(value) = value_of(b"event", line) {
            event.name = held(value);
            self.has_fields = true;
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What a stream may hold between its events: thousands are open at once.
const KEPT_BYTES_MAX: usize = 256;

/// Where the line that begins here ends; many are empty.
fn line_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first() {
        Some(b'\n' | b'\r') => Some(0),
        Some(_) | None => memchr2(b'\n', b'\r', bytes),
    }
}

/// The value of a line that is this field; none of another one.
fn value_of<'a>(name: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [_, ..] => None,
    }
}

/// Room for the next line; that of a long one is given back.
fn emptied(mut line: Vec<u8>) -> Vec<u8> {
    line.clear();
    if line.capacity() <= KEPT_BYTES_MAX { line } else { Vec::new() }
}

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
