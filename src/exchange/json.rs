//! The top level of a JSON object, found without building a tree: a body may be a megabyte, and two
//! fields of it matter.

use std::borrow::Cow;

use memchr::memchr;

/// Walks the members of a JSON object at its top level. It is lenient: it never judges whether the text
/// is valid, it only finds members that are written as JSON writes them.
pub struct TopLevel<'a> {
    rest: &'a [u8],
}

/// Where a member's value stands.
pub type Member<'a> = (&'a [u8], &'a [u8]);

impl<'a> TopLevel<'a> {
    /// The members of this text, which may be cut off anywhere; none where it is no object.
    pub fn of(text: &'a [u8]) -> Self {
        Self::within(b'{', text)
    }

    /// Stands behind the bracket that the text begins with; at its end where it is another one.
    fn within(bracket: u8, text: &'a [u8]) -> Self {
        match after_space(text) {
            [first, rest @ ..] if *first == bracket => Self { rest },
            _ => Self { rest: &[] },
        }
    }

    /// Moves to the next member or element.
    fn skip_comma(&mut self) {
        self.rest = after_space(self.rest);
        if let [b',', rest @ ..] = self.rest {
            self.rest = after_space(rest);
        }
    }

    /// The value that begins here, as it stands and as far as it goes.
    fn value(&mut self) -> &'a [u8] {
        let end = end_of_value(self.rest).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        value.trim_ascii_end()
    }
}

impl<'a> Iterator for TopLevel<'a> {
    /// The name without its quotes, escapes as they stand, and the value as it stands; a value that the text
    /// cuts off is given as far as it goes.
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        self.skip_comma();
        let inside = self.rest.strip_prefix(b"\"")?;
        let (name, rest) = inside.split_at(closing_quote(inside)?);
        self.rest = after_space(after_space(&rest[1..]).strip_prefix(b":")?);
        Some((name, self.value()))
    }
}

/// Walks the elements of a JSON array, as lenient as [`TopLevel`].
pub struct Elements<'a>(TopLevel<'a>);

impl<'a> Elements<'a> {
    /// The elements of this text, which may be cut off anywhere; none where it is no array.
    pub fn of(text: &'a [u8]) -> Self {
        Self(TopLevel::within(b'[', text))
    }

    /// The next element where it is wanted, else none. What is asked is given the text from the element's
    /// beginning on, with whatever follows it: to see a member of it takes no walk to its end.
    pub fn next_if(&mut self, is_wanted: impl FnOnce(&[u8]) -> bool) -> Option<&'a [u8]> {
        let walk = &mut self.0;
        walk.skip_comma();
        if matches!(walk.rest, [] | [b']' | b'}' | b',', ..]) || !is_wanted(walk.rest) {
            return None;
        }
        Some(walk.value())
    }
}

impl<'a> Iterator for Elements<'a> {
    /// The element as it stands; one that the text cuts off is given as far as it goes.
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_if(|_| true)
    }
}

/// What a byte outside of strings is to a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nothing,
    Comma,
    Quote,
    Open,
    Close,
}

static MARKS: [Mark; 256] = {
    let mut marks = [Mark::Nothing; 256];
    marks[b',' as usize] = Mark::Comma;
    marks[b'"' as usize] = Mark::Quote;
    marks[b'{' as usize] = Mark::Open;
    marks[b'[' as usize] = Mark::Open;
    marks[b'}' as usize] = Mark::Close;
    marks[b']' as usize] = Mark::Close;
    marks
};

fn mark(byte: u8) -> Mark {
    MARKS[usize::from(byte)]
}

fn after_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Where the value ends that the text begins with; none when the text ends within it.
fn end_of_value(text: &[u8]) -> Option<usize> {
    let at = text.iter().position(|&byte| mark(byte) != Mark::Nothing)?;
    match mark(text[at]) {
        Mark::Quote => Some(at + 1 + closing_quote(&text[at + 1..])? + 1),
        Mark::Open => end_of_nested(text, at),
        Mark::Nothing | Mark::Comma | Mark::Close => Some(at),
    }
}

/// The same of an object or an array whose bracket stands at `at`, whichever brackets close it.
#[inline(never)]
fn end_of_nested(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match mark(byte) {
            Mark::Nothing | Mark::Comma => {}
            Mark::Quote => at += closing_quote(text.get(at..)?)? + 1,
            Mark::Open => depth += 1,
            Mark::Close if depth == 1 => return Some(at),
            Mark::Close => depth -= 1,
        }
    }
}

/// Where the string ends of which this is the inside and what follows. Most are names and short words, which
/// are seen at a glance: a search costs more to begin than they do.
#[inline]
fn closing_quote(inside: &[u8]) -> Option<usize> {
    match quote_in_first_word(inside) {
        Some(at) if inside[..at].last() != Some(&b'\\') => Some(at),
        Some(_) | None => closing_quote_of_long(inside),
    }
}

/// The same where it is further away, or escapes come before it.
#[inline(never)]
fn closing_quote_of_long(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'"', inside.get(at..)?)?;
        // Of backslashes in a row each second one is itself escaped. No backslash is counted twice: a row of
        // them ends at the quote before.
        let backslashes = inside[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes.is_multiple_of(2) {
            return Some(at);
        }
        at += 1;
    }
}

const WORD_BYTES: usize = 8;

/// Where the first quote stands, if it is one of so many bytes.
#[inline]
fn quote_in_first_word(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; WORD_BYTES]);
    let word = u64::from_le_bytes(*text.first_chunk()?);
    let others = word ^ (ONES * b'"' as u64);
    // The high bit of each byte that is zero, and maybe of some above it.
    let zeros = others.wrapping_sub(ONES) & !others & (ONES << 7);
    (zeros != 0).then_some(zeros.trailing_zeros() as usize / 8)
}

/// The text of a JSON string value as a walk gives it, copied only where it holds escapes; none when it is
/// no whole string.
pub fn as_text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    // RFC 8259 §7: a control character must be escaped.
    let is_plain = |byte: u8| (byte >= b' ') & (byte != b'\\') & (byte != b'"');
    // Looking at all of them beats stopping at the first.
    if inside.iter().fold(true, |all, &byte| all & is_plain(byte)) {
        std::str::from_utf8(inside).ok().map(Cow::Borrowed)
    } else {
        serde_json::from_slice(value).ok().map(Cow::Owned)
    }
}

/// The same as a text of its own.
pub fn as_string(value: &[u8]) -> Option<String> {
    as_text(value).map(Cow::into_owned)
}

#[cfg(test)]
pub mod naive;
#[cfg(test)]
pub mod tests;
