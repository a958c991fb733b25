//! The top level of a JSON object, found without building a tree: a body may be a megabyte, and two
//! fields of it matter.

use std::borrow::Cow;

use memchr::memchr;

/// Walks the members of a JSON object at its top level. It is lenient: it never judges whether the text
/// is valid, it only finds members that are written as JSON writes them.
pub struct TopLevel<'a> {
    text: &'a [u8],
    at: usize,
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
        let mut walk = Self { text, at: 0 };
        walk.skip_space();
        walk.at = if walk.peek() == Some(bracket) { walk.at + 1 } else { text.len() };
        walk
    }

    /// Moves to the next member or element.
    fn skip_comma(&mut self) {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The inside of the string that begins here, without its quotes, escapes as they stand.
    fn string(&mut self) -> Option<&'a [u8]> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let end = closing_quote(self.text, start)?;
        self.at = end + 1;
        Some(&self.text[start..end])
    }

    /// The value that begins here, as it stands and as far as it goes.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        self.at = end_of_value(self.text, start).unwrap_or(self.text.len());
        self.text[start..self.at].trim_ascii_end()
    }
}

impl<'a> Iterator for TopLevel<'a> {
    /// The name without its quotes, and the value as it stands; a value that the text cuts off is given
    /// as far as it goes.
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        self.skip_comma();
        let name = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return None;
        }
        self.at += 1;
        self.skip_space();
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
        if matches!(walk.peek(), None | Some(b']' | b'}' | b',')) || !is_wanted(&walk.text[walk.at..]) {
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
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

/// Where the value that begins at `start` ends; none when the text ends within it.
fn end_of_value(text: &[u8], start: usize) -> Option<usize> {
    let at = start + text.get(start..)?.iter().position(|&byte| mark(byte) != Mark::Nothing)?;
    match mark(text[at]) {
        Mark::Quote => Some(closing_quote(text, at + 1)? + 1),
        Mark::Open => end_of_nested(text, at),
        Mark::Nothing | Mark::Comma | Mark::Close => Some(at),
    }
}

/// The same of an object or an array, whichever brackets close it.
#[inline(never)]
fn end_of_nested(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        while mark(*text.get(at)?) <= Mark::Comma {
            at += 1;
        }
        match mark(text[at]) {
            Mark::Quote => at = closing_quote(text, at + 1)?,
            Mark::Open => depth += 1,
            Mark::Close if depth == 1 => return Some(at + 1),
            Mark::Close => depth -= 1,
            Mark::Nothing | Mark::Comma => {}
        }
        at += 1;
    }
}

/// Where the string ends whose inside begins at `start`. Most are names and short words, which are seen at a
/// glance: a search costs more to begin than they do.
#[inline]
fn closing_quote(text: &[u8], start: usize) -> Option<usize> {
    let inside = text.get(start..)?;
    match quote_in_first_word(inside) {
        Some(at) if !inside[..at].ends_with(b"\\") => Some(start + at),
        Some(_) | None => Some(start + closing_quote_of_long(inside)?),
    }
}

/// The same where it is further away, or escapes come before it.
#[inline(never)]
fn closing_quote_of_long(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += first_quote(inside.get(at..)?)?;
        // Of backslashes in a row each second one is itself escaped. No backslash is counted twice: a row of
        // them ends at the quote before.
        let backslashes = inside[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes.is_multiple_of(2) {
            return Some(at);
        }
        at += 1;
    }
}

fn first_quote(text: &[u8]) -> Option<usize> {
    let second = || Some(WORD_BYTES + quote_in_first_word(text.get(WORD_BYTES..)?)?);
    quote_in_first_word(text).or_else(second).or_else(|| memchr(b'"', text))
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
