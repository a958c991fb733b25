//! Each request of the corpus over a connection of its own, whole and in pieces.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::corpus::{self, Row, Up};
use super::started;
use super::support::{Recorder, within};

/// How a request's bytes are cut up on their way.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    /// One by one; a long one in longer pieces.
    ByteByByte,
    SplitOnce,
}

impl Way {
    fn pieces<'a>(self, bytes: &'a [u8], random: &mut fastrand::Rng) -> Vec<&'a [u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::ByteByByte => bytes.chunks(if bytes.len() < 4096 { 1 } else { 1021 }).collect(),
            Self::SplitOnce => {
                let (start, end) = bytes.split_at(random.usize(1..bytes.len()));
                vec![start, end]
            }
        }
    }
}

/// Sends the pieces and reads to the end of the connection. The client closes its side only for a row that is
/// about that.
async fn answers(address: &str, pieces: &[&[u8]], is_cut_off: bool) -> Vec<u8> {
    within("the end of a connection", async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            // A server that refuses early may have closed; what it said is what counts.
            if stream.write_all(piece).await.is_err() {
                break;
            }
        }
        if is_cut_off {
            let _ = stream.shutdown().await;
        }
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers).await;
        answers
    })
    .await
}

fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let after = |(at, line): (usize, &str)| text[at + line.len()..].get(2..5)?.parse().ok();
    text.match_indices("HTTP/1.").filter_map(after).collect()
}

/// What the recorder may have got: these requests one after another, each with the one framing that the proxy
/// writes, and not a byte between them or after.
fn check_recorded(mut bytes: &[u8], expected: &[Up], host: &str) -> Result<(), String> {
    for Up { line, body } in expected {
        let whole = String::from_utf8_lossy(bytes).into_owned();
        let Some(length) = whole.find("\r\n\r\n").map(|at| at + 4) else {
            return Err(format!("no {line:?} in {whole:?}"));
        };
        let head = &whole[..length];
        let mut lines: Vec<String> = head.trim_end().split("\r\n").map(str::to_ascii_lowercase).collect();
        if lines.remove(0) != format!("{line} HTTP/1.1").to_ascii_lowercase()
            || !head.starts_with(&format!("{line} HTTP/1.1\r\n"))
        {
            return Err(format!("not {line:?}: {head:?}"));
        }
        let count = |name: &str| lines.iter().filter(|line| line.starts_with(&format!("{name}:"))).count();
        let framing = (count("host"), count("transfer-encoding"), count("content-length"));
        let is_framed = match body.is_empty() {
            true => framing == (1, 0, 0) || lines.contains(&"content-length: 0".to_owned()),
            false => framing == (1, 0, 1) && lines.contains(&format!("content-length: {}", body.len())),
        };
        if !is_framed || !lines.contains(&format!("host: {host}")) {
            return Err(format!("framed otherwise: {head:?}"));
        }
        let rest = &bytes[length..];
        if !rest.starts_with(body) {
            return Err(format!("not the body {:?}: {:?}", String::from_utf8_lossy(body), whole));
        }
        bytes = &rest[body.len()..];
    }
    match bytes {
        [] => Ok(()),
        _ => Err(format!("smuggled: {:?}", String::from_utf8_lossy(bytes))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hostile_request_is_answered_as_the_table_says_and_nothing_else_goes_up() {
    let recorder = Recorder::start();
    let qcc = started(&recorder);
    let (host, upstream) = (qcc.address(), recorder.address().to_string());
    let rows = corpus::rows(host);
    let sentinel = corpus::sentinel(host);
    let mut random = fastrand::Rng::with_seed(7);
    let mut wrong = Vec::new();
    for Row { name, sent, statuses: expected, up, is_cut_off } in &rows {
        for way in [Way::Whole, Way::ByteByByte, Way::SplitOnce] {
            let got = answers(host, &way.pieces(sent, &mut random), *is_cut_off).await;
            if statuses(&got) != *expected {
                wrong
                    .push(format!("{name} ({way:?}): {:?}, not {expected:?}", String::from_utf8_lossy(&got)));
            }
            let refusal = expected.last().is_some_and(|status| *status >= 400);
            if refusal
                && !String::from_utf8_lossy(&got).to_ascii_lowercase().contains("connection: close\r\n")
            {
                wrong.push(format!("{name} ({way:?}): the end is not announced"));
            }
            // What was smuggled would come before or with it.
            let after = answers(host, &[&sentinel.sent], false).await;
            assert_eq!(statuses(&after), [200], "{name} ({way:?})");
            let all = [&up[..], &sentinel.up].concat();
            if let Err(found) = check_recorded(&recorder.take(), &all, &upstream) {
                wrong.push(format!("{name} ({way:?}), upstream: {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} requests, each sent in 3 ways", rows.len());
}
