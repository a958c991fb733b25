//! HTTP/1 from a client: where the network cuts a connection's bytes changes nothing of the requests that are
//! read, nor of where they stop.

use qcc::proxy::{Framing, Head, Refusal};

/// The first byte says in which pieces the rest comes.
pub fn run(bytes: &[u8]) {
    let Some((&piece, sent)) = bytes.split_first() else { return };
    let whole = read(sent, sent.len().max(1));
    for piece in [1, usize::from(piece) + 1] {
        assert_eq!(read(sent, piece), whole, "in pieces of {piece}");
    }
}

/// The requests, each with what came of its body, and where they stopped.
fn read(sent: &[u8], piece: usize) -> (Vec<(String, Vec<u8>)>, Option<Stop>) {
    let mut reader = Reader::default();
    for piece in sent.chunks(piece) {
        reader.unread.extend_from_slice(piece);
        if let Err(stop) = reader.read_on() {
            return (reader.requests, Some(stop));
        }
    }
    (reader.requests, None)
}

#[derive(Default)]
struct Reader {
    unread: Vec<u8>,
    head: Head,
    /// Of the last request, as long as its body is not over.
    body: Framing,
    /// The head as it is shown, and the body.
    requests: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Head(Refusal),
    Body,
}

impl Reader {
    fn read_on(&mut self) -> Result<(), Stop> {
        loop {
            while let Some((_, body)) = self.requests.last_mut().filter(|_| !self.body.is_over()) {
                if self.unread.is_empty() {
                    return Ok(());
                }
                let taken = self.body.take(&self.unread, body).map_err(|_| Stop::Body)?;
                assert!(taken > 0, "it would go on for ever");
                self.unread.drain(..taken);
            }
            let Some((length, body)) = self.head.read(&self.unread).map_err(Stop::Head)? else {
                return Ok(());
            };
            let bytes = self.unread.drain(..length).collect();
            let request = std::mem::take(&mut self.head).into_request(bytes).map_err(Stop::Head)?;
            self.requests.push((format!("{request:?}"), Vec::new()));
            self.body = body;
        }
    }
}
