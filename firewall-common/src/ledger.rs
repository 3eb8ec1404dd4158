//! The drop ledger: who was dropped lately, and why; kept whether or not anybody listens.
//!
//! Sets of four places, one set array a CPU, so that a drop costs one cache line or two and no helper is called. Within
//! a set the source that was silent longest gives way. A flood from forged sources turns the ledger over; it never
//! grows and never slows the flood's packets down more than that.

use crate::{
    packet::{Field, Packet},
    verdict::Verdict,
};

/// Sets of a CPU; a power of two.
pub const SETS: u32 = 1024;
/// Places in a set.
pub const PLACES: usize = 4;

/// What is known of the drops of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Dropped {
    /// Its address, as in [`Field::SourceAddress`]; of IPv4, the other words are 0.
    pub source: [u32; 4],
    /// The first drop, `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub first_ns: u64,
    /// The last one; 0 in a place that is free.
    pub last_ns: u64,
    /// How many.
    pub packets: u64,
    /// Network family, [`Field::NfProto`].
    pub nfproto: u32,
    /// The last one's reason, [`crate::verdict::Reason`].
    pub reason: u32,
    /// The rule or policy that dropped the last one.
    pub rule: u32,
    /// The generation of that rule.
    pub generation: u32,
    /// Where the last one wanted to go: port word, with its protocol.
    pub destination_port: u32,
    /// The interface of the last one.
    pub ifindex: u32,
}

/// A set of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DroppedSet {
    /// The places.
    pub places: [Dropped; PLACES],
}

crate::shared!(Dropped = 64, DroppedSet = 256);

/// The source of a packet, as the ledger has it; `None` for what has no address.
#[inline(always)]
pub fn source(packet: &Packet) -> Option<[u32; 4]> {
    let at = |index| packet.get_at(Field::SourceAddress, index);
    match packet.get(Field::NfProto) {
        0 => None,
        crate::packet::NFPROTO_IPV4 => Some([at(0), 0, 0, 0]),
        _ => Some([at(0), at(1), at(2), at(3)]),
    }
}

/// The set of a source.
#[inline(always)]
pub const fn set(source: &[u32; 4]) -> u32 {
    let mixed = source[0] ^ source[1].rotate_left(7) ^ source[2].rotate_left(13) ^ source[3].rotate_left(19);
    (mixed.wrapping_mul(0x9e37_79b1) >> 16) & (SETS - 1)
}

impl DroppedSet {
    /// The place for a source: its own, else a free one, else that of the source that was silent longest.
    #[inline(always)]
    pub fn place(&self, source: &[u32; 4]) -> usize {
        let mut oldest = 0;
        let mut age = u64::MAX;
        for (at, dropped) in self.places.iter().enumerate() {
            if dropped.last_ns != 0 && dropped.source == *source {
                return at;
            }
            if dropped.last_ns < age {
                age = dropped.last_ns;
                oldest = at;
            }
        }
        oldest
    }
}

/// Which rule of which generation dropped a packet, and when.
#[derive(Clone, Copy, Debug)]
pub struct By {
    /// `CLOCK_MONOTONIC`, ns.
    pub now_ns: u64,
    /// The rule or policy.
    pub rule: u32,
    /// The generation.
    pub generation: u32,
    /// Index of the interface it was at.
    pub ifindex: u32,
}

impl Dropped {
    /// Adds a drop: to what is known of its source, or in the place of another one.
    #[inline(always)]
    pub fn note(&mut self, source: &[u32; 4], packet: &Packet, verdict: Verdict, by: By) {
        if self.last_ns == 0 || self.source != *source {
            self.source = *source;
            self.first_ns = by.now_ns;
            self.packets = 0;
            self.nfproto = packet.get(Field::NfProto);
        }
        self.last_ns = by.now_ns;
        self.packets += 1;
        self.reason = verdict.number();
        self.rule = by.rule;
        self.generation = by.generation;
        self.destination_port = packet.get(Field::DestinationPort);
        self.ifindex = by.ifindex;
    }

    /// What two CPUs know of one source, together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let later = if other.last_ns > self.last_ns { other } else { self };
        Self {
            first_ns: self.first_ns.min(other.first_ns),
            packets: self.packets.saturating_add(other.packets),
            ..later
        }
    }
}

#[cfg(test)]
mod tests;
