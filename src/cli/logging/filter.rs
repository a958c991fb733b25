//! `QCC_LOG`: which lines are written.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The crates whose lines are qcc's own.
const OWN: [&str; 2] = ["qcc", "qcc_fsm"];

/// Modules that log what peers send, word for word, at debug and below: an upstream that repeats a key would write
/// it into the log. At info they say nothing of the kind.
const REPEATING: [&str; 2] = ["h2", "hyper::proto::h2"];

/// A level for qcc's own lines. Those of its libraries are errors of theirs at most, whatever the
/// level: hyper tells of every connection.
pub fn of_qcc(level: LevelFilter) -> Targets {
    let of_others = level.min(LevelFilter::ERROR);
    OWN.into_iter().fold(Targets::new().with_default(of_others), |filter, own| filter.with_target(own, level))
}

/// Reads `LEVEL`, `MODULE=LEVEL` or several of them with commas between. Stricter than tracing's own
/// reading, in which a misspelled level is the name of a module.
pub fn parse(text: &str) -> Result<Targets, String> {
    let mut own = LevelFilter::WARN;
    let mut modules = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None => own = level(part)?,
            Some((module, word)) => modules.push(of_module(module.trim(), level(word.trim())?)?),
        }
    }
    // Named with their parents they stay where they are; of two entries the more particular one counts.
    let capped = REPEATING.map(|module| {
        let parent =
            modules.iter().filter(|(named, _)| is_within(module, named)).max_by_key(|(named, _)| named.len());
        let level = parent.map_or(own.min(LevelFilter::ERROR), |(_, level)| *level);
        (module.to_owned(), level.min(LevelFilter::INFO))
    });
    let all = modules.into_iter().chain(capped);
    Ok(all.fold(of_qcc(own), |filter, (module, level)| filter.with_target(module, level)))
}

fn of_module(name: &str, level: LevelFilter) -> Result<(String, LevelFilter), String> {
    let module = module_path(name)?;
    match REPEATING.iter().any(|repeating| is_within(&module, repeating)) && level > LevelFilter::INFO {
        true => Err(format!("`{module}` logs what upstreams send, keys too; info is its finest level")),
        false => Ok((module, level)),
    }
}

/// Whether a module is another one, or below it.
fn is_within(module: &str, other: &str) -> bool {
    module.strip_prefix(other).is_some_and(|below| below.is_empty() || below.starts_with("::"))
}

fn level(word: &str) -> Result<LevelFilter, String> {
    // Numbers would be understood as well, in an order that nobody knows by heart.
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphabetic());
    word.parse().ok().filter(|_| is_word && !word.is_empty()).ok_or_else(|| format!("`{word}` is no level"))
}

fn module_path(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
    match text.bytes().all(is_plain) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no module")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_level_is_about_qcc_and_not_about_its_libraries() {
        let filter = parse("debug").unwrap();
        assert!(filter.would_enable("qcc::prober", &Level::DEBUG));
        assert!(!filter.would_enable("qcc::prober", &Level::TRACE));
        assert!(!filter.would_enable("hyper::proto", &Level::WARN));
        assert!(filter.would_enable("hyper::proto", &Level::ERROR));
        assert!(!parse("off").unwrap().would_enable("hyper::proto", &Level::ERROR));
    }

    #[test]
    fn modules_are_asked_for_by_name() {
        let filter = parse("info, hyper=debug,qcc::proxy=TRACE").unwrap();
        assert!(filter.would_enable("hyper::proto", &Level::DEBUG));
        assert!(filter.would_enable("qcc::proxy::listen", &Level::TRACE));
        assert!(!filter.would_enable("qcc::prober", &Level::DEBUG));
    }

    #[test]
    fn what_repeats_the_words_of_peers_is_never_logged_closely() {
        let filter = parse("trace,hyper=trace,h2=info").unwrap();
        assert!(filter.would_enable("hyper::proto::h1::conn", &Level::TRACE));
        assert!(filter.would_enable("h2::codec", &Level::INFO));
        for module in ["h2", "h2::codec::framed_read", "hyper::proto::h2::client"] {
            assert!(!filter.would_enable(module, &Level::DEBUG), "{module}");
        }
        assert!(filter.would_enable("h2o", &Level::ERROR) && parse("h2o=trace").is_ok());
        for text in ["h2=debug", "h2::codec=trace", "hyper::proto::h2=debug"] {
            assert!(parse(text).unwrap_err().contains("info is its finest level"), "{text}");
        }
        assert!(!parse("off").unwrap().would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn a_misspelled_level_is_an_error() {
        for text in ["inof", "3", "info,hyper=loud", "=debug", "qcc[span]=debug", "info;debug", "debug="] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
