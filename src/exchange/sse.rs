//! Splitting a byte stream into server-sent events.
//!
//! WHATWG HTML §9.2.6: lines end with LF, CR LF or CR; an event ends with an empty line; `data:` lines
//! of one event are joined with LF; one space after the colon is dropped; a line that begins with a
//! colon is a comment. The bytes are only read here: what is forwarded is what came.

use memchr::memchr2;

use super::late_type::LateType;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event` field, empty where there is none.
    pub name: Vec<u8>,
    /// The `data` lines, cut off at the splitter's limit.
    pub data: Vec<u8>,
    /// The member `type` of data that were cut off, wherever in them it stands: relays that write the
    /// members of an object in alphabetical order put it last.
    pub late_type: Option<Vec<u8>>,
}

/// An incremental splitter. Its memory is bounded by the limit, whatever comes.
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

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

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

    #[test]
    fn many_short_lines_of_one_event_take_no_memory() {
        let mut splitter = Splitter::new(16);
        for _ in 0..10_000 {
            splitter.push(b"data:\ndata: x\n", |_| {});
        }
        assert!(splitter.event.data.capacity() <= 64);
    }

    #[test]
    fn the_type_of_an_event_is_found_beyond_what_is_kept_of_it() {
        let types = |parts: &[&[u8]]| {
            let (mut splitter, mut types) = (Splitter::new(16), Vec::new());
            for part in parts {
                splitter.push(part, |event| types.push(event.late_type.clone()));
            }
            types
        };
        let stream = b"data: {\"a\":\"a long text\",\"type\":\"b\"}\n\n\
            data: {\"a\":\ndata: {\"type\":\"x\"},\ndata: \"type\"\ndata: :\"late\"}\n\n\
            data: {\"a\":1}\n\nevent: {\"a\":\"a long text\",\"type\":\"b\"}\n\n";
        let expected = [Some(b"b".to_vec()), Some(b"late".to_vec()), None, None];
        assert_eq!(types(&[stream]), expected);
        for cut in 0..stream.len() {
            assert_eq!(types(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
    }

    /// The same over the whole stream at once, line by line, without a limit.
    fn reference(stream: &str) -> Vec<(String, String)> {
        let stream =
            stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut event) = (Vec::new(), None::<(String, String)>);
        // The last piece is no line: no end came after it.
        let lines: Vec<&str> = stream.split('\n').collect();
        for line in &lines[..lines.len() - 1] {
            if line.is_empty() {
                events.extend(event.take());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => event.get_or_insert_default().0 = value.to_owned(),
                "data" => {
                    let data = &mut event.get_or_insert_default().1;
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                _ => {}
            }
        }
        events
    }

    fn line() -> impl proptest::strategy::Strategy<Value = String> {
        let pieces =
            ["data", "event", "id", ":", " ", "x", "{}", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "é"];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..6)
            .prop_map(|pieces| pieces.concat())
    }

    proptest::proptest! {
        #[test]
        fn events_are_those_that_a_look_at_the_whole_stream_finds(
            lines in proptest::collection::vec(line(), 0..12), chunk in 1usize..9,
        ) {
            let stream = lines.concat();
            let chunks: Vec<&[u8]> = stream.as_bytes().chunks(chunk).collect();
            assert_eq!(split(&chunks), reference(&stream));
        }

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
