//! A report of what differs, so that one run shows all of it.

use std::fmt::{Debug, Formatter};

use serde_json::{Value, json};

/// What differs from what was wanted, each in a line.
#[derive(Default)]
pub struct Differences(pub Vec<String>);

impl Differences {
    pub fn compare<T: PartialEq + Debug>(&mut self, what: &str, got: T, wanted: T) {
        if got != wanted {
            self.0.push(format!("{what}: {got:?}, not {wanted:?}"));
        }
    }

    /// Out of service after so many failures.
    pub fn compare_out_of_service(&mut self, after: &Value, cause: &str, method: &str, failed: u64) {
        self.compare("state at the threshold", &after["state"], &json!("unhealthy"));
        self.compare("cause at the threshold", &after["cause"], &json!(cause));
        self.compare("check_method at the threshold", &after["check_method"], &json!(method));
        self.compare("failed at the threshold", &after["requests"]["failed"], &json!(failed));
        self.compare("usable at the threshold", &after["usable"], &json!(false));
    }
}

/// Bytes of which a report shows the length and the end.
#[derive(PartialEq)]
pub struct Shown<'a>(pub &'a [u8]);

impl Debug for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let end = String::from_utf8_lossy(&self.0[self.0.len().saturating_sub(120)..]);
        write!(f, "{} bytes that end in {end:?}", self.0.len())
    }
}

/// From now to a moment in RFC 3339; none for null.
pub fn seconds_from_now(moment: &Value) -> Option<f64> {
    let moment: jiff::Timestamp = moment.as_str()?.parse().expect("RFC 3339");
    Some(moment.duration_since(jiff::Timestamp::now()).as_secs_f64())
}
