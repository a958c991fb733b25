//! A key or a token in memory.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::Fault;

/// Longest accepted secret: what common servers take as one header line.
pub(super) const SECRET_MAX_BYTES: usize = 8 * 1024;

/// A key or a token: printable ASCII without spaces, so that it can be the value of a header.
///
/// It has no `Display` and no `Serialize`, its `Debug` shows nothing of it, and its memory is wiped
/// when the last clone is dropped: clones share one copy.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// # Errors
    /// The text is empty, longer than 8 KiB, or holds anything but printable ASCII; the error doesn't
    /// repeat it.
    pub(super) fn new(text: &str) -> Result<Secret, Fault> {
        if text.is_empty() {
            return Err(Fault::new("the key is empty"));
        }
        if text.len() > SECRET_MAX_BYTES {
            return Err(Fault::new("the key is longer than 8 KiB"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Fault::new("the key holds a space or another character that no key has")
                .help("give the bare key: no `Bearer` before it, no line break in it"));
        }
        Ok(Secret(Arc::new(Zeroizing::new(text.to_owned()))))
    }

    /// The text itself: for the one function that writes a request's head, and for nothing that
    /// writes anywhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Compares digests of fixed length, so that the time taken tells neither how many leading bytes are the
    /// same nor how long the secrets are.
    fn eq(&self, other: &Secret) -> bool {
        sha256(&[self.0.as_bytes()]).ct_eq(&sha256(&[other.0.as_bytes()])).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The digest of the parts one after another. The hasher holds the last of them, so it is never moved, which would
/// leave a copy behind, and is wiped where it stands.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize_reset().into()
}

/// Names an endpoint wherever its key must not appear: the first 8 hex digits of SHA-256 of
/// `base_url|api_key`, the address as the file has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u32);

impl EndpointId {
    pub(super) fn new(base_url: &str, api_key: &Secret) -> EndpointId {
        let [a, b, c, d, ..] = sha256(&[base_url.as_bytes(), b"|", api_key.expose().as_bytes()]);
        EndpointId(u32::from_be_bytes([a, b, c, d]))
    }

    /// The same as a number; every bit of it is even, as those of a hash are.
    pub fn to_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while `Secret` has none of the traits: with one, two candidates would fit.
    macro_rules! assert_lacks {
        ($($lacking:path),*) => {$({
            trait Candidate<Which> {
                fn fits() {}
            }
            impl<T: ?Sized> Candidate<u8> for T {}
            impl<T: ?Sized + $lacking> Candidate<u16> for T {}
            <Secret as Candidate<_>>::fits();
        })*};
    }

    #[test]
    fn no_trait_gives_a_secret_away() {
        assert_lacks!(
            fmt::Display,
            fmt::LowerHex,
            ToString,
            serde::Serialize,
            std::ops::Deref,
            AsRef<str>,
            AsRef<[u8]>,
            std::borrow::Borrow<str>,
            Into<String>,
            std::hash::Hash,
            PartialOrd,
            Copy
        );
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = Secret::new("sk-canary").unwrap();
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
    }

    #[test]
    fn secrets_are_the_same_only_as_a_whole() {
        let secret = Secret::new("key-1").unwrap();
        assert_eq!(secret, Secret::new("key-1").unwrap());
        for other in ["k", "key-", "key-10", "KEY-1"] {
            assert_ne!(secret, Secret::new(other).unwrap());
        }
    }

    #[test]
    fn what_is_no_header_value_is_no_secret_and_is_not_repeated() {
        for text in
            ["", "sk canary", "canary\n", "\u{7f}canary", "canary\0", "Bearer sk-canary", "canärycanary"]
        {
            let fault = Secret::new(text).unwrap_err().to_string();
            assert!(!fault.contains("can"), "{fault}");
        }
        assert!(Secret::new(&"k".repeat(SECRET_MAX_BYTES)).is_ok());
        assert!(Secret::new(&"k".repeat(SECRET_MAX_BYTES + 1)).is_err());
    }

    /// `printf '%s' 'https://api.anthropic.com|sk-test-0001' | sha256sum | cut -c 1-8`, and a second
    /// one whose digest begins with a zero, which must be shown.
    #[test]
    fn an_endpoint_id_is_what_sha256sum_says() {
        for (base_url, key, id) in [
            ("https://api.anthropic.com", "sk-test-0001", "d56faae9"),
            ("https://api.anthropic.com", "sk-test-14", "0a5dd0ea"),
        ] {
            assert_eq!(EndpointId::new(base_url, &Secret::new(key).unwrap()).to_string(), id);
        }
    }
}
