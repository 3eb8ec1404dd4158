//! Arguments of `ban`, `unban`.

use std::time::Duration;

use clap::Args;

use super::values::{self, Prefix};

/// Arguments of `ban`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  rampart ban 203.0.113.9 --for 1h --reason \"ssh\"
  rampart ban 2001:db8:bad::/48
  rampart bans
  rampart unban 203.0.113.9")]
pub struct BanArgs {
    /// Addresses or prefixes
    #[arg(value_name = "ADDRESS", required = true, value_parser = values::network)]
    pub sources: Vec<Prefix>,
    /// Lift the ban by itself after this time (90s, 10m, 1h, 7d); without it, or with -1, it stays until `unban` or `stop`
    #[arg(long = "for", value_name = "DURATION", value_parser = time, allow_hyphen_values = true)]
    pub time: Option<Time>,
    /// Why, in at most 32 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    pub reason: String,
    /// Also what is an address of this host, of loopback, or where this session comes from
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `unban`.
#[derive(Debug, Args)]
pub struct Unban {
    /// Addresses or prefixes, as they were banned
    #[arg(value_name = "ADDRESS", required_unless_present = "all", value_parser = values::network)]
    pub sources: Vec<Prefix>,
    /// All bans
    #[arg(long, conflicts_with = "sources")]
    pub all: bool,
    /// Only bans with this reason
    #[arg(long, value_name = "TEXT", requires = "all")]
    pub reason: Option<String>,
    /// It is no error if something is not banned: bans end by themselves
    #[arg(long)]
    pub ignore_missing: bool,
}

/// For how long; none: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Option<Duration>);

/// Longer than a ban is meant to be known of.
const LONGEST: u64 = 10 * 365 * 86_400;

fn time(text: &str) -> Result<Time, String> {
    // What fail2ban says for a ban without an end.
    if text == "-1" {
        return Ok(Time(None));
    }
    match values::seconds(text) {
        Some(seconds @ 1..=LONGEST) => Ok(Time(Some(Duration::from_secs(seconds)))),
        Some(_) => Err(format!("`{text}` is no time for a ban; from one second to ten years are")),
        None => Err(format!("`{text}` is no duration; 60s, 5m, 1m30s and 1h are")),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > firewall_common::guard::REASON_BYTES {
        return Err(format!("`{text}` is longer than {} bytes", firewall_common::guard::REASON_BYTES));
    }
    if text.chars().any(char::is_control) {
        return Err("a reason is one line of text".to_owned());
    }
    Ok(text.to_owned())
}
