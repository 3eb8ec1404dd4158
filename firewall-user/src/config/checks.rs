//! `[checks]`: packets that are dropped although the parser can read them.

use firewall_common::checks::{CHECKSUMS, IP_CHECKSUM, LAND, MARTIANS, OWN_ADDRESSES, SOURCE_ROUTE, TCP_FLAGS};
use serde::{Deserialize, Serialize};

use super::attach::is_named;

/// The section `[checks]`. All of it is off by default: the kernel would let such packets pass, or might.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Sources that are addresses of this host.
    pub own_addresses: bool,
    /// Interfaces whose packets come with finished checksums, which are looked at; a name that ends in `*` stands for all that
    /// begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<String>,
}

impl Checks {
    fn all(&self) -> [(&'static str, bool, u32); 7] {
        let Self { tcp_flags, land, source_route, martians, ip_checksum, own_addresses, checksums } = self;
        [
            ("tcp_flags", *tcp_flags, TCP_FLAGS),
            ("land", *land, LAND),
            ("source_route", *source_route, SOURCE_ROUTE),
            ("martians", *martians, MARTIANS),
            ("ip_checksum", *ip_checksum, IP_CHECKSUM),
            ("own_addresses", *own_addresses, OWN_ADDRESSES),
            ("checksums", !checksums.is_empty(), CHECKSUMS),
        ]
    }

    /// Those that are on, as the program has them.
    pub fn bits(&self) -> u32 {
        self.all().iter().filter(|(_, is_on, _)| *is_on).map(|(_, _, bit)| bit).sum()
    }

    /// Those that are on, by key.
    pub fn names(&self) -> Vec<&'static str> {
        self.all().iter().filter(|(_, is_on, _)| *is_on).map(|(name, ..)| *name).collect()
    }

    /// Are the checksums of packets looked at that come in by this interface?
    pub fn wants_checksums(&self, interface: &str) -> bool {
        self.checksums.iter().any(|name| is_named(name, interface))
    }
}
