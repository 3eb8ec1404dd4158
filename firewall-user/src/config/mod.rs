//! Settings that are no rules: `/etc/rampart/rampart.toml`.
//!
//! But for the agent's, they take effect with the next `apply`, become constants of its generation, and are kept in its manifest: `status`
//! shows what is in force, whatever the file says by now. docs/SETTINGS.md has every key.

mod agent;
mod attach;
mod balance;
mod checks;
mod conntrack;
mod flood;
mod forwarding;
mod sets;

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

pub use agent::{Agent, Chosen};
pub use attach::Attach;
pub use balance::{Backend, Balance, Balances, Kind};
pub use checks::Checks;
pub use conntrack::{Conntrack, Timeouts, WhenFull};
pub use flood::SynFlood;
pub use forwarding::{FastPath, Forwarding};
pub use sets::{Sets, WhenFull as WhenSetFull};

use crate::language::{
    Diagnostic, Diagnostics,
    source::{self, ReadError, Span},
};

/// Where the settings are when no file is named.
pub const DEFAULT_CONFIG: &str = "/etc/rampart/rampart.toml";

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How connections are tracked.
    pub conntrack: Conntrack,
    /// What is wrong with packets.
    pub checks: Checks,
    /// How interfaces are attached.
    pub attach: Attach,
    /// When cookies are sent unasked.
    pub syn_flood: SynFlood,
    /// Packets on their way through.
    pub forwarding: Forwarding,
    /// Named sets.
    pub sets: Sets,
    /// What the agent does: no part of a ruleset, and not kept with one.
    #[serde(skip_serializing)]
    pub agent: Agent,
    /// Maps whose values `rampart agent` writes.
    #[serde(skip_serializing_if = "Balances::is_empty")]
    pub balance: Balances,
}

/// Reads the settings. Without a name they are those of [`DEFAULT_CONFIG`], or the defaults when there is no such file;
/// a file that was named must be there.
pub fn read(file: Option<&Path>) -> Result<Config, Diagnostics> {
    let path = file.unwrap_or(Path::new(DEFAULT_CONFIG));
    match source::read(path) {
        Ok(text) => parse(&path.display().to_string(), text),
        Err(ReadError::Missing(_)) if file.is_none() => Ok(Config::default()),
        Err(ReadError::Io { error, .. }) if file.is_none() && error.kind() == io::ErrorKind::NotADirectory => {
            Ok(Config::default())
        }
        Err(error) => Err(Diagnostics::unread(error.to_string().replace("ruleset file", "settings file"))),
    }
}

/// Reads settings from a text; `name` stands for it in messages.
pub fn parse(name: &str, text: String) -> Result<Config, Diagnostics> {
    toml::from_str(&text).map_err(|error| {
        let mut diagnostics = Diagnostics::default();
        let at = error.span().unwrap_or(0..0);
        let message = error.message().to_owned();
        let source = diagnostics.sources.add(name.to_owned(), text, None);
        diagnostics.push(Diagnostic::error(Span { source, start: at.start as u32, end: at.end as u32 }, message));
        diagnostics
    })
}

#[cfg(test)]
mod tests;
