//! The control socket, for the user who started the proxy, and `admin_listen`, for looking only.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::routes::{Admin, error};
use crate::proxy::check_look;

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
        Err(_) => fs::remove_file(path).map_err(failed),
    }
}

/// Serves the control socket until it is dropped.
pub async fn serve_control(admin: Arc<Admin>, socket: ControlSocket) {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(serve(TokioIo::new(stream), move |request| admin.obey(request)));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Serves `admin_listen` until it is dropped: no command, and nothing for web pages of other sites.
pub async fn serve_tcp(admin: Arc<Admin>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(serve(TokioIo::new(stream), move |request| {
                    match check_look(request, &admin.cluster.settings()) {
                        Ok(()) => admin.look(request),
                        Err((status, why)) => error(status, why),
                    }
                }));
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    warn!(%error, "no control connection can be accepted");
    sleep(ACCEPT_PAUSE).await;
}

fn serve<I, F>(io: I, answer: F) -> impl Future<Output = ()>
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
    async move {
        if let Err(error) = connection.await {
            debug!(%error, "a control connection ended early");
        }
    }
}
