//! Model names with `*` and `?`.

use std::fmt;

use super::error::Fault;

/// Longest pattern; model names are far shorter.
const PATTERN_MAX_BYTES: usize = 256;

/// A pattern for names of models: `*` stands for any text, `?` for any one character, and everything
/// else for itself, case included.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelGlob(String);

impl ModelGlob {
    /// # Errors
    /// The pattern is empty, longer than 256 bytes, or holds control characters.
    pub(super) fn new(pattern: &str) -> Result<ModelGlob, Fault> {
        let well_formed = !pattern.is_empty() && !pattern.contains(char::is_control);
        if well_formed && pattern.len() <= PATTERN_MAX_BYTES {
            Ok(ModelGlob(pattern.to_owned()))
        } else {
            Err(Fault::new("must be 1 to 256 bytes without control characters").help("such as \"claude-*\""))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many characters of a name it settles at least: all of its own but the stars.
    pub(super) fn characters_min(&self) -> usize {
        self.0.chars().filter(|&c| c != '*').count()
    }

    /// Whether the pattern stands for the whole of `model`.
    ///
    /// Only the latest `*` is ever widened, since an earlier one could gain nothing by it: at most
    /// pattern × text steps, where a recursive matcher takes exponentially many.
    pub fn matches(&self, model: &str) -> bool {
        let (mut pattern, mut text) = (self.0.chars(), model.chars());
        let mut latest_star = None;
        loop {
            let here = text.clone();
            match (pattern.next(), text.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    latest_star = Some((pattern.clone(), here.clone()));
                    text = here;
                    continue;
                }
                (Some('?'), Some(_)) => continue,
                (Some(wanted), Some(found)) if wanted == found => continue,
                _ => {}
            }
            let Some((after_star, taken_to)) = &mut latest_star else { return false };
            if taken_to.next().is_none() {
                return false;
            }
            (pattern, text) = (after_star.clone(), taken_to.clone());
        }
    }
}

impl fmt::Debug for ModelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelGlob({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        ModelGlob::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        for (pattern, text) in [
            ("claude-*", "claude-opus-4"),
            ("claude-*", "claude-"),
            ("*", ""),
            ("*", "anything"),
            ("gpt-?", "gpt-5"),
            ("gpt-?", "gpt-ü"),
            ("*-mini", "gpt-5-mini-mini"),
            ("a*b*c", "a-b-b-c-c"),
            ("**x", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("claude-*", "Claude-opus"),
            ("claude", "claude-opus"),
            ("gpt-?", "gpt-"),
            ("gpt-?", "gpt-55"),
            ("a*b", "ac"),
            ("?", ""),
            ("[a]", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(100) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }

    /// The obvious recursive matcher.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            (['?', p @ ..], [_, t @ ..]) => naive(p, t),
            ([a, p @ ..], [b, t @ ..]) => a == b && naive(p, t),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_recursive_matcher(pattern in "[ab*?]{1,8}", text in "[abc]{0,8}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }
    }
}
