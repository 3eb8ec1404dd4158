//! Which generation is in force, and until when.

use crate::flow::Secret;

/// The one value of the control map: read by the entry programs for every packet, written by user space under the
/// instance's lock.
///
/// Each change that matters is a change of one byte, so it does not depend on how the kernel copies a map value: a new
/// generation is written into the slot that is not in use, its deadline with it, and then `active` flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// [`crate::abi::ABI_VERSION`] of whoever made the instance.
    pub abi: u32,
    /// The slot in force: 0 or 1.
    pub active: u32,
    /// Number of the generation in each slot; 0 for an empty one.
    pub generation: [u32; 2],
    /// 1 while the generation in the slot waits for confirmation.
    pub unconfirmed: [u32; 2],
    /// When an unconfirmed generation hands back to the other slot, `CLOCK_MONOTONIC` nanoseconds.
    pub deadline_ns: [u64; 2],
    /// What the state table's hashes depend on.
    pub secret: Secret,
}

crate::shared!(Control = 80);

/// Slots for generations: the one in force and the one before or after it.
pub const SLOTS: u32 = 2;

impl Control {
    /// The slot that packets take at `now_ns`: an unconfirmed generation past its deadline has lost its place.
    #[inline(always)]
    pub fn slot(&self, now_ns: impl FnOnce() -> u64) -> u32 {
        let active = self.active & 1;
        let at = active as usize;
        if self.unconfirmed[at] != 0 && now_ns() > self.deadline_ns[at] { active ^ 1 } else { active }
    }
}

#[cfg(test)]
mod tests;
