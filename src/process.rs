//! What the process asks of the kernel so that its memory, which holds keys, stays its own.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core dump is written, whatever happens; on Linux other processes of the same user also can't read its
/// memory or its environment, or attach a debugger (PR_SET_DUMPABLE, prctl(2); ptrace(2), "Ptrace access mode
/// checking"). To be called before any key is fetched.
///
/// # Errors
/// When the kernel refuses; lowering a limit of one's own is never refused as far as its documents say.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
