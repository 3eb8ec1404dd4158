//! `[sets]`: named sets.

use std::num::NonZeroU32;

use firewall_common::conntrack::EVICT_ELEMENTS;
use serde::{Deserialize, Serialize};

/// The section `[sets]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sets {
    /// What becomes of an element that a rule would add to a set which is full.
    pub when_full: WhenFull,
    /// Memory that named sets may take together, in MiB; without it, a share of the machine's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_mib: Option<NonZeroU32>,
}

/// The share of the machine's memory that sets may take together.
const SHARE: u64 = 4;

/// What becomes of an element that a rule would add to a set which is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is not added, and the rule ends, as with nft.
    #[default]
    Refuse,
    /// It takes the place of one that was not used for long.
    EvictOldest,
}

impl Sets {
    /// The ways, as the program has them beside those of connections.
    pub fn ways(self) -> u32 {
        if self.when_full == WhenFull::EvictOldest { EVICT_ELEMENTS } else { 0 }
    }

    /// What they may take together, in bytes, on a machine of so much memory.
    pub fn most(self, memory: u64) -> u64 {
        self.max_mib.map_or(memory / SHARE, |mib| u64::from(mib.get()) << 20)
    }
}
