//! What the programs of a generation read when they run, and do not have as constants: so programs that were loaded once
//! can serve one ruleset after another.

use crate::image::{PARTS, Target};

/// The one value of the map `START`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Start {
    /// First instruction of each part, [`crate::image::Settings::entry`].
    pub entry: [Target; PARTS],
    /// Number of the generation.
    pub generation: u32,
    /// Instructions of the ruleset; the map may have room for more.
    pub insns: u32,
    /// Must be zero.
    pub reserved: u32,
    /// A hash of the object and of all constants that the programs were loaded with.
    pub constants: u64,
    /// The constant that is left out of it, since it is measured: what is added to the nanoseconds of all timer ticks.
    pub jiffies_offset: u64,
    /// When the ruleset was put there, seconds since 1970.
    pub since: u64,
}

crate::shared!(Start = 104);
