//! A running proxy: everything put together, from the configuration to the last drained exchange.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::admin::{Admin, ControlError, ControlSocket, serve_control, serve_tcp};
use crate::clock::Clock;
use crate::cluster::{BuildError, Cluster};
use crate::config::{ClusterSettings, ConfigError, Environment, Settings};
use crate::upstream::clients_max;
use crate::{prober, proxy};

/// What `qcc proxy start` was given.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
}

/// Why a proxy does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// An endpoint can't be set up.
    Build(BuildError),
    /// An address can't be listened on.
    Listen(SocketAddr, io::Error),
    /// The control socket can't be had.
    Control(ControlError),
    /// Signals can't be received.
    Signals(io::Error),
}

impl StartError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Build(_) => true,
            Self::Listen(..) | Self::Control(_) | Self::Signals(_) => false,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Build(error) => error.fmt(f),
            Self::Listen(address, error) => {
                write!(f, "{address} can't be listened on: {error}; choose another with --listen")
            }
            Self::Control(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "signals can't be received: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Runs a proxy until SIGTERM, SIGINT or a stop command, and drains it.
///
/// # Errors
/// When it can't be started. Once it serves, nothing makes it fail.
pub async fn run(options: StartOptions, environment: Environment) -> Result<(), StartError> {
    let settings = load(options.clone(), environment.clone()).await?;
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let clock = Clock::start();
    let (asked_for, admin_asked_for) = (settings.listen, settings.admin_listen);
    let needs_token = !settings.client_tokens.is_empty();
    // Given away whole: what stayed here would keep keys in memory that a reload has replaced.
    let cluster = Cluster::new(settings, clock).map_err(StartError::Build)?;
    let listener = listen(asked_for).await?;
    let address = listener.local_addr().map_err(|error| StartError::Listen(asked_for, error))?;
    let control_path = environment.control_socket(&cluster.name)?;
    let socket = ControlSocket::bind(&control_path).await.map_err(StartError::Control)?;
    let admin_listener = match admin_asked_for {
        Some(admin) => Some(listen(admin).await?),
        None => None,
    };

    prober::start_round(&cluster).await;

    let (stop, stopped) = watch::channel(false);
    let admin = Arc::new(Admin {
        cluster: cluster.clone(),
        listen: address.to_string(),
        started_at: clock.shown_now(),
        stop: stop.clone(),
    });
    let mut helpers = Helpers::default();
    helpers.add(prober::spawn(cluster.clone(), stopped.clone()));
    let (end, over) = watch::channel(false);
    let mut control = tokio::spawn(serve_control(admin.clone(), socket, over.clone()));
    if let Some(listener) = admin_listener {
        helpers.add(tokio::spawn(serve_tcp(admin.clone(), listener, over)));
    }
    let acceptor = proxy::Acceptor::new("clients", clients_max());
    let proxy = proxy::Proxy::new(cluster.clone());
    let mut serving = tokio::spawn(proxy::serve(proxy, listener, acceptor, stopped));
    announce(&cluster, address, needs_token);

    let reloader =
        Arc::new(Reloader { cluster, options, environment, listening: address, turn: Mutex::new(()) });
    loop {
        tokio::select! {
            _ = &mut serving => {
                end.send_replace(true);
                // It ends by itself; one that panicked has ended too.
                let _ = (&mut control).await;
                return Ok(());
            }
            asked = signals.next() => match asked {
                // Apart from this loop: a secret's command may take its time, and a stop must not wait for it.
                Asked::Reload => helpers.add(tokio::spawn(reloader.clone().reload())),
                Asked::Stop if stop.send_replace(true) => {
                    warn!("a second signal: running exchanges are aborted");
                    return Ok(());
                }
                Asked::Stop => info!("draining: running exchanges may finish; a second signal ends at once"),
            },
        }
    }
}

/// Reads the configuration off the runtime's threads: a secret's command may take its time.
async fn load(options: StartOptions, environment: Environment) -> Result<ClusterSettings, ConfigError> {
    let read = move || {
        let names = Settings::load_names(options.config.as_deref(), &environment)?;
        let name = names.cluster_name(options.cluster.as_deref())?.to_owned();
        let settings = Settings::load(options.config.as_deref(), Some(&name), &environment)?;
        let mut cluster = settings.cluster(Some(&name))?.clone();
        if let Some(listen) = &options.listen {
            cluster.override_listen(listen)?;
        }
        Ok(cluster)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(settings) => settings,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

struct Reloader {
    cluster: Arc<Cluster>,
    options: StartOptions,
    environment: Environment,
    listening: SocketAddr,
    /// One after another, so that the file as it was read last is what stays.
    turn: Mutex<()>,
}

impl Reloader {
    async fn reload(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let old = self.cluster.settings();
        let mut settings = match load(self.options.clone(), self.environment.clone()).await {
            Ok(settings) => settings,
            Err(error) => return warn!(%error, "the configuration was not reloaded; the old one stays"),
        };
        if settings.listen != old.listen {
            warn!(listening = %self.listening, "listen changed; it is taken up at the next start");
        }
        if let Err(error) = settings.keep_listening_on(old.listen) {
            return warn!(%error, "the configuration was not reloaded; the old one stays");
        }
        if settings.admin_listen != old.admin_listen {
            warn!("admin_listen changed; it is taken up at the next start");
        }
        match self.cluster.reload(settings) {
            Ok(()) => info!("the configuration was reloaded"),
            Err(error) => warn!(%error, "the configuration was not reloaded; the old one stays"),
        }
    }
}

/// One line for scripts on stdout, a hint for people on stderr.
fn announce(cluster: &Cluster, address: SocketAddr, needs_token: bool) {
    let token = if needs_token { "one of the cluster's client tokens" } else { "any" };
    let ready = format!("qcc: cluster {} on http://{address}\n", cluster.name);
    let hint = format!(
        "Claude Code uses it with:\n  export ANTHROPIC_BASE_URL=http://{address}\n  export \
         ANTHROPIC_AUTH_TOKEN={token:?}\n"
    );
    // Who closed the pipe does not want to read it; and for one that is full nobody waits.
    tokio::task::spawn_blocking(move || io::stderr().write_all(hint.as_bytes()));
    let _ = io::stdout().write_all(ready.as_bytes()).and_then(|()| io::stdout().flush());
    let now = cluster.clock.now();
    if !cluster.roster().endpoints().iter().any(|endpoint| endpoint.is_usable(now)) {
        warn!("no endpoint is usable; `qcc status` says why");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// A log that reaches the limit on a file's size (RLIMIT_FSIZE) is a write that fails: not handled, it would
    /// end the process.
    _file_too_large: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_too_large: file_too_large()?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

/// SIGXFSZ.
fn file_too_large() -> io::Result<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))
}

/// From here on a write beyond the limit on a file's size fails instead of ending the process.
///
/// # Errors
/// When signals can't be received.
///
/// # Panics
/// Outside a tokio runtime.
pub fn survive_file_size_limit() -> io::Result<()> {
    // What is registered stays so when the signal is no longer listened to.
    file_too_large().map(drop)
}

enum Asked {
    Stop,
    Reload,
}

/// Tasks that end with the proxy.
#[derive(Default)]
struct Helpers(Vec<JoinHandle<()>>);

impl Helpers {
    fn add(&mut self, task: JoinHandle<()>) {
        self.0.retain(|task| !task.is_finished());
        self.0.push(task);
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
