//! The one place that names an atomic: the core's, or those of the tool that runs a model.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(feature = "shuttle", not(loom)))]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(any(feature = "shuttle", loom)))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

/// A constructor that is `const` unless a model runs, since loom's atomics are not made at compile time.
macro_rules! const_unless_modelled {
    ($(#[$attribute:meta])* pub fn $name:ident() -> Self $body:block) => {
        #[cfg(not(any(feature = "shuttle", loom)))]
        $(#[$attribute])*
        pub const fn $name() -> Self $body

        #[cfg(any(feature = "shuttle", loom))]
        $(#[$attribute])*
        pub fn $name() -> Self $body
    };
}

pub(crate) use const_unless_modelled;
