//! Sets of bytes that grammars name, looked up in a table.

/// ASCII letters and digits, and some others.
pub struct Charset([bool; 256]);

impl Charset {
    /// Letters, digits and `others`.
    pub const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut has = [false; 256];
        let mut byte = 0;
        while byte < has.len() {
            has[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            has[others[at] as usize] = true;
            at += 1;
        }
        Self(has)
    }

    /// Whether this byte is one of them.
    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// How many bytes there are of them, before one that is not.
    pub fn prefix_length(&self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|&&byte| self.has(byte)).count()
    }

    /// Whether there are no others.
    pub fn has_all(&self, bytes: &[u8]) -> bool {
        // Each is looked up: to stop at the first other one would cost more than it saves.
        bytes.iter().fold(true, |so_far, &byte| so_far & self.has(byte))
    }
}
