//! The same walks a byte at a time, each string by the two bytes that matter in it: what the faster ones must
//! find.

use memchr::memchr2;

pub struct TopLevel<'a> {
    text: &'a [u8],
    at: usize,
}

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
        let mut at = start;
        loop {
            at += memchr2(b'"', b'\\', self.text.get(at..)?)?;
            if self.text[at] == b'"' {
                self.at = at + 1;
                return Some(&self.text[start..at]);
            }
            at += 2;
        }
    }

    /// The value that begins here, as it stands and as far as it goes.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        if self.skip_value().is_none() {
            self.at = self.text.len();
        }
        self.text[start..self.at].trim_ascii_end()
    }

    /// Moves past the value that begins here; none when the text ends within it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

impl<'a> Iterator for TopLevel<'a> {
    /// The name without its quotes, and the value as it stands; a value that the text cuts off is given
    /// as far as it goes.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
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

pub struct Elements<'a>(TopLevel<'a>);

impl<'a> Elements<'a> {
    /// The elements of this text, which may be cut off anywhere; none where it is no array.
    pub fn of(text: &'a [u8]) -> Self {
        Self(TopLevel::within(b'[', text))
    }
}

impl<'a> Iterator for Elements<'a> {
    /// The element as it stands; one that the text cuts off is given as far as it goes.
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let walk = &mut self.0;
        walk.skip_comma();
        if matches!(walk.peek(), None | Some(b']' | b'}' | b',')) {
            return None;
        }
        Some(walk.value())
    }
}

pub fn as_string(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok()
}
