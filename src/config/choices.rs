//! Settings that are one word out of a few.

/// An enum whose variants the file spells as given here; the spelling is a contract.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order in which the documentation lists them.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the file, in the status document and in log lines.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Choice for $name {
            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

/// A setting that is one word out of a few.
pub(super) trait Choice: Sized {
    fn from_word(word: &str) -> Option<Self>;
}

choices! {
    /// What an endpoint speaks.
    Protocol {
        Anthropic = "anthropic",
        OpenAi = "openai",
    }
    /// What an endpoint charges for; decides whether checks and repeats are affordable.
    Billing {
        PerToken = "per-token",
        PerRequest = "per-request",
    }
    /// The headers in which an endpoint gets its key.
    AuthForm {
        /// `x-api-key` and `Authorization: Bearer` at once.
        Both = "both",
        XApiKey = "x-api-key",
        Bearer = "bearer",
    }
    /// Whether a request that an endpoint may already have worked on is sent to another one.
    RetryAmbiguous {
        Never = "never",
        /// Only where the endpoint that failed charges by the token.
        PerToken = "per-token",
        Always = "always",
    }
}
