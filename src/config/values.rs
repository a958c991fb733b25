//! The text forms of durations, sizes, addresses and names.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::http::uri::Authority;

use super::error::Fault;

/// Longest duration that is accepted: deadlines in an endpoint's word reach 24 h (docs/health).
pub(super) const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest and largest accepted size, in bytes.
pub(super) const SIZE_MIN_BYTES: u64 = 1 << 10;
pub(super) const SIZE_MAX_BYTES: u64 = 1 << 30;
/// Longest name of a cluster or an endpoint: a cluster's is also its socket's file name.
pub(super) const NAME_MAX_BYTES: usize = 64;

/// `500ms`, `10s`, `5m` or `1h`, at most 24 h.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let forms = || Fault::new("must be a whole number and a unit: \"500ms\", \"10s\", \"5m\" or \"1h\"");
    let (number, unit) = number_and_unit(text).ok_or_else(forms)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        _ => return Err(forms()),
    };
    number
        .and_then(|n| n.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| Fault::new("must be at most 24h"))
}

/// `64 MiB`, `512 KiB`, `1 GiB` or plain bytes, from 1 KiB to 1 GiB; in bytes.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let forms = || Fault::new("must be a whole number and a unit: \"512 KiB\", \"64 MiB\" or \"1 GiB\"");
    let (number, unit) = number_and_unit(text).ok_or_else(forms)?;
    let unit_bytes = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(forms()),
    };
    size_in_range(number.and_then(|n| n.checked_mul(unit_bytes)))
}

/// `bytes` if it is a size that is accepted; `None` stands for a number too large to hold.
pub(super) fn size_in_range(bytes: Option<u64>) -> Result<u64, Fault> {
    bytes
        .filter(|bytes| (SIZE_MIN_BYTES..=SIZE_MAX_BYTES).contains(bytes))
        .ok_or_else(|| Fault::new("must be from 1 KiB to 1 GiB"))
}

/// Above 0 and up to 1, in millionths.
pub(super) fn fraction_millionths(number: f64) -> Result<u32, Fault> {
    // Not a number is in no range, and the range's own bounds fit.
    let millionths = (number * 1e6).round();
    if (1.0..=1e6).contains(&millionths) && number <= 1.0 {
        Ok(millionths as u32)
    } else {
        Err(Fault::new("must be above 0 and up to 1, in millionths at the finest"))
    }
}

/// The leading digits and what follows; the number is `None` when it doesn't fit.
fn number_and_unit(text: &str) -> Option<(Option<u64>, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    (digits > 0).then(|| (number.parse().ok(), unit))
}

/// `127.0.0.1:7860`, `[::1]:7860` or `localhost:7860`; other host names are refused, since what they
/// resolve to may not be the address that was meant to be opened.
pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    let localhost = text.strip_prefix("localhost:").filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    match localhost {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    }
    .ok_or_else(|| {
        Fault::new("must be an IP address and a port")
            .help("as \"127.0.0.1:7860\", \"[::1]:7860\" or \"localhost:7860\"")
    })
}

/// A host name or an IP address, in lower case, without the port and the brackets that it may have.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    let fault = || Fault::new("must be host names, as \"qcc.lan\"");
    let authority: Authority = text.parse().map_err(|_| fault())?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
    if name.is_empty() || !is_plain || text.contains('@') { Err(fault()) } else { Ok(name) }
}

/// A cluster's or an endpoint's name: 1–64 of `[A-Za-z0-9._-]`, starting with a letter or a digit.
pub(super) fn name(text: &str) -> Result<&str, Fault> {
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let all_allowed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if starts_well && all_allowed && text.len() <= NAME_MAX_BYTES {
        Ok(text)
    } else {
        Err(Fault::new("a name must be 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or a digit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_four_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in ["", "10", "s", "10 s", "1.5s", "-1s", "+1s", "10S", "1d", "1m30s", "٣s", "10s "] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["25h", "1441m", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(text), Err(Fault::new("must be at most 24h")), "{text}");
        }
    }

    #[test]
    fn fractions_lie_above_zero_and_up_to_one() {
        for (number, millionths) in [(0.5, 500_000), (1.0, 1_000_000), (0.000_001, 1), (0.333_333_3, 333_333)]
        {
            assert_eq!(fraction_millionths(number), Ok(millionths), "{number}");
        }
        let others = [0.0, -0.5, 1.000_000_1, 2.0, 1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert!(others.into_iter().all(|number| fraction_millionths(number).is_err()));
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("64MiB", 64 << 20),
            ("512 KiB", 512 << 10),
            ("1 GiB", 1 << 30),
            ("4096", 4096),
            ("4096 B", 4096),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "MiB", "64 MB", "64  MiB", "64mib", "1.5 MiB", "1023", "0", "1025 MiB", "99999999999 GiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_ip_and_port_or_localhost() {
        for (text, address_text) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:7860", "[::1]:7860"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("localhost:7860", "127.0.0.1:7860"),
        ] {
            assert_eq!(address(text), Ok(address_text.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "7860",
            ":7860",
            "127.0.0.1",
            "localhost",
            "localhost:",
            "localhost:+1",
            "host:1",
            "1.2.3.4:65536",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_safe_as_file_names() {
        for text in ["a", "7", "work", "relay-2.eu_west"] {
            assert!(name(text).is_ok(), "{text}");
        }
        for text in ["", ".", "..", ".hidden", "-x", "_x", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
