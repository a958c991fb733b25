use proptest::strategy::Strategy;

use super::*;

fn split(parts: &[&[u8]]) -> Vec<(String, String)> {
    let mut splitter = Splitter::new(8192);
    let mut events = Vec::new();
    for part in parts {
        splitter.push(part, |event| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            events.push((text(&event.name), text(&event.data)));
        });
    }
    events
}

const STREAM: &[u8] =
    b"\xef\xbb\xbf: hello\n\nevent: a\ndata: 1\n\ndata:2\r\ndata: 3\r\n\r\nevent:b\rdata:x\r\rdata: cut";

#[test]
fn lines_end_in_any_of_the_three_ways() {
    let expected = [("a", "1"), ("", "2\n3"), ("b", "x")];
    let found = split(&[STREAM]);
    assert_eq!(found, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
}

#[test]
fn where_the_bytes_are_cut_makes_no_difference() {
    let whole = split(&[STREAM]);
    for cut in 0..STREAM.len() {
        assert_eq!(split(&[&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = STREAM.chunks(1).collect();
    assert_eq!(split(&single), whole);
}

#[test]
fn a_long_line_is_cut_and_takes_no_memory() {
    let mut splitter = Splitter::new(16);
    let mut seen = Vec::new();
    splitter.push(b"data: ", |_| {});
    for _ in 0..1000 {
        splitter.push(&[b'x'; 100], |_| {});
    }
    assert!(splitter.line.capacity() <= 64);
    splitter.push(b"\n\n", |event| seen = event.data.to_vec());
    assert_eq!(seen, b"xxxxxxxxxx");
}

#[test]
fn many_short_lines_of_one_event_take_no_memory() {
    let mut splitter = Splitter::new(16);
    for _ in 0..10_000 {
        splitter.push(b"data:\ndata: x\n", |_| {});
    }
    assert!(splitter.event.data.to_mut().capacity() <= 64);
}

#[test]
fn the_type_of_an_event_is_found_beyond_what_is_kept_of_it() {
    let types = |parts: &[&[u8]]| {
        let (mut splitter, mut types) = (Splitter::new(16), Vec::new());
        for part in parts {
            splitter.push(part, |event| types.push(event.late_type.clone()));
        }
        types
    };
    let stream = b"data: {\"a\":\"a long text\",\"type\":\"b\"}\n\n\
        data: {\"a\":\ndata: {\"type\":\"x\"},\ndata: \"type\"\ndata: :\"late\"}\n\n\
        data: {\"a\":1}\n\nevent: {\"a\":\"a long text\",\"type\":\"b\"}\n\n";
    let expected = [Some(b"b".to_vec()), Some(b"late".to_vec()), None, None];
    assert_eq!(types(&[stream]), expected);
    for cut in 0..stream.len() {
        assert_eq!(types(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
    }
}

/// The same over the whole stream at once, line by line, without a limit.
fn reference(stream: &str) -> Vec<(String, String)> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut event) = (Vec::new(), None::<(String, String)>);
    // The last piece is no line: no end came after it.
    let lines: Vec<&str> = stream.split('\n').collect();
    for line in &lines[..lines.len() - 1] {
        if line.is_empty() {
            events.extend(event.take());
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event.get_or_insert_default().0 = value.to_owned(),
            "data" => {
                let data = &mut event.get_or_insert_default().1;
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
            }
            _ => {}
        }
    }
    events
}

fn line() -> impl proptest::strategy::Strategy<Value = String> {
    let pieces = [
        "data",
        "event",
        "data: ",
        "id",
        ":",
        " ",
        "x",
        "{}",
        "{\"type\":\"a\"}",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\u{feff}",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..6)
        .prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    #[test]
    fn what_is_read_in_place_is_what_copies_give(
        lines in proptest::collection::vec(line(), 0..20),
        chunks in proptest::collection::vec(1usize..40, 1..4),
        limit_bytes in proptest::sample::select(vec![0, 1, 5, 6, 8, 16, 8192]),
    ) {
        let stream = lines.concat();
        let (mut splitter, mut naive) = (Splitter::new(limit_bytes), naive::Splitter::new(limit_bytes));
        let (mut events, mut expected) = (Vec::new(), Vec::new());
        let mut rest = stream.as_bytes();
        for chunk in chunks.iter().cycle() {
            let (chunk, after) = rest.split_at((*chunk).min(rest.len()));
            splitter.push(chunk, |event| {
                events.push((event.name.to_vec(), event.data.to_vec(), event.late_type.clone()));
            });
            naive.push(chunk, |event| {
                expected.push((event.name.clone(), event.data.clone(), event.late_type.clone()));
            });
            if after.is_empty() {
                break;
            }
            rest = after;
        }
        assert_eq!(events, expected);
        assert_eq!(splitter.unfinished(), naive.unfinished());
    }

    #[test]
    fn events_are_those_that_a_look_at_the_whole_stream_finds(
        lines in proptest::collection::vec(line(), 0..12), chunk in 1usize..9,
    ) {
        let stream = lines.concat();
        let chunks: Vec<&[u8]> = stream.as_bytes().chunks(chunk).collect();
        assert_eq!(split(&chunks), reference(&stream));
    }

    #[test]
    fn any_bytes_split_alike_however_they_are_cut(
        bytes in proptest::collection::vec(proptest::sample::select(b"ab:\r\n dataevent".to_vec()), 0..80),
        cut in 0usize..80,
    ) {
        let cut = cut.min(bytes.len());
        assert_eq!(split(&[&bytes]), split(&[&bytes[..cut], &bytes[cut..]]));
    }
}
