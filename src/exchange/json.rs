//! The top level of a JSON object, found without building a tree: a body may be a megabyte, and two
//! fields of it matter.

use memchr::memchr2;

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

/// The text of a JSON string value; none when it is no whole string.
pub fn as_string(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        TopLevel::of(text.as_bytes()).map(|(name, value)| (text_of(name), text_of(value))).collect()
    }

    #[test]
    fn members_inside_other_values_are_not_at_the_top_level() {
        let found = members(r#" {"a": {"stream": true, "x": ["}", "\"{"]}, "stream" : false , "n":1}"#);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "stream", "n"]);
        assert_eq!(found[1].1, "false");
        assert_eq!(found[2].1, "1");
    }

    #[test]
    fn a_text_that_is_cut_off_gives_what_there_is() {
        let whole = r#"{"model":"m\"1","messages":[{"content":"hi"}],"stream":true}"#;
        for cut in 0..=whole.len() {
            assert!(members(&whole[..cut]).len() <= 3);
        }
        assert_eq!(members(&whole[..30])[0], ("model".into(), r#""m\"1""#.into()));
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in ["", "[]", "null", "\"x\"", "<html>", "}{"] {
            assert!(members(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_elements_of_an_array_are_given_as_they_stand() {
        let elements = |text: &'static str| -> Vec<String> {
            Elements::of(text.as_bytes()).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
        };
        assert_eq!(elements(r#" [ {"a": [1]} , "],", 3 ,[] ] "#), [r#"{"a": [1]}"#, r#""],""#, "3", "[]"]);
        assert_eq!(elements(r#"[{"a":"#), [r#"{"a":"#]);
        for none in ["", "[]", "{}", "null", "\"x\"", "[,", "[}"] {
            assert!(elements(none).is_empty(), "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_run_on(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            assert!(TopLevel::of(&text).count() <= text.len());
            assert!(Elements::of(&text).count() <= text.len());
        }

        #[test]
        fn it_finds_the_members_that_a_parser_finds(
            value in proptest::collection::btree_map("[a-z\"\\\\é]{0,6}", "[a-z{}\\[\\],:\"\\\\]{0,8}", 0..6)
        ) {
            let text = serde_json::to_string(&value).unwrap();
            let found: std::collections::BTreeMap<String, String> = TopLevel::of(text.as_bytes())
                .map(|(name, value)| {
                    let quoted = [b"\"", name, b"\""].concat();
                    (as_string(&quoted).unwrap(), as_string(value).unwrap())
                })
                .collect();
            assert_eq!(found, value);
        }
    }
}
