//! The watch over a streamed answer: where the network cuts it changes nothing of what it means.

use qcc::exchange::{Call, ErrorText, Progress, StreamWatch};

const CALLS: [Call; 5] =
    [Call::Messages, Call::ChatCompletions, Call::Completions, Call::Responses, Call::Embeddings];

/// The first byte is the call, the second says in which pieces the rest comes.
pub fn run(bytes: &[u8]) {
    let [call, piece, stream @ ..] = bytes else { return };
    let call = CALLS[usize::from(*call) % CALLS.len()];
    let whole = meaning(call, [stream]);
    assert_eq!(meaning(call, stream.chunks(usize::from(*piece) + 1)), whole, "{call:?}");
}

/// Whether content came, the first error, and whether the end of the bytes is the end of the answer.
fn meaning<'a>(call: Call, pieces: impl IntoIterator<Item = &'a [u8]>) -> (bool, Option<ErrorText>, bool) {
    let (mut watch, mut error) = (StreamWatch::new(call), None);
    for piece in pieces {
        let had_content = watch.has_content();
        let progress = watch.push(piece);
        assert!(watch.has_content() || !had_content, "content that was taken back");
        match progress {
            Progress::Waiting => assert!(!watch.has_content()),
            Progress::Content => assert!(watch.has_content()),
            Progress::Error(text) => error = error.or(Some(text)),
        }
    }
    (watch.has_content(), error, watch.ends_here())
}
