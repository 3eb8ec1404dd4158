//! Verdict tables: rules, packets, what becomes of each; run by the loaded program in the kernel.

mod support;

#[path = "verdict/addresses.rs"]
mod addresses;
#[path = "verdict/arp.rs"]
mod arp;
#[path = "verdict/bans.rs"]
mod bans;
#[path = "verdict/chains.rs"]
mod chains;
#[path = "verdict/checks.rs"]
mod checks;
#[path = "verdict/counters.rs"]
mod counters;
#[path = "verdict/dynamic_sets.rs"]
mod dynamic_sets;
#[path = "verdict/edits.rs"]
mod edits;
#[path = "verdict/events.rs"]
mod events;
#[path = "verdict/extensions.rs"]
mod extensions;
#[path = "verdict/hooks.rs"]
mod hooks;
#[path = "verdict/limits.rs"]
mod limits;
#[path = "verdict/link.rs"]
mod link;
#[path = "verdict/malformed.rs"]
mod malformed;
#[path = "verdict/matches.rs"]
mod matches;
#[path = "verdict/named_sets.rs"]
mod named_sets;
#[path = "verdict/readings.rs"]
mod readings;
#[path = "verdict/truncation.rs"]
mod truncation;
#[path = "verdict/values.rs"]
mod values;

/// Only ssh, both ways.
const ONLY_SSH: &str = "table inet filter {
    chain input { type filter hook input priority filter; policy drop; tcp dport 22 accept; }
    chain output { type filter hook output priority filter; policy drop; tcp dport 22 accept; }
}";

/// Everything, both ways.
const EVERYTHING: &str = "table inet filter {
    chain input { type filter hook input priority filter; policy accept; }
    chain output { type filter hook output priority filter; policy accept; }
}";
