//! How the end of an answer is told, whatever its body does.

use std::str;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Version};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, duplex};

use super::super::answer::{After, Asked, Delivery};
use super::super::inbound::Inbound;
use crate::answer::Answer;
use crate::chunked::ChunkedBody;
use crate::proxy::held::Begun;
use crate::proxy::outgoing::OutgoingBody;
use crate::proxy::prefix::Prefix;
use crate::proxy::relay::Relay;

/// What the client reads, whether it was delivered, and what becomes of the connection.
struct Delivered {
    head: String,
    body: Vec<u8>,
    is_whole: bool,
    after: After,
}

/// How a body ends that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Cut,
}

use End::{Clean, Cut};

fn asking(method: Method, version: Version) -> Asked {
    Asked { version, is_head: method == Method::HEAD, is_kept: true }
}

/// An answer of this status and, where it says one, length.
async fn delivered(
    asked: Asked,
    (status, said): (u16, Option<&str>),
    pieces: &[&[u8]],
    end: End,
) -> Delivered {
    let mut prefix = Prefix::default();
    pieces.iter().for_each(|piece| prefix.push(Bytes::copy_from_slice(piece)));
    let begun = Begun { prefix, rest: None, is_cut: end == Cut, document: None };
    let relay = Relay::new(begun, None, Duration::from_secs(1));
    let mut answer = Answer::new(OutgoingBody::Relay(Box::new(relay)));
    answer.status = status.try_into().unwrap();
    if let Some(said) = said {
        answer.fields.push("content-length", said);
    }
    let answer = Delivery::new(answer, &asked);
    let after = answer.after;
    // Less than an answer, so that it is written bit by bit.
    let (server, mut client) = duplex(100);
    let delivering = async {
        let mut inbound = Inbound::new(b"", server);
        answer.deliver(&mut inbound).await.is_ok()
    };
    let mut read = Vec::new();
    let (is_whole, length) = tokio::join!(delivering, client.read_to_end(&mut read));
    length.unwrap();
    let head_length = memchr::memmem::find(&read, b"\r\n\r\n").unwrap() + 4;
    let body = read.split_off(head_length);
    Delivered { head: String::from_utf8(read).unwrap(), body, is_whole, after }
}

#[tokio::test]
async fn an_answer_is_as_long_as_it_says_or_is_not_whole() {
    for (said, pieces, end, body, is_whole) in [
        ("5", &["hello"][..], Clean, "hello", true),
        ("5", &["he", "", "llo"], Clean, "hello", true),
        ("0", &[], Clean, "", true),
        ("5", &["hell"], Clean, "hell", false),
        ("5", &[], Clean, "", false),
        ("5", &["he", "ll"], Cut, "hell", false),
        ("5", &["hello", "!"], Clean, "hello", false),
        ("5", &["hello!"], Clean, "", false),
        ("0", &["!"], Clean, "", false),
    ] {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        for version in [Version::HTTP_11, Version::HTTP_10] {
            let read = delivered(asking(Method::GET, version), (200, Some(said)), &pieces, end).await;
            let about = format!("{said} {pieces:?} {end:?}: {}", read.head);
            assert!(read.head.contains(&format!("content-length: {said}\r\n")), "{about}");
            assert!(!read.head.contains("chunked"), "{about}");
            assert_eq!((str::from_utf8(&read.body), read.is_whole), (Ok(body), is_whole), "{about}");
        }
    }
}

#[tokio::test]
async fn of_an_answer_that_is_longer_than_it_says_nothing_comes_after_what_did_not_fit() {
    // More than the network holds, so that the end is looked for again.
    let (first, second, third) = ([b'a'; 200], [b'b'; 200], [b'c'; 100]);
    let pieces = [&first[..], &second, &third];
    let read = delivered(asking(Method::GET, Version::HTTP_11), (200, Some("300")), &pieces, Clean).await;
    assert_eq!((read.body, read.is_whole), (first.to_vec(), false));
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_sent_in_chunks_and_to_http_1_0_to_the_connections_end() {
    for (pieces, end, chunks, body) in [
        (&["hello"][..], Clean, "5\r\nhello\r\n0\r\n\r\n", "hello"),
        (&["he", "", "llo"], Clean, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        (&[], Clean, "0\r\n\r\n", ""),
        (&["he", "llo"], Cut, "2\r\nhe\r\n3\r\nllo\r\n", "hello"),
        (&[], Cut, "", ""),
    ] {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        for said in [None, Some("+5"), Some("5, 5")] {
            let chunked = delivered(asking(Method::GET, Version::HTTP_11), (200, said), &pieces, end).await;
            let until_close =
                delivered(asking(Method::GET, Version::HTTP_10), (200, said), &pieces, end).await;
            assert!(chunked.head.contains("transfer-encoding: chunked\r\n"), "{}", chunked.head);
            assert!(!until_close.head.contains("transfer-encoding"), "{}", until_close.head);
            assert_eq!((chunked.after, until_close.after), (After::Keep, After::Close));
            for (read, body) in [(chunked, chunks), (until_close, body)] {
                assert!(!read.head.contains("content-length"), "{}", read.head);
                assert_eq!(str::from_utf8(&read.body), Ok(body), "{pieces:?} {end:?}");
                assert_eq!(read.is_whole, end == Clean, "{pieces:?} {end:?}");
            }
        }
    }
}

#[tokio::test]
async fn where_there_is_no_body_nothing_comes_after_the_head_whatever_the_upstream_sends() {
    for (method, status, said, shown) in [
        (Method::HEAD, 200, Some("5"), Some("5")),
        (Method::HEAD, 200, None, None),
        (Method::HEAD, 404, Some("0"), Some("0")),
        (Method::GET, 304, Some("5"), Some("5")),
        (Method::GET, 304, None, None),
        (Method::GET, 204, Some("5"), None),
        (Method::HEAD, 204, Some("5"), None),
    ] {
        for pieces in [&[][..], &[&b"hello"[..]]] {
            for (version, closing) in
                [(Version::HTTP_11, ""), (Version::HTTP_10, "connection: keep-alive\r\n")]
            {
                let read = delivered(asking(method.clone(), version), (status, said), pieces, Clean).await;
                let length = shown.map_or(String::new(), |shown| format!("content-length: {shown}\r\n"));
                assert!(
                    read.head.ends_with(&format!("\r\n{length}{closing}\r\n")),
                    "{said:?}: {}",
                    read.head
                );
                assert!(!read.head.contains("chunked"), "{}", read.head);
                assert_eq!((read.body.len(), read.is_whole, read.after), (0, true, After::Keep));
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_sent_in_chunks_or_by_its_length_is_read_as_it_was(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (whole, pieces) = (pieces.concat(), pieces.iter().map(|piece| &piece[..]).collect::<Vec<_>>());
        let length = whole.len().to_string();
        let get = |said| delivered(asking(Method::GET, Version::HTTP_11), (200, said), &pieces, Clean);
        let (chunked, by_length) = runtime.block_on(async { (get(None).await, get(Some(&length)).await) });
        prop_assert!(chunked.is_whole && by_length.is_whole);
        let (mut chunks, mut data) = (ChunkedBody::default(), Vec::new());
        prop_assert_eq!(chunks.take(&chunked.body, &mut data), Ok(chunked.body.len()));
        prop_assert!(chunks.is_over() && data == whole && by_length.body == whole);
    }
}
