//! The type of an event whose data are longer than what is kept of them.

use memchr::memchr2;

/// The longest name or type that is told from others.
const TOKEN_BYTES_MAX: usize = 64;

/// Finds the member `type` at the top level of a JSON object that comes in pieces, in bounded memory. As
/// lenient as [`TopLevel`](super::TopLevel): it does not judge whether the text is valid.
#[derive(Debug)]
pub struct LateType {
    place: Place,
    is_escaped: bool,
    token: Vec<u8>,
    found: Option<Vec<u8>>,
}

/// Where in the object the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Before a member's name.
    Name,
    InName,
    Colon,
    Value,
    InType,
    /// In a value, so many brackets deep.
    Inside(usize),
    InString(usize),
    Over,
}

impl LateType {
    /// One that has read `text`.
    pub fn after(text: &[u8]) -> Self {
        let mut late = Self { place: Place::Start, is_escaped: false, token: Vec::new(), found: None };
        late.read(text);
        late
    }

    /// Reads on.
    pub fn read(&mut self, mut bytes: &[u8]) {
        loop {
            if let Place::InString(_) = self.place
                && !self.is_escaped
            {
                bytes = &bytes[memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            if self.place == Place::Over {
                return;
            }
            self.place = self.step(byte);
            bytes = rest;
        }
    }

    /// The type, without its quotes, escapes as they stand; none where there was none.
    pub fn found(self) -> Option<Vec<u8>> {
        self.found
    }

    fn step(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::Start | Place::Name | Place::Colon | Place::Value, b' ' | b'\t' | b'\n' | b'\r') => {
                self.place
            }
            (Place::Start, b'{') | (Place::Name, b',') => Place::Name,
            (Place::Name, b'"') => self.begin(Place::InName),
            (Place::InName, _) => self.in_token(byte, Place::Colon),
            (Place::Colon, b':') => Place::Value,
            (Place::Value, b'"') if self.token == b"type" => self.begin(Place::InType),
            (Place::InType, _) => {
                let next = self.in_token(byte, Place::Over);
                if next == Place::Over {
                    self.found = Some(std::mem::take(&mut self.token));
                }
                next
            }
            (Place::Value, _) => self.inside(0, byte),
            (Place::Inside(depth), _) => self.inside(depth, byte),
            (Place::InString(depth), _) => match byte {
                _ if std::mem::take(&mut self.is_escaped) => self.place,
                b'\\' => {
                    self.is_escaped = true;
                    self.place
                }
                b'"' => Place::Inside(depth),
                _ => self.place,
            },
            (Place::Start | Place::Name | Place::Colon | Place::Over, _) => Place::Over,
        }
    }

    fn begin(&mut self, place: Place) -> Place {
        self.token.clear();
        place
    }

    fn in_token(&mut self, byte: u8, end: Place) -> Place {
        if byte == b'"' && !self.is_escaped {
            return end;
        }
        self.is_escaped = byte == b'\\' && !self.is_escaped;
        if self.token.len() < TOKEN_BYTES_MAX {
            self.token.push(byte);
        }
        self.place
    }

    fn inside(&self, depth: usize, byte: u8) -> Place {
        match byte {
            b'"' => Place::InString(depth),
            b'{' | b'[' => Place::Inside(depth + 1),
            b'}' | b']' => depth.checked_sub(1).map_or(Place::Over, Place::Inside),
            b',' if depth == 0 => Place::Name,
            _ => Place::Inside(depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::TopLevel;
    use super::*;

    fn found(text: &str) -> Option<String> {
        LateType::after(text.as_bytes()).found().map(|found| String::from_utf8(found).unwrap())
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        let found = |text: &str| found(text);
        assert_eq!(
            found(r#" { "a" : [1,{"type":"x"}], "b":"\"}", "type" : "end" , "c":1}"#),
            Some("end".into())
        );
        assert_eq!(found(r#"{"a":{"type":"x"}}"#), None);
        assert_eq!(found(r#"{"type":7,"type":"late"}"#), Some("late".into()));
        assert_eq!(found(r#"{"typ"#), None);
        assert_eq!(found("[]"), None);
    }

    #[test]
    fn a_long_name_takes_no_memory() {
        let mut late = LateType::after(b"{\"");
        for _ in 0..1000 {
            late.read(&[b'x'; 100]);
        }
        assert!(late.token.capacity() <= 2 * TOKEN_BYTES_MAX);
    }

    fn value() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            "[a-z{}\\[\\],:\"\\\\]{0,8}".prop_map(serde_json::Value::from),
            any::<i32>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("type|[a-z\"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn it_finds_what_a_look_at_the_whole_object_finds(
            members in proptest::collection::vec(("[a-z\"\\\\]{0,6}", value()), 0..5),
            kind in proptest::option::of("[a-z.]{0,12}"),
            place in 0usize..5,
            cut in 0usize..200,
        ) {
            let mut members: Vec<(String, serde_json::Value)> = members;
            members.retain(|(name, _)| name != "type");
            if let Some(kind) = &kind {
                members.insert(place.min(members.len()), ("type".into(), kind.as_str().into()));
            }
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{} : {value}", quoted(name))).collect();
            let text = format!("{{{}}}", members.join(" , "));
            let cut = cut.min(text.len());
            let mut late = LateType::after(&text.as_bytes()[..cut]);
            late.read(&text.as_bytes()[cut..]);
            let whole = TopLevel::of(text.as_bytes()).find(|(name, _)| *name == b"type");
            let expected = whole.map(|(_, value)| value[1..value.len() - 1].to_vec());
            assert_eq!(late.found(), expected);
        }
    }
}
