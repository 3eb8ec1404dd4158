//! How long connections live.

use std::fmt::Write;

use firewall_common::conntrack::Timeout;
use serde_json::{Map, Value, json};

use super::words::seconds as words;
use crate::{compile::SCHEMA, config::Timeouts};

/// A line each: key, length, meaning, and the default where it is another.
pub fn text(timeouts: &Timeouts) -> String {
    let mut text = String::new();
    for timeout in Timeout::ALL {
        let length = timeouts.seconds(*timeout);
        let _ = write!(text, "{:<34} {:>8}  {}", timeout.key(), words(length.into()), timeout.meaning());
        if length != timeout.default_seconds() {
            let _ = write!(text, " (by default {})", words(timeout.default_seconds().into()));
        }
        text.push('\n');
    }
    text
}

/// The same as JSON.
pub fn json(timeouts: &Timeouts) -> Value {
    json!({ "schema": SCHEMA, "timeouts": seconds(timeouts) })
}

/// Seconds by key.
pub fn seconds(timeouts: &Timeouts) -> Value {
    let all = Timeout::ALL.iter().map(|timeout| (timeout.key().to_owned(), timeouts.seconds(*timeout).into()));
    all.collect::<Map<_, _>>().into()
}

/// Those that are not the default, a phrase each.
pub fn changed(timeouts: &Timeouts) -> Vec<String> {
    let is_changed = |timeout: &&Timeout| timeouts.seconds(**timeout) != timeout.default_seconds();
    let phrase = |timeout: &Timeout| format!("{} {}", timeout.key(), words(timeouts.seconds(*timeout).into()));
    Timeout::ALL.iter().filter(is_changed).map(phrase).collect()
}
