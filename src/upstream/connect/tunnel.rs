//! A tunnel through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

use std::io;

use hyper::http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::ProxyFault;
use crate::config::{BaseUrl, ProxyUrl};
use crate::upstream::head::proxy_authorization;

/// The most of a proxy's answer that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The request for one. It holds the proxy's password, so it has no `Debug`.
pub(super) struct Tunnel {
    request: Zeroizing<Vec<u8>>,
}

impl Tunnel {
    pub(super) fn new(proxy: &ProxyUrl, to: &BaseUrl) -> Self {
        let (host, port) = (to.host(), to.port());
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let line = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        let authorization = proxy_authorization(proxy);
        let (name, end) = ("proxy-authorization: ", "\r\n");
        let value = authorization.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        // All of the room at once: what grows leaves copies of itself behind.
        let room = line.len() + name.len() + value.len() + 2 * end.len();
        let mut request = Zeroizing::new(Vec::with_capacity(room));
        request.extend_from_slice(line.as_bytes());
        if !value.is_empty() {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(value);
            request.extend_from_slice(end.as_bytes());
        }
        request.extend_from_slice(end.as_bytes());
        Self { request }
    }

    /// Asks for the tunnel. Afterwards the stream is the endpoint's.
    pub(super) async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), ProxyFault> {
        stream.write_all(&self.request).await.map_err(ProxyFault::Broken)?;
        let head = read_head(stream).await.map_err(ProxyFault::Broken)?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ProxyFault::Answered(status)),
            None => Err(broken("it sent what is no HTTP answer")),
        }
    }
}

/// Byte by byte would be slow and more than the head must not be taken, so it is read in pieces, and anything
/// that follows it is refused: in TLS the client speaks first.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        match memchr::memmem::find(&head, b"\r\n\r\n") {
            // A refusal has a body; of an acceptance nothing may follow.
            Some(end) if end + 4 < head.len() && status(&head).is_some_and(|status| status / 100 == 2) => {
                return Err(io::Error::other("it sent more than its answer"));
            }
            Some(_) => return Ok(head),
            None if head.len() >= HEAD_BYTES_MAX => {
                return Err(io::Error::other("its answer has no end"));
            }
            None => {}
        }
    }
}

/// The status of `HTTP/1.x NNN …`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let [_minor, b' ', digits @ ..] = rest else { return None };
    let (digits, after) = digits.split_at_checked(3)?;
    let ends = matches!(after.first(), Some(b' ' | b'\r'));
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (ends && status >= 100).then_some(status)
}

fn broken(what: &'static str) -> ProxyFault {
    ProxyFault::Broken(io::Error::new(io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(answer: &[u8]) -> Result<(), String> {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let tunnel = Tunnel { request: b"CONNECT a:1 HTTP/1.1\r\n\r\n".to_vec().into() };
        tunnel.open(&mut near).await.map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn a_tunnel_is_open_after_any_2xx() {
        assert_eq!(opened(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").await, Ok(()));
        assert_eq!(opened(b"HTTP/1.0 200\r\n\r\n").await, Ok(()));
    }

    #[tokio::test]
    async fn anything_else_is_told() {
        for (answer, told) in [
            (&b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno"[..], "502"),
            (b"HTTP/1.1 407 Who are you\r\n\r\n", "put the user name and password"),
            (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "more than its answer"),
            (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
            (b"", "closed the connection"),
            (b"SSH-2.0-x\r\n\r\n", "no HTTP answer"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP answer"),
            (&[b'x'; 20 * 1024], "no end"),
        ] {
            let fault = opened(answer).await.unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }
}
