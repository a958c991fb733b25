//! Where a JSON document ends.

use memchr::memchr2;

/// Watches a JSON document go by whose end nothing else tells, so that one that was cut does not look whole. It does
/// not judge whether the text is valid: brackets that are open, or a string that is, are no end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentWatch {
    open: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeAll,
    Between,
    InString,
    Escaped,
    /// It is neither an object nor an array: its end does not show.
    Foreign,
}

impl DocumentWatch {
    /// Takes up the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        loop {
            if self.place == Place::InString {
                bytes = &bytes[memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.place = match (self.place, byte) {
                (Place::Foreign, _) => return,
                (Place::Escaped, _) => Place::InString,
                (Place::InString, b'\\') => Place::Escaped,
                (Place::InString, b'"') => Place::Between,
                (Place::InString, _) => Place::InString,
                (Place::BeforeAll, b' ' | b'\t' | b'\r' | b'\n') => Place::BeforeAll,
                (Place::BeforeAll | Place::Between, b'{' | b'[') => {
                    self.open = self.open.saturating_add(1);
                    Place::Between
                }
                (Place::BeforeAll, _) => Place::Foreign,
                (Place::Between, b'"') => Place::InString,
                (Place::Between, b'}' | b']') => {
                    self.open = self.open.saturating_sub(1);
                    Place::Between
                }
                (Place::Between, _) => Place::Between,
            };
            bytes = rest;
        }
    }

    /// Whether a document may end here.
    pub fn may_end_here(&self) -> bool {
        match self.place {
            // No document has begun.
            Place::BeforeAll | Place::Foreign => true,
            Place::Between => self.open == 0,
            Place::InString | Place::Escaped => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_end(text: &[u8]) -> bool {
        let mut watch = DocumentWatch::default();
        watch.push(text);
        watch.may_end_here()
    }

    #[test]
    fn a_document_ends_at_its_last_bracket_and_nowhere_before() {
        let text = br#" {"a":[1,{"b":"} ] \" \\"}],"c":null} "#;
        let end = text.len() - 1;
        for at in 0..=text.len() {
            let is_blank = text[..at].trim_ascii().is_empty();
            assert_eq!(may_end(&text[..at]), is_blank || at >= end, "{at}");
        }
    }

    #[test]
    fn what_is_no_object_may_end_anywhere() {
        for text in ["<html>{", "busy", "12"] {
            assert!(may_end(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn lines_of_documents_may_end_behind_each() {
        assert!(may_end(b"{}\n{}\n"));
        assert!(!may_end(b"{}\n{"));
    }

    proptest::proptest! {
        #[test]
        fn where_a_document_is_cut_into_pieces_changes_nothing(text in "[{}\\[\\]\"\\\\a ]{0,24}", at in 0usize..24) {
            let (first, second) = text.as_bytes().split_at(at.min(text.len()));
            let mut watch = DocumentWatch::default();
            watch.push(first);
            watch.push(second);
            assert_eq!(watch.may_end_here(), may_end(text.as_bytes()));
            let mut byte_by_byte = DocumentWatch::default();
            text.as_bytes().chunks(1).for_each(|byte| byte_by_byte.push(byte));
            assert_eq!(watch, byte_by_byte);
        }
    }
}
