//! Exit codes; scripts rely on them.

use std::fmt::Display;
use std::process::ExitCode;

use crate::config::ConfigError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; of `status` and `check`: every endpoint is usable.
    Done,
    /// Tried and failed.
    Failed,
    /// The arguments or the configuration are wrong.
    Usage,
    /// Some endpoint is not usable.
    Degraded,
    /// No endpoint is usable.
    Down,
    /// No proxy runs.
    NoProxy,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Degraded => 3,
            Self::Down => 4,
            Self::NoProxy => 5,
        }
    }

    /// What `status` and `check` end with when `usable` of `all` endpoints are.
    pub const fn of_usable(usable: usize, all: usize) -> Self {
        if usable == 0 {
            Self::Down
        } else if usable < all {
            Self::Degraded
        } else {
            Self::Done
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not be carried out: what failed, and what to try.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn failed(message: impl Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    pub fn usage(message: impl Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Degraded, Exit::Down, Exit::NoProxy];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn usable_endpoints_decide_between_done_degraded_and_down() {
        for (usable, all, exit) in
            [(2, 2, Exit::Done), (1, 2, Exit::Degraded), (0, 2, Exit::Down), (0, 0, Exit::Down)]
        {
            assert_eq!(Exit::of_usable(usable, all), exit, "{usable} of {all}");
        }
    }
}
