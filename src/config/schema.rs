//! What a table of keys consists of; the tables themselves are in `keys.rs`.

/// A table of the file and the keys that it may have.
#[derive(Debug)]
pub(super) struct Group {
    /// As the file spells the table.
    pub header: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
}

#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub form: Form,
    pub default: Fallback,
    pub doc: &'static str,
}

/// What a value looks like, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Address,
    LoopbackAddress,
    Count {
        min: u32,
        max: u32,
    },
    /// More than zero.
    Duration,
    DurationOrZero,
    Size,
    /// More than zero, up to one.
    Fraction,
    Flag,
    Name,
    Text,
    Url,
    ProxyUrl,
    Path,
    Secret,
    Secrets,
    Globs,
    GlobMap,
    Hosts,
    Choice(&'static [&'static str]),
    Table,
    Tables,
    Words,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// There is none: the key must be there.
    Required,
    /// Nothing is set, which means what the text says.
    Unset(&'static str),
    /// A value, as the file would have it.
    Toml(&'static str),
}

impl Form {
    /// Completes "must be …".
    pub fn describe(self) -> String {
        match self {
            Self::Address => "an address as \"127.0.0.1:7860\"".into(),
            Self::LoopbackAddress => "a loopback address as \"127.0.0.1:7861\"".into(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration => "a duration as \"10s\", from 1ms to 24h".into(),
            Self::DurationOrZero => "a duration as \"10s\", from 0s to 24h".into(),
            Self::Size => "a size as \"64 MiB\", from 1 KiB to 1 GiB".into(),
            Self::Fraction => "a fraction above 0 and up to 1, as 0.5".into(),
            Self::Flag => "true or false".into(),
            Self::Name => "a name: 1 to 64 of A-Z a-z 0-9 . _ -".into(),
            Self::Text => "a text".into(),
            Self::Url => "an address as \"https://host/path\"".into(),
            Self::ProxyUrl => "an address as \"http://proxy.lan:3128\"".into(),
            Self::Path => "the path of a file".into(),
            Self::Secret => "a secret: \"…\" or { env = … }, { file = … }, { command = … }".into(),
            Self::Secrets => "a list of secrets".into(),
            Self::Globs => "a list of patterns as [\"claude-*\"]".into(),
            Self::GlobMap => "a table from patterns to names as { \"claude-*\" = \"relay/claude\" }".into(),
            Self::Hosts => "a list of host names as [\"qcc.lan\"]".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Table => "a table".into(),
            Self::Tables => "a list of tables".into(),
            Self::Words => "a list of words as [\"pass\", \"show\", \"relay\"]".into(),
        }
    }
}

impl Group {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().map(|key| key.name)
    }
}
