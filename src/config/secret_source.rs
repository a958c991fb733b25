//! Where the file says that a secret is, and how it is fetched from there.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::Fault;
use super::files;
use super::paths::{Environment, Outside};
use super::secret::{SECRET_MAX_BYTES, Secret};

/// How long a command may take to print a secret: a person may have to touch a token.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
const COMMAND_POLL: Duration = Duration::from_millis(10);

/// One of the four ways to give a secret. Has no `Debug`: a command's arguments may be secret too.
pub(super) enum SecretSource {
    Literal(Secret),
    Env(String),
    File(String),
    Command(Vec<String>),
}

impl SecretSource {
    /// Fetches the secret; blocks up to 10 s where a command is asked. A relative path of a key file
    /// starts at `directory`.
    pub fn fetch(&self, environment: &Environment, directory: &Path) -> Result<Secret, Fault> {
        match (self, environment.outside) {
            (Self::Literal(secret), _) => Ok(secret.clone()),
            (Self::Env(name), _) => from_variable(name, environment),
            (Self::File(path), Outside::Open) => from_file(path, environment, directory),
            (Self::Command(words), Outside::Open) => from_command(words, COMMAND_LIMIT),
            (Self::File(_) | Self::Command(_), Outside::Closed) => {
                Err(Fault::new("keys are not fetched from files and commands here"))
            }
        }
    }
}

fn from_variable(name: &str, environment: &Environment) -> Result<Secret, Fault> {
    // A name of another form may be a key that was pasted in its place.
    let conventional = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let shown = if conventional { name } else { "it names" };
    let value = environment
        .variable(name)
        .ok_or_else(|| Fault::new(format!("the environment variable {shown} is not set")))?
        .into_string()
        .map(Zeroizing::new)
        .map_err(|_| Fault::new(format!("the environment variable {shown} is not text")))?;
    Secret::new(&value)
}

fn from_file(path: &str, environment: &Environment, directory: &Path) -> Result<Secret, Fault> {
    // Shown only when it is plainly a path, not a key that was pasted in its place.
    let shown = if path.starts_with(['/', '~', '.']) { path } else { "the key file" };
    let failed = |error: io::Error| Fault::new(format!("{shown} can't be read: {error}"));
    let expanded = environment
        .expand(path, directory)
        .ok_or_else(|| Fault::new("`~` stands for nothing here: HOME is not set"))?;
    let file = files::open_regular(&expanded).map_err(failed)?;
    let file = file.ok_or_else(|| Fault::new(format!("{shown} is not a regular file")))?;
    if let Some(mode) = files::mode_open_to_others(&file).map_err(failed)? {
        return Err(Fault::new(format!("{shown} can be read by other users (mode {mode:04o})"))
            .help(format!("run `chmod 600` on {shown}")));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX_BYTES + 4));
    file.take(SECRET_MAX_BYTES as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    secret_from_bytes(&bytes)
}

/// Without the line break at the end, that editors and programs write.
fn secret_from_bytes(bytes: &[u8]) -> Result<Secret, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::new("the key is not text"))?;
    Secret::new(text.trim_end_matches(['\n', '\r']))
}

/// Runs the program, without a shell, and takes the first line that it prints. What it writes to
/// stderr is dropped, since it would end up in our log unread.
fn from_command(words: &[String], limit: Duration) -> Result<Secret, Fault> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Fault::new("the command is empty"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Fault::new(format!("the command can't be started: {error}")))?;
    let first_line = read_first_line(&mut child);
    let status = wait(&mut child, limit)?;
    if !status.success() {
        return Err(Fault::new(format!("the command failed: {status}")).help("run it by itself to see why"));
    }
    // The program is gone; something it left behind may hold its output open.
    match first_line.recv_timeout(COMMAND_POLL * 100) {
        Ok(line) => secret_from_bytes(&line),
        Err(_) => Err(Fault::new("the command printed no whole line")),
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, Fault> {
    let polls = limit.as_millis() / COMMAND_POLL.as_millis();
    for _ in 0..polls {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => thread::sleep(COMMAND_POLL),
            Err(error) => return Err(Fault::new(format!("the command was lost: {error}"))),
        }
    }
    // Both fail only when it has ended meanwhile, which changes nothing.
    let _ = child.kill();
    let _ = child.wait();
    Err(Fault::new(format!("the command took longer than {} s", limit.as_secs_f32())))
}

/// Reads on another thread, since a read has no time limit, and to the end, since a program whose
/// output nobody reads may fail.
fn read_first_line(child: &mut Child) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut line = Zeroizing::new(Vec::with_capacity(SECRET_MAX_BYTES + 4));
            let mut byte = Zeroizing::new([0]);
            while line.len() < SECRET_MAX_BYTES + 3
                && stdout.read_exact(&mut *byte).is_ok()
                && byte[0] != b'\n'
            {
                line.push(byte[0]);
            }
            let _ = sender.send(line);
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
    }
    receiver
}

#[cfg(test)]
#[path = "secret_source_tests.rs"]
mod tests;
