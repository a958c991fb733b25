//! The control socket, for the user who started the proxy, and `admin_listen`, for looking only.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::routes::{Admin, error};
use crate::proxy::{Acceptor, is_addressed_to};

/// How many connections the socket serves at once, and `admin_listen` as many: descriptors are reserved for them.
const CONNECTIONS_MAX: usize = 8;
/// How long another proxy of this user is waited for that binds its socket, which takes it a moment.
const TURN_WITHIN: Duration = Duration::from_secs(2);
const TURN_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long an answer may take to be written at the end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How long a peer may take to send a request's head.
const HEADER_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no control socket.
#[derive(Debug)]
pub enum ControlError {
    /// A proxy answers on it.
    InUse(PathBuf),
    /// What is at its path is no socket.
    NotASocket(PathBuf),
    /// It can't be made.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for ControlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "a proxy of this cluster runs already ({}); stop it with `qcc proxy stop`",
                path.display()
            ),
            Self::NotASocket(path) => {
                write!(f, "{} is in the way of the control socket; remove it", path.display())
            }
            Self::Io(path, error) => write!(f, "the control socket {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ControlError {}

/// A bound control socket; its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket, mode 0600 in a directory of mode 0700. One that a killed proxy left behind is
    /// replaced.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |error| ControlError::Io(path.to_owned(), error);
        if let Some(directory) = path.parent() {
            // The directory keeps others out from the first moment, whatever the umask is.
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let _turn = turn_to_bind(path).await;
        remove_leftover(path).await?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Nothing is lost when it stays: the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Two that start at once must not each take the other's fresh socket for a leftover, so one of them goes first. The
/// kernel ends the turn of one that is killed. Where directories can't be locked, or another holds the lock for too
/// long, it goes without.
async fn turn_to_bind(path: &Path) -> Option<File> {
    let directory = File::open(path.parent()?).ok()?;
    timeout(TURN_WITHIN, async {
        loop {
            match directory.try_lock() {
                Ok(()) => return Some(directory),
                Err(TryLockError::WouldBlock) => sleep(TURN_LOOK_EVERY).await,
                Err(TryLockError::Error(_)) => return None,
            }
        }
    })
    .await
    .unwrap_or(None)
}

async fn remove_leftover(path: &Path) -> Result<(), ControlError> {
    let failed = |error| ControlError::Io(path.to_owned(), error);
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !kind.is_socket() {
        return Err(ControlError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ControlError::InUse(path.to_owned())),
        // Nobody listens (unix(7)).
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Its queue is full: a proxy that does not answer is one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ControlError::InUse(path.to_owned())),
        // It has gone meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Serves the control socket until `over` turns true, and then to the end of what is being answered: whoever told the
/// proxy to stop is to hear that it does.
pub async fn serve_control(admin: Arc<Admin>, socket: ControlSocket, mut over: watch::Receiver<bool>) {
    let mut acceptor = Acceptor::new("the control socket", CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = async { drop(over.wait_for(|over| *over).await) } => break,
            Some(_) = connections.join_next() => {}
            ((stream, _), place) = acceptor.next(|| socket.listener.accept()) => {
                let (admin, over) = (admin.clone(), over.clone());
                connections.spawn(async move {
                    serve(TokioIo::new(stream), move |request| admin.obey(request), over).await;
                    drop(place);
                });
            }
        }
    }
    drop(socket);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(ANSWERED_WITHIN, ended).await;
}

/// Serves `admin_listen` until it is dropped, its connections until `over` turns true: no command, and only for
/// requests that name this host.
pub async fn serve_tcp(admin: Arc<Admin>, listener: TcpListener, over: watch::Receiver<bool>) {
    let mut acceptor = Acceptor::new("admin_listen", CONNECTIONS_MAX);
    loop {
        let ((stream, _), place) = acceptor.next(|| listener.accept()).await;
        let admin = admin.clone();
        let look = move |request: &hyper::Request<Incoming>| match is_addressed_to(
            request,
            &admin.cluster.settings(),
        ) {
            true => admin.look(request),
            false => error(StatusCode::MISDIRECTED_REQUEST, "the Host is not this one's"),
        };
        let over = over.clone();
        tokio::spawn(async move {
            serve(TokioIo::new(stream), look, over).await;
            drop(place);
        });
    }
}

async fn serve<I, F>(io: I, answer: F, mut over: watch::Receiver<bool>)
where
    I: Read + Write + Unpin,
    F: Fn(&hyper::Request<Incoming>) -> hyper::Response<http_body_util::Full<bytes::Bytes>>,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(over.wait_for(|over| *over).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a control connection ended early");
    }
}
