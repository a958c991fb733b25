//! What an upstream answers: a head, a body in one piece or in chunks, gates between, and an end.

use serde_json::Value;

use super::gate::Gate;
use super::http::chunk;

/// How an answer ends on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As HTTP says, the connection stays open.
    Clean,
    /// The connection is closed without the rest.
    Fin,
    /// The connection is reset.
    Reset,
    /// Nothing more comes and nothing is closed, until the peer goes away.
    Stall,
}

/// One thing an upstream does on the wire.
#[derive(Clone)]
pub enum Step {
    Bytes(Vec<u8>),
    Wait(Gate),
    End(End),
}

pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    before_head: Vec<Gate>,
    body: Body,
    end: End,
    /// Body bytes after which the answer ends in its `end`.
    cut_at: Option<usize>,
    head_is_sent: bool,
}

enum Body {
    Whole(Vec<u8>),
    Chunks(Vec<Part>),
    /// Everything after the gates before the head, the head included.
    Wire(Vec<Step>),
}

enum Part {
    Chunk(Vec<u8>),
    Wait(Gate),
}

impl Answer {
    /// An answer without a body, `content-length: 0`.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            before_head: Vec::new(),
            body: Body::Whole(Vec::new()),
            end: End::Clean,
            cut_at: None,
            head_is_sent: true,
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status).header("content-type", "application/json").body(body.to_string())
    }

    /// An answer in chunks, one an event, as event streams come.
    pub fn events<T: AsRef<[u8]>>(events: impl IntoIterator<Item = T>) -> Self {
        let answer =
            Self::new(200).header("content-type", "text/event-stream").header("cache-control", "no-cache");
        events.into_iter().fold(answer.chunked(), |answer, event| answer.chunk(event.as_ref()))
    }

    /// No byte of an answer.
    pub fn nothing(end: End) -> Self {
        Self { head_is_sent: false, end, ..Self::new(200) }
    }

    /// Exactly these bytes, head included, for what the other forms can't say: a body that ends with its
    /// connection, header values that are no text, a head without its body. It ends with the last step.
    pub fn wire(steps: impl Into<Vec<Step>>) -> Self {
        Self { body: Body::Wire(steps.into()), ..Self::new(200) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    pub fn chunked(mut self) -> Self {
        self.body = Body::Chunks(Vec::new());
        self
    }

    pub fn chunk(self, data: impl Into<Vec<u8>>) -> Self {
        self.part(Part::Chunk(data.into()))
    }

    /// What comes after in the body waits at `gate`.
    pub fn wait(self, gate: &Gate) -> Self {
        self.part(Part::Wait(gate.clone()))
    }

    /// The whole answer, head included, waits at `gate`.
    pub fn after(mut self, gate: &Gate) -> Self {
        self.before_head.push(gate.clone());
        self
    }

    /// Ends like that after everything before the terminating chunk.
    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Announces the whole body, sends `bytes` of it and ends like that.
    pub fn cut_at(mut self, bytes: usize, end: End) -> Self {
        self.cut_at = Some(bytes);
        self.end = end;
        self
    }

    fn part(mut self, part: Part) -> Self {
        match &mut self.body {
            Body::Chunks(parts) => parts.push(part),
            Body::Whole(_) | Body::Wire(_) => {
                panic!("only a chunked answer has parts: call chunked() first")
            }
        }
        self
    }

    pub fn into_steps(self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.before_head.iter().cloned().map(Step::Wait).collect();
        if let Body::Wire(wire) = self.body {
            steps.extend(wire);
            return steps;
        }
        if self.head_is_sent {
            steps.push(Step::Bytes(self.head()));
            match self.body {
                Body::Whole(body) => {
                    let length = self.cut_at.unwrap_or(body.len());
                    steps.push(Step::Bytes(body[..length].to_vec()));
                }
                Body::Chunks(parts) => steps.extend(chunk_steps(parts, self.cut_at, self.end)),
                Body::Wire(_) => {}
            }
        }
        steps.push(Step::End(self.end));
        steps
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            Body::Whole(body) => head.push_str(&format!("content-length: {}\r\n\r\n", body.len())),
            Body::Chunks(_) => head.push_str("transfer-encoding: chunked\r\n\r\n"),
            Body::Wire(_) => {}
        }
        head.into_bytes()
    }
}

fn chunk_steps(parts: Vec<Part>, cut_at: Option<usize>, end: End) -> Vec<Step> {
    let mut left = cut_at.unwrap_or(usize::MAX);
    let mut steps = Vec::new();
    for part in parts {
        match part {
            Part::Wait(gate) => steps.push(Step::Wait(gate)),
            Part::Chunk(data) => {
                let taken = data.len().min(left);
                left -= taken;
                if taken > 0 {
                    steps.push(Step::Bytes(chunk(&data[..taken])));
                }
                if left == 0 {
                    return steps;
                }
            }
        }
    }
    if end == End::Clean {
        steps.push(Step::Bytes(b"0\r\n\r\n".to_vec()));
    }
    steps
}
