//! What the program holds, and its control socket.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holdings {
    pub rss_kib: u64,
    pub descriptors: usize,
}

impl Holdings {
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the proxy runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kib = rss.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the proxy runs").count();
        Self { rss_kib: rss_kib.expect("a process has memory"), descriptors }
    }
}

pub struct Control {
    path: PathBuf,
}

impl Control {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The status and the body.
    pub async fn ask(&self, method: &str, target: &str) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.path).await?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Ok((status, body))
    }
}
