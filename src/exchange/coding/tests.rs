use super::*;

const TEXT: &str = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
// The text as other encoders (zlib, brotli and zstd of their authors) write it.
const GZIP: &[u8] = b"\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x75\xca\x31\x0e\x80\x20\x0c\x05\xd0\xab\x90\xce\x9e\x80\
    \x9b\x38\x19\x52\x3e\x86\x41\xaa\x85\x26\x12\xc2\xdd\x8d\x83\xa3\xf3\x7b\x83\xa0\x2a\x4a\x7e\xd0\
    \x81\x5a\xc3\x0e\xf2\xb4\x8a\x39\xdc\x0c\x44\x44\xd7\xc5\xd4\xb1\xa9\xa2\x34\x77\x99\xb4\x40\x0b\
    \xb5\x7e\xbe\x31\x97\x6a\x29\x65\xce\x28\x6d\xfb\x8c\x25\xfe\xd8\x9c\x0f\xfb\xab\x52\x71\x6f\x00\
    \x00\x00";
const ZLIB: &[u8] = b"\
    \x78\x9c\x75\xca\x31\x0e\x80\x20\x0c\x05\xd0\xab\x90\xce\x9e\x80\x9b\x38\x19\x52\x3e\x86\x41\xaa\
    \x85\x26\x12\xc2\xdd\x8d\x83\xa3\xf3\x7b\x83\xa0\x2a\x4a\x7e\xd0\x81\x5a\xc3\x0e\xf2\xb4\x8a\x39\
    \xdc\x0c\x44\x44\xd7\xc5\xd4\xb1\xa9\xa2\x34\x77\x99\xb4\x40\x0b\xb5\x7e\xbe\x31\x97\x6a\x29\x65\
    \xce\x28\x6d\xfb\x8c\x25\xfe\xd8\x9c\x0f\xb9\xfb\x28\x89";
const RAW_DEFLATE: &[u8] = b"\
    \x75\xca\x31\x0e\x80\x20\x0c\x05\xd0\xab\x90\xce\x9e\x80\x9b\x38\x19\x52\x3e\x86\x41\xaa\x85\x26\
    \x12\xc2\xdd\x8d\x83\xa3\xf3\x7b\x83\xa0\x2a\x4a\x7e\xd0\x81\x5a\xc3\x0e\xf2\xb4\x8a\x39\xdc\x0c\
    \x44\x44\xd7\xc5\xd4\xb1\xa9\xa2\x34\x77\x99\xb4\x40\x0b\xb5\x7e\xbe\x31\x97\x6a\x29\x65\xce\x28\
    \x6d\xfb\x8c\x25\xfe\xd8\x9c\x0f";
const BROTLI: &[u8] = b"\
    \x1b\x6e\x00\x60\x8d\xd3\x15\xf3\x23\x84\x75\x0f\xca\x6d\xa9\x8e\xab\xcd\x24\xb2\xff\x3c\x04\x07\
    \xc2\x52\x87\xa5\xcf\x0d\x0e\x48\x32\x0e\x83\x02\x4e\x24\xb2\xd1\x87\x1d\xb0\xf5\xe2\x51\x86\xb2\
    \x18\xe0\x03\xab\x3a\xfc\xd3\x96\xe5\x10\x7f\x99\xdb\xf5\x0e\xb1\xd2\x01\x72\x68\x87\x48\x96\xfc";
const ZSTD: &[u8] = b"\
    \x28\xb5\x2f\xfd\x24\x6f\x6d\x02\x00\xc2\x04\x10\x15\xa0\xb7\x0d\x84\x5c\x44\x7a\xed\xf7\x23\xb6\
    \x94\xd2\x2c\xff\x7d\xd9\x52\xf6\xbf\x4c\xad\x19\x4d\x81\xd3\x51\xa2\x73\x5a\x25\x54\x2c\x46\x00\
    \x0b\x6b\x1b\xc7\xe9\xbb\x9d\xb7\xad\xeb\xcc\xcd\x9f\xc7\xaf\x35\x40\x82\x1f\x8a\x52\x27\x90\x11\
    \x5c\xdd\x3d\xb2\x03\x00\xa0\x0e\x3f\xff\x2b\x5b\x15\x14\x2b\x1b\x61\x7f";

const CODINGS: &[(&str, &[u8])] = &[
    ("gzip", GZIP),
    ("X-Gzip", GZIP),
    ("deflate", ZLIB),
    ("deflate", RAW_DEFLATE),
    ("br", BROTLI),
    ("zstd", ZSTD),
];

fn beginning<'a>(coding: &str, bytes: &'a [u8]) -> Beginning<'a> {
    let headers = Fields::from_iter([("content-encoding", coding)]);
    Beginning::of(bytes.into(), &headers)
}

#[test]
fn each_coding_is_decoded() {
    for (coding, bytes) in CODINGS {
        let whole = Beginning::Decoded { text: TEXT.into(), is_whole: true };
        assert_eq!(beginning(coding, bytes), whole, "{coding}");
    }
}

#[test]
fn a_body_that_is_cut_off_gives_what_there_is_and_is_never_whole() {
    for (coding, bytes) in CODINGS {
        let mut longest = 0;
        for cut in 0..bytes.len() {
            let Beginning::Decoded { text, is_whole } = beginning(coding, &bytes[..cut]) else { panic!() };
            assert!(TEXT.as_bytes().starts_with(&text), "{coding} cut at {cut}");
            assert!(!is_whole || text == TEXT.as_bytes(), "{coding} cut at {cut}");
            longest = longest.max(text.len());
        }
        assert!(*coding == "zstd" || longest > 60, "{coding} shows {longest} bytes at most");
    }
}

#[test]
fn what_is_not_encoded_is_shown_as_it_came_and_what_is_unknown_not_at_all() {
    assert_eq!(beginning("identity", b"{}"), Beginning::Plain(b"{}".into()));
    assert_eq!(Beginning::of(b"{}".into(), &Fields::default()), Beginning::Plain(b"{}".into()));
    for coding in ["snappy", "gzip, br", "gzip, gzip"] {
        assert_eq!(beginning(coding, GZIP), Beginning::Hidden, "{coding}");
    }
}

#[test]
fn a_bomb_is_decoded_no_further_than_is_looked_at() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::repeat(b'x').take(4 << 20), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    let Beginning::Decoded { text, is_whole } =
        beginning("gzip", &bomb[..bomb.len().min(INSPECTED_BYTES_MAX)])
    else {
        panic!()
    };
    assert_eq!((text.len(), is_whole), (INSPECTED_BYTES_MAX, false));
}

#[test]
fn a_zstd_window_beyond_what_decoders_must_take_is_not_set_up() {
    // A frame that asks for 64 MiB (exponent 16), RFC 8878 §3.1.1.1.2.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3][..], &[0x01, 0, 0][..]].concat();
    assert_eq!(beginning("zstd", &frame), Beginning::Decoded { text: Vec::new(), is_whole: false });
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_fail_or_grow(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        start in proptest::sample::select(CODINGS.to_vec()),
        kept in 0usize..60,
    ) {
        let (coding, good) = start;
        let damaged = [&good[..kept.min(good.len())], &bytes[..]].concat();
        assert!(beginning(coding, &damaged).text().len() <= INSPECTED_BYTES_MAX);
    }
}
