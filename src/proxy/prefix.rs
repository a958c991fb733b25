//! What came of an answer's body before it went on.

use std::collections::VecDeque;

use bytes::Bytes;

/// Prefix in the order in which they came. The first one, which mostly is the only one, takes no memory of its own.
#[derive(Default)]
pub struct Prefix {
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
}

impl Prefix {
    /// Puts one behind the others.
    pub fn push(&mut self, chunk: Bytes) {
        match self.is_empty() {
            true => self.first = Some(chunk),
            false => self.more.push_back(chunk),
        }
    }

    /// Takes the one that came first.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| self.more.pop_front())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(&self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn chunks_come_out_in_the_order_in_which_they_went_in(
            steps in proptest::collection::vec(proptest::bool::ANY, 0..40)
        ) {
            let (mut chunks, mut naive) = (Prefix::default(), VecDeque::new());
            for (number, is_push) in steps.into_iter().enumerate() {
                if is_push {
                    let chunk = Bytes::from(vec![number as u8]);
                    naive.push_back(chunk.clone());
                    chunks.push(chunk);
                } else {
                    assert_eq!(chunks.pop(), naive.pop_front());
                }
                assert_eq!(chunks.is_empty(), naive.is_empty());
                assert!(chunks.iter().eq(&naive));
            }
        }
    }
}
