//! Files that are read whole, and who else can read them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Mode bits that let anybody but the owner at a file.
const OTHERS: u32 = 0o077;

/// Opens a regular file, or what a link to one leads to; `None` for anything else. What is asked about is what was
/// opened, and opening never waits: a pipe would, until somebody writes to it.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let without_waiting = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// The file's permission bits, if they let anybody but its owner at it.
pub(super) fn mode_open_to_others(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    Ok((mode & OTHERS != 0).then_some(mode))
}
