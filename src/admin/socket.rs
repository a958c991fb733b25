//! Where the control socket is, and that nobody else gets at it.
//!
//! Whoever can connect may give commands: the socket is its owner's alone by its mode and by that of its
//! directory. Peers' credentials would say the same once more, so they are not asked for.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{error, fmt};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::process::geteuid;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

/// How often, and how often at most, the directory's lock is asked for: who holds it is done in milliseconds.
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(20);
const LOCK_LOOKS_MAX: u32 = 250;

/// Why there is no control socket.
#[derive(Debug)]
pub enum ControlError {
    /// A proxy answers on it.
    InUse(PathBuf),
    /// What is at its path is no socket.
    NotASocket(PathBuf),
    /// What should be its directory is a link or a file.
    NotADirectory(PathBuf),
    /// Its directory is another user's, who could put a socket of their own there.
    OfAnotherUser(PathBuf),
    /// It can't be made.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "a proxy of this cluster runs already ({}); stop it with `qcc proxy stop`",
                path.display()
            ),
            Self::NotASocket(path) => {
                write!(f, "{} is in the way of the control socket; remove it", path.display())
            }
            Self::NotADirectory(path) => write!(
                f,
                "{} must be a directory, and no link, for the control socket; remove it",
                path.display()
            ),
            Self::OfAnotherUser(path) => write!(
                f,
                "{} belongs to another user, so no control socket is made there; remove it, or set \
                 XDG_RUNTIME_DIR to a directory of your own",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "the control socket {}: {error}", path.display()),
        }
    }
}

impl error::Error for ControlError {}

/// A bound control socket; its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: Identity,
}

/// Tells a file from another one that has taken its path: device and inode.
type Identity = (u64, u64);

impl ControlSocket {
    /// Binds the socket, mode 0600 in a directory of mode 0700 that is our own. One that a killed proxy left
    /// behind is replaced; nothing else is ever removed.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |error| ControlError::Io(path.to_owned(), error);
        let place = path.parent().zip(path.file_name());
        let (directory_path, name) = place.ok_or_else(|| failed(ErrorKind::InvalidInput.into()))?;
        let directory = own_directory(directory_path)?;
        // Until the end of this function, so that of two starts the second one finds the socket of the first.
        lock(&directory).await.map_err(failed)?;
        remove_leftover(path).await?;
        // The directory keeps others out from the first moment, whatever the umask is.
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        // By the directory's descriptor: whoever could put another directory at the path while this went on is
        // found out before anything is served.
        let bound = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(bound.st_mode) != FileType::Socket {
            return Err(ControlError::NotASocket(path.to_owned()));
        }
        let identity = identity(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// The next connection.
    ///
    /// # Errors
    /// No descriptor is free, mostly.
    pub(super) async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.listener.accept().await
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whatever else is at the path by now is not ours. And nothing is lost when ours stays: the next start
        // replaces it.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// The directory, made where it is missing. It is looked at and closed to others by its descriptor, so that what
/// is looked at is what is used.
fn own_directory(path: &Path) -> Result<File, ControlError> {
    let failed = |error: io::Error| match matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory
    ) {
        true => ControlError::NotADirectory(path.to_owned()),
        false => ControlError::Io(path.to_owned(), error),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // A link is told by either, as the system likes.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            return Err(ControlError::NotADirectory(path.to_owned()));
        }
        Err(error) => return Err(failed(error.into())),
    };
    let found = directory.metadata().map_err(failed)?;
    if found.uid() != geteuid().as_raw() {
        return Err(ControlError::OfAnotherUser(path.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        directory.set_permissions(Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(directory)
}

async fn lock(directory: &File) -> io::Result<()> {
    for _ in 0..LOCK_LOOKS_MAX {
        match rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOCK_LOOK_EVERY).await,
            // A file system without locks (NFS locks no directory): two starts at once are the user's to avoid.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "another proxy is being started; try again"))
}

async fn remove_leftover(path: &Path) -> Result<(), ControlError> {
    let failed = |error| ControlError::Io(path.to_owned(), error);
    match UnixStream::connect(path).await {
        // Nobody listens: a socket that was left behind, or a file of another kind.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // It takes no more connections now (EAGAIN), but somebody listens.
        Ok(_) => return Err(ControlError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            return Err(ControlError::InUse(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    // The link itself is looked at, not what it leads to.
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if FileType::from_raw_mode(found.mode()) != FileType::Socket {
        return Err(ControlError::NotASocket(path.to_owned()));
    }
    fs::remove_file(path).map_err(failed)
}

#[cfg(test)]
mod tests;
