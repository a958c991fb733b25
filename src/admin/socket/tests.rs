use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;

/// A directory of a test's own, gone with it.
struct Scratch(PathBuf);

static SCRATCHES: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    fn new() -> Self {
        let number = SCRATCHES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qcc-socket-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("qcc/work.sock")
    }

    fn with_directory(self, mode: u32) -> Self {
        fs::create_dir(self.0.join("qcc")).unwrap();
        fs::set_permissions(self.0.join("qcc"), Permissions::from_mode(mode)).unwrap();
        self
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

async fn refusal(path: &Path) -> ControlError {
    match ControlSocket::bind(path).await {
        Ok(_) => panic!("it was bound"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_directory_that_others_may_enter_is_closed_to_them() {
    for before in [0o777, 0o755, 0o770, 0o701, 0o700] {
        let scratch = Scratch::new().with_directory(before);
        let socket = ControlSocket::bind(&scratch.socket()).await.unwrap();
        assert_eq!((mode(&scratch.0.join("qcc")), mode(&scratch.socket())), (0o700, 0o600), "{before:o}");
        drop(socket);
        assert!(!scratch.socket().exists());
    }
}

#[tokio::test]
async fn a_directory_of_another_user_is_not_used() {
    let scratch = Scratch::new().with_directory(0o777);
    // Only root may give a directory away; anybody else finds one of another user's at the top.
    let directory = match chown(scratch.0.join("qcc"), Some(geteuid().as_raw() + 4_711), None) {
        Ok(()) => scratch.0.join("qcc"),
        Err(_) => PathBuf::from("/"),
    };
    let path = directory.join("work.sock");
    assert!(matches!(refusal(&path).await, ControlError::OfAnotherUser(told) if told == directory));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_link_or_a_file_in_place_of_the_directory_is_left_as_it_is() {
    let scratch = Scratch::new();
    let target = scratch.0.join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, scratch.0.join("qcc")).unwrap();
    assert!(matches!(refusal(&scratch.socket()).await, ControlError::NotADirectory(_)));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    fs::remove_file(scratch.0.join("qcc")).unwrap();
    fs::write(scratch.0.join("qcc"), "mine").unwrap();
    assert!(matches!(refusal(&scratch.socket()).await, ControlError::NotADirectory(_)));
    assert_eq!(fs::read_to_string(scratch.0.join("qcc")).unwrap(), "mine");
}

#[tokio::test]
async fn only_a_socket_that_nobody_listens_on_is_ever_removed() {
    let scratch = Scratch::new().with_directory(0o700);
    let path = scratch.socket();
    fs::write(&path, "mine").unwrap();
    assert!(matches!(refusal(&path).await, ControlError::NotASocket(_)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    fs::remove_file(&path).unwrap();

    // A link, to what is there, to a served socket and to nothing.
    let elsewhere = scratch.0.join("elsewhere");
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(refusal(&path).await, ControlError::NotASocket(_)));
    fs::write(&elsewhere, "mine").unwrap();
    assert!(matches!(refusal(&path).await, ControlError::NotASocket(_)));
    fs::remove_file(&elsewhere).unwrap();
    let served = StdListener::bind(&elsewhere).unwrap();
    assert!(matches!(refusal(&path).await, ControlError::InUse(_)));
    drop(served);
    assert!(matches!(refusal(&path).await, ControlError::NotASocket(_)));
    assert!(elsewhere.exists() && path.is_symlink());
    fs::remove_file(&path).unwrap();

    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(ControlSocket::bind(&path).await.is_ok());
}

#[tokio::test]
async fn a_socket_whose_queue_is_full_is_in_use() {
    let scratch = Scratch::new().with_directory(0o700);
    let path = scratch.socket();
    let address = SockAddr::unix(&path).unwrap();
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&address).unwrap();
    busy.listen(0).unwrap();
    let mut queued = Vec::new();
    loop {
        let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        waiting.set_nonblocking(true).unwrap();
        match waiting.connect(&address) {
            Ok(()) => queued.push(waiting),
            Err(_) => break,
        }
    }
    assert!(matches!(refusal(&path).await, ControlError::InUse(_)));
    assert!(path.exists());
}

#[tokio::test]
async fn of_two_starts_at_once_one_has_the_socket() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    drop({
        fs::create_dir(scratch.0.join("qcc")).unwrap();
        StdListener::bind(&path).unwrap()
    });
    let (one, other) = tokio::join!(ControlSocket::bind(&path), ControlSocket::bind(&path));
    assert!(one.is_ok() != other.is_ok());
    assert!(UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn a_socket_that_took_its_place_outlives_it() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let first = ControlSocket::bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let second = StdListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
}
