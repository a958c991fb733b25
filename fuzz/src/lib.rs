//! What the fuzz targets do with their bytes, as plain functions that a test can call as well.
#![forbid(unsafe_code)]

pub mod config;
pub mod framing;
pub mod judge;
pub mod machine;
pub mod splitter;
pub mod stream;

/// What a target does with some bytes; it panics when an invariant is broken.
pub type Run = fn(&[u8]);

/// Every target, by the name that its corpus folder has too.
pub const TARGETS: &[(&str, Run)] = &[
    ("config", config::run),
    ("framing", framing::run),
    ("judge", judge::run),
    ("machine", machine::run),
    ("splitter", splitter::run),
    ("stream", stream::run),
];
