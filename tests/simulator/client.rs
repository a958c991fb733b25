//! Clients: each makes its requests one after another, over a connection that it keeps while it can.

use std::sync::Arc;
use std::time::Duration;

use qcc::proxy::{Proxy, Unfinished, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::answers::Ask;
use crate::dial::header;
use crate::ledger::{CLIENT_LATENCY, Reply};
use crate::network::{Side, connection};
use crate::world;

/// One request, and how its client goes about it.
#[derive(Clone, Debug)]
pub struct Errand {
    pub at: Instant,
    pub ask: Ask,
    pub session: u8,
    pub model: &'static str,
    pub leaves: Leaves,
    /// It takes so many bytes, and pauses.
    pub is_slow: Option<(usize, Duration)>,
    pub wants_own_connection: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    Never,
    After(Duration),
    AfterBytes(usize),
}

/// The way to the program.
#[derive(Clone)]
pub struct Door {
    pub proxy: Arc<Proxy>,
    pub stop: watch::Receiver<bool>,
}

impl Door {
    fn connect(&self) -> Side {
        let (ours, theirs) = connection(CLIENT_LATENCY, 4 * 1024);
        tokio::spawn(serve_connection(self.proxy.clone(), theirs, Unfinished::default(), self.stop.clone()));
        ours
    }
}

pub async fn run(door: Door, errands: Vec<Errand>) {
    let mut kept: Option<Side> = None;
    for errand in errands {
        sleep_until(errand.at).await;
        if errand.wants_own_connection {
            kept = None;
        }
        let number = world::with(|state| {
            let number = state.begin_request(errand.ask.clone());
            state.look();
            number
        });
        kept = go(&door, &errand, number, kept).await;
    }
}

/// Runs one errand; gives the connection if it can be used again.
async fn go(door: &Door, errand: &Errand, number: usize, mut kept: Option<Side>) -> Option<Side> {
    loop {
        let is_reused = kept.is_some();
        let mut side = kept.take().unwrap_or_else(|| door.connect());
        let patience = match errand.leaves {
            Leaves::After(patience) => Some(patience),
            Leaves::Never | Leaves::AfterBytes(_) => None,
        };
        let leaving = async {
            match patience {
                Some(patience) => sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            biased;
            told = talk(&mut side, errand, number) => told,
            () = leaving => None,
        };
        let Some((reply, goes_on)) = told else {
            world::with(|state| state.leave(number));
            return None;
        };
        // The program may have closed a connection that lay idle; who finds out so asks again.
        let was_seen = world::with(|state| !state.ledger.requests[number].exchanges.is_empty());
        if reply.head.is_none() && is_reused && !was_seen {
            continue;
        }
        world::with(|state| {
            state.finish(number, &reply);
            state.look();
        });
        return goes_on.then_some(side);
    }
}

fn request(errand: &Errand, number: usize) -> (String, String) {
    let (line, stream) = match errand.ask {
        Ask::Stream => ("POST /v1/messages?beta=true", true),
        Ask::Whole | Ask::ChatCheck(_) => ("POST /v1/messages", false),
        Ask::Count => ("POST /v1/messages/count_tokens", false),
        Ask::Models | Ask::ListCheck => ("GET /v1/models", false),
    };
    let body = match errand.ask {
        Ask::Models | Ask::ListCheck => String::new(),
        Ask::Stream | Ask::Whole | Ask::Count | Ask::ChatCheck(_) => format!(
            "{{\"model\":\"{}\",\"max_tokens\":9,\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"number {number}\"}}]}}",
            errand.model
        ),
    };
    let head = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nx-api-key: client-token\r\nanthropic-version: 2023-06-01\r\n\
         x-sim-request: {number}\r\nx-claude-code-session-id: session-{}\r\ncontent-length: {}\r\n\r\n",
        errand.session,
        body.len()
    );
    (head, body)
}

/// The reply, and whether the connection goes on; nothing when the client leaves.
async fn talk(side: &mut Side, errand: &Errand, number: usize) -> Option<(Reply, bool)> {
    let mut reply = Reply { head: None, body: Vec::new(), is_whole: false };
    let (head, body) = request(errand, number);
    let written = async {
        side.write_all(head.as_bytes()).await?;
        side.write_all(body.as_bytes()).await
    };
    // An error shows again when the answer is read.
    let _ = written.await;
    let mut reader = Reader { side, errand, unread: Vec::new(), taken: 0 };
    let end = loop {
        if let Some(end) = memchr::memmem::find(&reader.unread, b"\r\n\r\n") {
            break end;
        }
        match reader.more().await {
            Got::Bytes => {}
            Got::End => return Some((reply, false)),
            Got::Left => return None,
        }
    };
    let head = String::from_utf8_lossy(&reader.unread[..end]).into_owned();
    reader.unread.drain(..end + 4);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let is_chunked = header(&head, "transfer-encoding").is_some();
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    let goes_on = header(&head, "connection").is_none_or(|value| value != "close");
    reply.head = Some((status, head));
    loop {
        let is_over = match (is_chunked, length) {
            (true, _) => take_chunks(&mut reader.unread, &mut reply.body),
            (false, length) => {
                reply.body.append(&mut reader.unread);
                length.is_some_and(|length| reply.body.len() >= length)
            }
        };
        if is_over {
            reply.is_whole = true;
            return Some((reply, goes_on));
        }
        match reader.more().await {
            Got::Bytes => {}
            Got::End => return Some((reply, false)),
            Got::Left => return None,
        }
    }
}

/// Moves whole chunks into the body. Says whether the last one was there.
fn take_chunks(unread: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
    while let Some(line) = memchr::memmem::find(unread, b"\r\n") {
        let size =
            std::str::from_utf8(&unread[..line]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(size) = size else { return false };
        if unread.len() < line + 2 + size + 2 {
            return false;
        }
        body.extend_from_slice(&unread[line + 2..line + 2 + size]);
        unread.drain(..line + 2 + size + 2);
        if size == 0 {
            return true;
        }
    }
    false
}

struct Reader<'a> {
    side: &'a mut Side,
    errand: &'a Errand,
    unread: Vec<u8>,
    taken: usize,
}

enum Got {
    Bytes,
    End,
    Left,
}

impl Reader<'_> {
    async fn more(&mut self) -> Got {
        let mut bytes = [0; 4096];
        let most = match self.errand.is_slow {
            Some((bytes, pause)) => {
                sleep(pause).await;
                bytes.min(4096)
            }
            None => 4096,
        };
        match self.side.read(&mut bytes[..most]).await {
            Ok(0) | Err(_) => Got::End,
            Ok(read) => {
                self.unread.extend_from_slice(&bytes[..read]);
                self.taken += read;
                match self.errand.leaves {
                    Leaves::AfterBytes(enough) if self.taken >= enough => Got::Left,
                    Leaves::AfterBytes(_) | Leaves::Never | Leaves::After(_) => Got::Bytes,
                }
            }
        }
    }
}
