//! What the prober's tables are keyed by.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

/// A part of an endpoint, told from others by its address. It keeps the address, not the part: an endpoint that is
/// added when another is gone is never taken for it.
pub(super) struct Identity<T>(Weak<T>);

impl<T> Identity<T> {
    pub fn of(part: &Arc<T>) -> Self {
        Self(Arc::downgrade(part))
    }

    pub fn is(&self, part: &Arc<T>) -> bool {
        self.0.as_ptr() == Arc::as_ptr(part)
    }
}

impl<T> PartialEq for Identity<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl<T> Eq for Identity<T> {}

impl<T> Hash for Identity<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.as_ptr().hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_later_is_never_what_is_gone() {
        let gone = Arc::new([0_u8; 64]);
        let known = Identity::of(&gone);
        assert!(known.is(&gone) && known == Identity::of(&gone));
        drop(gone);
        let added: Vec<_> = (0..100).map(|_| Arc::new([0_u8; 64])).collect();
        assert!(added.iter().all(|part| !known.is(part) && known != Identity::of(part)));
    }
}
