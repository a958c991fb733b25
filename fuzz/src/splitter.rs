//! The splitter of event streams beside a naive one that has the whole stream at once.

use qcc::exchange::Splitter;

/// The first byte says in which pieces the rest comes.
pub fn run(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let pieces = || stream.chunks(usize::from(piece) + 1);
    let limit_bytes = stream.len() + 1;
    assert_eq!(split(limit_bytes, pieces()), naive(stream), "in pieces of {}", usize::from(piece) + 1);
    // With a limit the events are as many, each as it is or cut off.
    for limit_bytes in [1, 16, 64] {
        let (cut, whole) = (split(limit_bytes, pieces()), split(limit_bytes, [stream]));
        assert_eq!(cut, whole, "with {limit_bytes} bytes kept");
        assert!(cut.iter().all(|(name, data)| name.len() <= limit_bytes && data.len() <= limit_bytes));
    }
}

type Fields = (Vec<u8>, Vec<u8>);

fn split<'a>(limit_bytes: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Fields> {
    let (mut splitter, mut events) = (Splitter::new(limit_bytes), Vec::new());
    for piece in pieces {
        splitter.push(piece, |event| events.push((event.name.to_vec(), event.data.to_vec())));
    }
    events
}

/// WHATWG HTML §9.2.6, but that an event without data counts, and that empty data add no line.
fn naive(stream: &[u8]) -> Vec<Fields> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut events, mut event) = (Vec::new(), None::<Fields>);
    for line in lines(stream) {
        if line.is_empty() {
            events.extend(event.take());
            continue;
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if name == b"event" {
            event.get_or_insert_default().0 = value.to_vec();
        } else if name == b"data" {
            let data = &mut event.get_or_insert_default().1;
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(value);
        }
    }
    events
}

/// The lines that have come to their end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < stream.len() {
        let end = at;
        at += 1;
        match stream[end] {
            b'\r' if stream.get(at) == Some(&b'\n') => at += 1,
            b'\r' | b'\n' => {}
            _ => continue,
        }
        lines.push(&stream[start..end]);
        start = at;
    }
    lines
}
