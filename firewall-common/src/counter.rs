//! Counters: one of each, for each CPU, added up by whoever reads them.

use crate::verdict::REASONS;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes: of frames in an interface's counters, from the network header on in a rule's, as nftables counts.
    pub bytes: u64,
}

impl Counter {
    /// Adds a packet of so many bytes.
    #[inline(always)]
    pub fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

/// What came in by an interface and what left by it, each packet counted exactly once: under [`PASSED`],
/// [`REDIRECTED`] or the number of its drop reason.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InterfaceCounters {
    /// Received packets.
    pub ingress: [Counter; REASONS],
    /// Sent packets.
    pub egress: [Counter; REASONS],
}

impl InterfaceCounters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        ingress: [Counter { packets: 0, bytes: 0 }; REASONS],
        egress: [Counter { packets: 0, bytes: 0 }; REASONS],
    };

    /// Adds what another CPU counted.
    pub fn add_up(&mut self, other: &Self) {
        let Self { ingress, egress } = other;
        for (total, one) in self.ingress.iter_mut().zip(ingress).chain(self.egress.iter_mut().zip(egress)) {
            total.packets += one.packets;
            total.bytes += one.bytes;
        }
    }
}

/// What happened to the state table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowStats {
    /// Connections entered.
    pub entered: u64,
    /// Connections not entered for want of room: their packets were dropped.
    pub refused: u64,
    /// Embryonic connections put out for others.
    pub evicted_embryonic: u64,
    /// Answered connections put out for others: those that were over, and others as `when_full = "evict-lru"` has it.
    pub evicted_answered: u64,
    /// Connections entered at the second try: another CPU took the first place at the same instant.
    pub retried: u64,
    /// Connections forgotten at a reset that nobody had answered.
    pub forgotten: u64,
    /// Later fragments that came before their first one.
    pub fragments_early: u64,
    /// Must be zero.
    pub reserved: u64,
}

impl FlowStats {
    /// Adds what another CPU counted.
    pub fn add_up(&mut self, other: &Self) {
        let Self {
            entered,
            refused,
            evicted_embryonic,
            evicted_answered,
            retried,
            forgotten,
            fragments_early,
            reserved: _,
        } = *other;
        self.entered += entered;
        self.refused += refused;
        self.evicted_embryonic += evicted_embryonic;
        self.evicted_answered += evicted_answered;
        self.retried += retried;
        self.forgotten += forgotten;
        self.fragments_early += fragments_early;
    }
}

/// Index of the packets that were not dropped: that of [`crate::verdict::Reason::None`].
pub const PASSED: usize = 0;

/// Index of the packets that took the fast path ([`crate::fast`]): of those that came in by an interface, and of those that left by it
/// without the program at its egress. No reason to drop has this number.
pub const REDIRECTED: usize = 98;

crate::shared!(Counter = 16, FlowStats = 64, InterfaceCounters = 2 * 16 * REASONS);

#[cfg(test)]
mod tests;
