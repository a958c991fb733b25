//! The names under which an endpoint knows the models that clients ask for.

use super::error::Fault;
use super::glob::ModelGlob;

/// Longest name that a model is given; real ones are far shorter.
const NAME_MAX_BYTES: usize = 256;

/// Patterns for clients' names, each with the endpoint's own name. Of several patterns that match, the
/// most particular one counts: the one with the most characters beside stars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelMap(Vec<(ModelGlob, String)>);

impl ModelMap {
    /// # Errors
    /// A name is empty, longer than 256 bytes, or holds control characters.
    pub(super) fn new(entries: impl IntoIterator<Item = (ModelGlob, String)>) -> Result<Self, Fault> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        let well_formed =
            |name: &str| !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.contains(char::is_control);
        if !entries.iter().all(|(_, name)| well_formed(name)) {
            return Err(Fault::new("must map to names of 1 to 256 bytes without control characters"));
        }
        entries.sort_by_key(|(glob, _)| std::cmp::Reverse((glob.characters_min(), glob.as_str().to_owned())));
        Ok(Self(entries))
    }

    /// Whether no name is ever changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The endpoint's name for a model; none where it is the client's.
    pub fn name_of(&self, model: &str) -> Option<&str> {
        self.0.iter().find(|(glob, _)| glob.matches(model)).map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ModelMap {
        let entry = |(glob, name): &(&str, &str)| (ModelGlob::new(glob).unwrap(), (*name).to_owned());
        ModelMap::new(entries.iter().map(entry)).unwrap()
    }

    #[test]
    fn the_most_particular_pattern_counts() {
        let map =
            map(&[("*", "any"), ("claude-*", "claude"), ("claude-opus-*", "opus"), ("claude-?", "one")]);
        for (model, name) in
            [("claude-opus-4", "opus"), ("claude-haiku", "claude"), ("gpt-5", "any"), ("claude-x", "one")]
        {
            assert_eq!(map.name_of(model), Some(name), "{model}");
        }
        assert_eq!(ModelMap::default().name_of("claude-opus-4"), None);
    }
}
