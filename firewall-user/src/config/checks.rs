//! `[checks]`: packets that are dropped although the parser can read them.

use firewall_common::checks::{IP_CHECKSUM, LAND, MARTIANS, SOURCE_ROUTE, TCP_FLAGS};
use serde::{Deserialize, Serialize};

/// The section `[checks]`. All of it is off by default: the kernel would let such packets pass, or might.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// TCP flags that no segment has.
    pub tcp_flags: bool,
    /// Packets from where they go to.
    pub land: bool,
    /// Options that say by which routers a packet goes.
    pub source_route: bool,
    /// Addresses that no packet on a wire has.
    pub martians: bool,
    /// Wrong checksums of IPv4 headers.
    pub ip_checksum: bool,
}

impl Checks {
    fn all(self) -> [(&'static str, bool, u32); 5] {
        let Self { tcp_flags, land, source_route, martians, ip_checksum } = self;
        [
            ("tcp_flags", tcp_flags, TCP_FLAGS),
            ("land", land, LAND),
            ("source_route", source_route, SOURCE_ROUTE),
            ("martians", martians, MARTIANS),
            ("ip_checksum", ip_checksum, IP_CHECKSUM),
        ]
    }

    /// Those that are on, as the program has them.
    pub fn bits(self) -> u32 {
        self.all().iter().filter(|(_, is_on, _)| *is_on).map(|(_, _, bit)| bit).sum()
    }

    /// Those that are on, by key.
    pub fn names(self) -> Vec<&'static str> {
        self.all().iter().filter(|(_, is_on, _)| *is_on).map(|(name, ..)| *name).collect()
    }
}
