//! The tokens that clients present, each with a name.

use std::fmt;
use std::sync::Arc;

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::secret::{Secret, sha256};

/// A token that a client may present. It is known by its name, and of the token itself only the SHA-256
/// digest is kept: what was fetched is wiped as soon as the digest is made.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientToken {
    name: Arc<str>,
    digest: [u8; 32],
}

impl ClientToken {
    pub(super) fn new(name: &str, token: &Secret) -> Self {
        Self { name: name.into(), digest: sha256(&[token.expose().as_bytes()]) }
    }

    pub(super) fn is_same_token(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// What it is called in the status, in metrics and in logs.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl fmt::Debug for ClientToken {
    /// The name alone: a short token could be found from its digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientToken({})", self.name)
    }
}

/// The one of `tokens` that is `presented`. Digests of fixed length are compared, each of them and to their
/// end, so that the time taken tells neither how much of a guess is right, nor how long a token is, nor which
/// one it is.
pub(super) fn find<'t>(tokens: &'t [ClientToken], presented: &[u8]) -> Option<&'t ClientToken> {
    let presented = sha256(&[presented]);
    // Counted from 1; zero is none.
    let mut place = 0u64;
    for (token, number) in tokens.iter().zip(1u64..) {
        place.conditional_assign(&number, token.digest.ct_eq(&presented));
    }
    tokens.get(usize::try_from(place.checked_sub(1)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(all: &[(&str, &str)]) -> Vec<ClientToken> {
        all.iter().map(|(name, token)| ClientToken::new(name, &Secret::new(token).unwrap())).collect()
    }

    #[test]
    fn only_the_whole_token_is_known_and_by_its_own_name() {
        let tokens = tokens(&[("a", "token-1"), ("b", "token-10"), ("c", "other")]);
        for (presented, name) in [("token-1", "a"), ("token-10", "b"), ("other", "c")] {
            assert_eq!(find(&tokens, presented.as_bytes()).map(|token| &**token.name()), Some(name));
        }
        for presented in ["", "t", "token-", "token-100", "TOKEN-1", " token-1", "token-1\n", "a"] {
            assert_eq!(find(&tokens, presented.as_bytes()), None, "{presented:?}");
        }
        assert_eq!(find(&[], b""), None);
    }

    #[test]
    fn debug_shows_the_name_and_nothing_of_the_token() {
        let token = &tokens(&[("ci", "canary")])[0];
        assert_eq!(format!("{token:?}"), "ClientToken(ci)");
    }
}
