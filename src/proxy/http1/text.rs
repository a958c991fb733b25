//! What lines are made of.

use crate::text::is_control;

/// How many bytes come before the first such control character. A line end is two of them.
pub fn text_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        match first_suspect(u64::from_le_bytes(*word)) {
            None => at += word.len(),
            Some(suspect) if is_control(bytes[at + suspect]) => return at + suspect,
            Some(suspect) => at += suspect + 1,
        }
    }
    at + bytes[at..].iter().take_while(|&&byte| !is_control(byte)).count()
}

/// The first byte of a word that may be a control character: before it there is none. A tab is suspected too, and
/// what a borrow or a carry out of the byte before makes look like one.
const fn first_suspect(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Below a space the subtraction sets the high bit, at DEL the addition does.
    let below_space = word.wrapping_sub(ONES * b' ' as u64);
    let at_del = word.wrapping_add(ONES);
    let suspects = (below_space | at_del) & !word & (ONES << 7);
    if suspects == 0 { None } else { Some((suspects.trailing_zeros() / u8::BITS) as usize) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive_length(bytes: &[u8]) -> usize {
        bytes.iter().position(|&byte| is_control(byte)).unwrap_or(bytes.len())
    }

    #[test]
    fn a_control_character_is_found_wherever_it_stands_and_whatever_surrounds_it() {
        for around in [b'\t', b' ', b'~', 0x80, 0xff] {
            for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..20).map(move |place| (byte, place))) {
                let mut bytes = [around; 20];
                bytes[place] = byte;
                assert_eq!(text_length(&bytes), naive_length(&bytes), "{byte} at {place} among {around}");
            }
        }
    }

    proptest! {
        #[test]
        fn text_is_as_long_as_byte_by_byte(
            bytes in proptest::collection::vec(prop_oneof![20 => 0x20..0x7fu8, 2 => Just(b'\t'), 1 => any::<u8>()], 0..60)
        ) {
            prop_assert_eq!(text_length(&bytes), naive_length(&bytes));
        }
    }
}
