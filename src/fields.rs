//! The header lines of a request, as they came.
//!
//! A request is looked through a few times and written once. A map of its headers would be built for that, each name and
//! value on its own, and taken apart again.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use hyper::http::header::{HeaderMap, HeaderName, HeaderValue};

/// Where in some bytes the name and the value of a header line are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    name: Range<u32>,
    value: Range<u32>,
}

impl Line {
    /// A line whose name is a token and whose value a text without white space around it (RFC 9110 §5.1, §5.5), within
    /// the first 4 GiB.
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

/// Header lines in their order. Names are in lower case.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Bytes,
    lines: Vec<Line>,
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// In lower case.
    pub name: &'a [u8],
    /// Without white space around it.
    pub value: &'a [u8],
    /// From the one to the other.
    written: &'a [u8],
}

impl<'a> Field<'a> {
    /// The two with a colon and a space between them, where they are written so.
    pub fn as_written(&self) -> Option<&'a [u8]> {
        let between = self.written.get(self.name.len()..self.written.len() - self.value.len());
        (between == Some(b": ")).then_some(self.written)
    }
}

impl Fields {
    /// The lines that were found in these bytes, one behind the other.
    pub fn of(mut bytes: BytesMut, lines: Vec<Line>) -> Self {
        for line in &lines {
            for byte in bytes.get_mut(line.name()).unwrap_or_default() {
                *byte = LOWER_CASE[usize::from(*byte)];
            }
        }
        Self { bytes: bytes.freeze(), lines }
    }

    /// Those of a map.
    pub fn of_map(headers: &HeaderMap) -> Self {
        let mut fields = FieldsWriter::default();
        for (name, value) in headers {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        fields.finish()
    }

    /// What else is in the bytes that they came in.
    pub fn share(&self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
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
                written: &self.bytes[name.start..value.end],
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

    /// Whether there is one.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The same with one line of this name, and this value.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut fields = FieldsWriter::default();
        for field in self.iter().filter(|field| field.name != name.as_bytes()) {
            fields.push(field.name, field.value);
        }
        fields.push(name.as_bytes(), value.as_bytes());
        fields.finish()
    }

    /// One of them for a map. Its value shares the bytes. None where it can't be in one.
    pub fn to_entry(&self, field: Field<'_>) -> Option<(HeaderName, HeaderValue)> {
        let value = HeaderValue::from_maybe_shared(self.bytes.slice_ref(field.value));
        HeaderName::from_bytes(field.name).ok().zip(value.ok())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut fields = FieldsWriter::default();
        for (name, value) in pairs {
            fields.push(name.to_ascii_lowercase().as_bytes(), value.as_bytes());
        }
        fields.finish()
    }
}

/// Lines that are put together.
#[derive(Default)]
struct FieldsWriter {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

impl FieldsWriter {
    fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        for piece in [name, b": ", value] {
            self.bytes.extend_from_slice(piece);
        }
        let end = self.bytes.len();
        self.lines.push(Line::new(start..start + name.len(), end - value.len()..end));
    }

    fn finish(self) -> Fields {
        Fields { bytes: self.bytes.into(), lines: self.lines }
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
        assert_eq!(written, [Some(&b"x-a: b"[..]), None, None]);
    }

    #[test]
    fn lines_are_found_by_name_and_replaced() {
        let fields = Fields::from_iter([("a", "1"), ("B", "2"), ("a", "3")]);
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!((fields.first("a"), fields.first("c")), (Some(&b"1"[..]), None));
        assert!(fields.has("b") && !fields.has("c"));
        assert_eq!(pairs(&fields.with("a", "4")), [("b", "2"), ("a", "4")]);
        assert_eq!(fields.iter().next().unwrap().as_written(), Some(&b"a: 1"[..]));
    }

    #[test]
    fn a_map_and_its_lines_are_the_same() {
        let fields = Fields::from_iter([("a", "1"), ("b", "ü"), ("a", "3")]);
        let mut map = HeaderMap::new();
        for field in fields.iter() {
            let (name, value) = fields.to_entry(field).unwrap();
            map.append(name, value);
        }
        assert_eq!(map.len(), 3);
        let mut again = Fields::of_map(&map);
        again.lines.sort_by_key(|line| line.value.start);
        assert_eq!(pairs(&again), [("a", "1"), ("a", "3"), ("b", "ü")]);
    }
}
