//! The header lines of a message, as they came.
//!
//! A message is looked through a few times and written once. A map of its headers would be built for that, each name
//! and value on its own, and taken apart again.

use std::fmt;
use std::ops::Range;

use bytes::BytesMut;
use hyper::http::header::{HeaderMap, HeaderName, HeaderValue};

const LINE_END: &[u8] = b"\r\n";

/// Where in some bytes the name and the value of a header line are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    name: Range<u32>,
    value: Range<u32>,
}

impl Line {
    /// A line whose name is a token and whose value a text without white space around it (RFC 9110 §5.1, §5.5),
    /// within the first 4 GiB.
    pub fn new(name: Range<usize>, value: Range<usize>) -> Self {
        let narrow = |range: Range<usize>| range.start as u32..range.end as u32;
        Self { name: narrow(name), value: narrow(value) }
    }

    fn name(&self) -> Range<usize> {
        self.name.start as usize..self.name.end as usize
    }

    fn value(&self) -> Range<usize> {
        self.value.start as usize..self.value.end as usize
    }
}

/// Each byte in lower case: for names, which are short, a look at a table is the fastest way.
static LOWER_CASE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).to_ascii_lowercase();
        byte += 1;
    }
    table
};

fn lower(name: &mut [u8]) {
    name.iter_mut().for_each(|byte| *byte = LOWER_CASE[usize::from(*byte)]);
}

/// Header lines in their order. Names are in lower case.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: BytesMut,
    lines: Vec<Line>,
}

/// One header line.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// In lower case.
    pub name: &'a [u8],
    /// Without white space around it.
    pub value: &'a [u8],
    /// From the one to what may be the line's end.
    written: &'a [u8],
}

impl<'a> Field<'a> {
    /// Adds the line with its end: in one piece where it is written as we would write it, as most are.
    /// Inlined: each line of each message goes by here.
    #[inline(always)]
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        match self.as_written() {
            Some(line) => bytes.extend_from_slice(line),
            None => write_line(bytes, self.name, self.value),
        }
    }

    /// The whole line with its end, where it is written with a colon and a space between the two.
    fn as_written(&self) -> Option<&'a [u8]> {
        let (name_end, length) = (self.name.len(), self.name.len() + self.value.len() + b": \r\n".len());
        let is_usual = self.written.len() == length
            && self.written[name_end..].starts_with(b": ")
            && self.written.ends_with(LINE_END);
        is_usual.then_some(self.written)
    }

    /// For a map; none where it can't be in one.
    pub fn to_entry(self) -> Option<(HeaderName, HeaderValue)> {
        HeaderName::from_bytes(self.name).ok().zip(HeaderValue::from_bytes(self.value).ok())
    }
}

/// A value as text, where it is ASCII.
fn text_of(value: &[u8]) -> Option<&str> {
    value.is_ascii().then(|| std::str::from_utf8(value).ok())?
}

impl Fields {
    /// The lines that were found in these bytes, one behind the other.
    pub fn of(mut bytes: BytesMut, lines: Vec<Line>) -> Self {
        for line in &lines {
            lower(bytes.get_mut(line.name()).unwrap_or_default());
        }
        Self { bytes, lines }
    }

    /// None, with room for so many that take so many bytes, written as [`Self::bytes_max`] has it.
    pub fn with_room(lines: usize, bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// Those of a map.
    pub fn of_map(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.push(name.as_str(), value.as_bytes());
        }
        fields
    }

    /// Adds a line behind the others. The name is a token, and the value without control characters.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value, start) = (name.as_ref(), value.as_ref(), self.bytes.len());
        for piece in [name, b": ", value, LINE_END] {
            self.bytes.extend_from_slice(piece);
        }
        let (name_end, end) = (start + name.len(), self.bytes.len() - LINE_END.len());
        lower(&mut self.bytes[start..name_end]);
        self.lines.push(Line::new(start..name_end, end - value.len()..end));
    }

    /// Takes out the lines of this name.
    pub fn remove(&mut self, name: &str) {
        let bytes = &self.bytes;
        self.lines.retain(|line| bytes[line.name()] != *name.as_bytes());
    }

    /// Has one line of this name, with this value.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.push(name, value);
    }

    /// A map of them. What can't be in one is left out.
    pub fn to_map(&self) -> HeaderMap {
        self.iter().filter_map(Field::to_entry).collect()
    }

    /// No fewer bytes than they take, written with a colon, a space and a line's end each.
    pub fn bytes_max(&self) -> usize {
        self.bytes.len() + self.lines.len() * b": \r\n".len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| {
            let (name, value) = (line.name(), line.value());
            Field {
                written: &self.bytes[name.start..self.bytes.len().min(value.end + LINE_END.len())],
                name: &self.bytes[name],
                value: &self.bytes[value],
            }
        })
    }

    /// The values of the lines with this name, which is in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        // By their lengths first: few are as long.
        let as_long = self.lines.iter().filter(|line| line.name().len() == name.len());
        let named = as_long.filter(|line| self.bytes[line.name()] == *name.as_bytes());
        named.map(|line| &self.bytes[line.value()])
    }

    /// The first of them.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The first of them as text, where it is ASCII.
    pub fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        text_of(self.first(name)?)
    }

    /// Whether there is one.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

/// Adds a header line with its end.
#[inline]
pub fn write_line(bytes: &mut Vec<u8>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    bytes.extend_from_slice(name.as_ref());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value.as_ref());
    bytes.extend_from_slice(LINE_END);
}

/// The names alone: a value may be a key.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|field| String::from_utf8_lossy(field.name))).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        pairs.into_iter().for_each(|(name, value)| fields.push(name, value));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &Fields) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        fields.iter().map(|field| (text(field.name), text(field.value))).collect()
    }

    #[test]
    fn lines_are_as_they_came_but_for_the_case_of_their_names() {
        let text = "GET\r\nX-A: b\r\nY:\tc \r\nEmpty:\r\n";
        let lines = vec![Line::new(5..8, 10..11), Line::new(13..14, 16..17), Line::new(20..25, 26..26)];
        let fields = Fields::of(BytesMut::from(text), lines);
        assert_eq!(pairs(&fields), [("x-a", "b"), ("y", "c"), ("empty", "")]);
        let written: Vec<_> = fields.iter().map(|field| field.as_written()).collect();
        assert_eq!(written, [Some(&b"x-a: b\r\n"[..]), None, None]);
    }

    #[test]
    fn lines_are_found_by_name_added_and_taken_out() {
        let mut fields = Fields::from_iter([("a", "1"), ("B", "2"), ("a", "3")]);
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!((fields.first("a"), fields.first("c")), (Some(&b"1"[..]), None));
        assert!(fields.has("b") && !fields.has("c"));
        fields.set("a", "4");
        assert_eq!(pairs(&fields), [("b", "2"), ("a", "4")]);
        fields.remove("b");
        fields.push("C", "5");
        assert_eq!(pairs(&fields), [("a", "4"), ("c", "5")]);
        assert!(fields.bytes_max() >= "a: 4\r\nc: 5\r\n".len());
        assert_eq!(fields.iter().next().unwrap().as_written(), Some(&b"a: 4\r\n"[..]));
        let odd = Fields::from_iter([("a", "\u{fc}"), ("b", " x")]);
        assert_eq!((odd.text("a"), odd.text("b")), (None, Some(" x")));
    }

    #[test]
    fn what_is_shown_of_them_for_a_log_is_no_value() {
        let fields = Fields::from_iter([("X-Api-Key", "sk-secret"), ("a", "1")]);
        assert_eq!(format!("{fields:?}"), r#"["x-api-key", "a"]"#);
    }

    #[test]
    fn a_map_and_its_lines_are_the_same() {
        let fields = Fields::from_iter([("a", "1"), ("b", "\u{fc}"), ("a", "3")]);
        let map = fields.to_map();
        assert_eq!(map.len(), 3);
        assert_eq!(pairs(&Fields::of_map(&map)), [("a", "1"), ("a", "3"), ("b", "\u{fc}")]);
    }
}
