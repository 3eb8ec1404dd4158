//! What a packet met on its way: noted only by programs that were loaded to explain.
//!
//! The programs of a generation in force have [`Explain::Off`] as a load-time constant, and the verifier takes every
//! note of them away: not being watched costs nothing.

use crate::{
    image::Hook,
    packet::{Field, NO_L4, Packet, WORDS},
    verdict::Reason,
};

/// What the load-time constant `EXPLAIN` says a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Explain {
    /// A generation like any other: nothing is noted.
    Off = 0,
    /// A shadow: it answers about packets that nobody sent, with private copies of all that changes. What would act
    /// beyond the packet itself must not.
    Shadow = 1,
    /// A twin of the generation in force, in its place while somebody watches: it works on the live state.
    Twin = 2,
}

/// Steps that are kept; of a longer way, the last ones. A power of two.
pub const STEPS: usize = 512;
/// Buckets of the state table that are kept; of more, the last ones. A power of two.
pub const BUCKETS: usize = 16;
/// Bytes of the frame that are kept.
pub const SNAP: usize = 1536;

/// A step that is no place in the image: the packet came to the hook whose number is in the lower bits.
pub const AT_HOOK: u32 = 0xff00_0000;

/// A step that is no place in the image: the packet took the fast path.
pub const AT_FAST: u32 = AT_HOOK | 0xff;

/// A step that is no place in the image: the rule in the lower bits decided without an instruction of its own, as a tree
/// has it. With [`AT_POLICY`], it was the policy of the chain of that number.
pub const AT_RULE: u32 = 0xfe00_0000;
/// See [`AT_RULE`].
pub const AT_POLICY: u32 = 0x0080_0000;

/// The way of one packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Trail {
    /// When, `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub time_ns: u64,
    /// Slot word of the packet's connection, if one was known.
    pub slot: u64,
    /// Records that this CPU did not send: over the rate, or no room.
    pub lost: u64,
    /// The tick that `spent` counts for.
    pub tick: u32,
    /// Records sent in it.
    pub spent: u32,
    /// Is the packet one of those asked for? 0 or 1.
    pub active: u32,
    /// 0: it came in, 1: it was about to leave.
    pub path: u32,
    /// What became of it: number of the [`Reason`], 0 for passed.
    pub verdict: u32,
    /// The rule or policy that decided last, as in [`crate::image::Insn::rule`].
    pub rule: u32,
    /// The last hook it came to, [`Hook`].
    pub hook: u32,
    /// The generation that judged it.
    pub generation: u32,
    /// The interface's place in the maps.
    pub interface: u32,
    /// Bucket its connection was found in.
    pub bucket: u32,
    /// Place within the bucket, from 1; 0: no connection was known.
    pub place: u32,
    /// State of the connection it would begin, 0 for none.
    pub pending: u32,
    /// How many buckets were looked at.
    pub bucket_count: u32,
    /// How many steps were made.
    pub step_count: u32,
    /// How many of `bytes` are the frame's.
    pub captured: u32,
    /// Must be zero.
    pub reserved: u32,
    /// The buckets.
    pub buckets: [u32; BUCKETS],
    /// The packet as the rules saw it.
    pub packet: Packet,
    /// Must be zero.
    pub reserved2: u32,
    /// The frame, as it came.
    pub bytes: [u8; SNAP],
    /// Where it stood in the image, one after the other: [`crate::image::Target`] as numbers, and [`AT_HOOK`].
    pub steps: [u32; STEPS],
}

/// Size of a record without its steps.
pub const TRAIL_HEAD: usize = core::mem::offset_of!(Trail, steps);

crate::shared!(Trail = 88 + 4 * BUCKETS + 304 + SNAP + 4 * STEPS, TrailFilter = 120);

/// [`TrailFilter::flags`]: the steps are wanted.
pub const WANTS_STEPS: u32 = 1;
/// [`TrailFilter::flags`]: the bytes of the frame are wanted.
pub const WANTS_BYTES: u32 = 2;
/// [`TrailFilter::flags`]: only packets that are dropped.
pub const ONLY_DROPPED: u32 = 4;
/// [`TrailFilter::flags`]: only packets that pass.
pub const ONLY_PASSED: u32 = 8;
/// [`TrailFilter::flags`]: packets of the other direction too.
pub const BOTH_WAYS: u32 = 16;
/// Set in [`TrailFilter::protocol`] and the ports when they are asked for.
pub const ASKED: u32 = 0x0100_0000;

/// Which packets are noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrailFilter {
    /// Nothing is noted from this tick on; 0: no end.
    pub until: u32,
    /// [`WANTS_STEPS`] and the like.
    pub flags: u32,
    /// Records a CPU may send in a tick.
    pub per_tick: u32,
    /// Bytes of the frame that are wanted.
    pub snap: u32,
    /// Network family, 0 for any.
    pub nfproto: u32,
    /// Upper-layer protocol with [`ASKED`], or 0.
    pub protocol: u32,
    /// Source port with [`ASKED`], or 0.
    pub source_port: u32,
    /// Destination port with [`ASKED`], or 0.
    pub destination_port: u32,
    /// Interface index, 0 for any.
    pub ifindex: u32,
    /// Must be zero.
    pub reserved: u32,
    /// A word of the packet, by its place, that tells most packets apart from those asked for, and the one in its place in the
    /// other direction: see [`TrailFilter::aimed`].
    pub early: [u32; 2],
    /// What it must be.
    pub early_value: u32,
    /// Which of its bits are asked for; 0 when no word tells.
    pub early_mask: u32,
    /// Source address, as in [`Field::SourceAddress`].
    pub source: [u32; 4],
    /// Which of its bits are asked for.
    pub source_mask: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Which of its bits are asked for.
    pub destination_mask: [u32; 4],
}

impl TrailFilter {
    /// May the packet be one of those asked for? A compare or two, for the many that are not.
    #[inline(always)]
    pub fn may_match(&self, packet: &Packet) -> bool {
        let differs = |at: u32| (packet.words[at as usize & (WORDS - 1)] ^ self.early_value) & self.early_mask != 0;
        !differs(self.early[0]) || !differs(self.early[1])
    }

    /// With the word chosen by which packets are told apart first.
    #[must_use]
    pub fn aimed(mut self) -> Self {
        let both = self.flags & BOTH_WAYS != 0;
        let aim = |there: Field, back: Field, more: u32, value: u32, mask: u32| {
            let back = if both { back } else { there };
            ([there as u32 + more, back as u32 + more], value, mask)
        };
        // The last word of an address says most: of an IPv4 address there is but the first.
        let word = |mask: &[u32; 4]| (0..4).rev().find(|at| mask[*at as usize] != 0);
        let (early, value, mask) = if self.destination_port != 0 {
            aim(Field::DestinationPort, Field::SourcePort, 0, self.destination_port & 0xffff, 0xffff)
        } else if self.source_port != 0 {
            aim(Field::SourcePort, Field::DestinationPort, 0, self.source_port & 0xffff, 0xffff)
        } else if let Some(at) = word(&self.source_mask) {
            let (value, mask) = (self.source[at as usize], self.source_mask[at as usize]);
            aim(Field::SourceAddress, Field::DestinationAddress, at, value, mask)
        } else if let Some(at) = word(&self.destination_mask) {
            let (value, mask) = (self.destination[at as usize], self.destination_mask[at as usize]);
            aim(Field::DestinationAddress, Field::SourceAddress, at, value, mask)
        } else if self.protocol != 0 {
            aim(Field::L4Proto, Field::L4Proto, 0, self.protocol & 0xff, 0xff)
        } else {
            ([0; 2], 0, 0)
        };
        (self.early, self.early_value, self.early_mask) = (early, value, mask);
        self
    }

    /// Is the packet, as parsed, one of those asked for?
    #[inline(always)]
    pub fn matches(&self, packet: &Packet) -> bool {
        self.is_of_kind(packet)
            && (self.is_one_way(packet, Field::SourceAddress, Field::DestinationAddress)
                || (self.flags & BOTH_WAYS != 0
                    && self.is_one_way(packet, Field::DestinationAddress, Field::SourceAddress)))
    }

    /// Does its outcome fit? `verdict` is the number of the [`Reason`].
    #[inline(always)]
    pub const fn wants(&self, verdict: u32) -> bool {
        if verdict == Reason::None as u32 { self.flags & ONLY_DROPPED == 0 } else { self.flags & ONLY_PASSED == 0 }
    }

    #[inline(always)]
    fn is_of_kind(&self, packet: &Packet) -> bool {
        let protocol = packet.get(Field::L4Proto) | ASKED;
        let ifindex = packet.get(Field::IifIndex) | packet.get(Field::OifIndex);
        (self.nfproto == 0 || self.nfproto == packet.get(Field::NfProto))
            && (self.protocol == 0 || (self.protocol == protocol && packet.get(Field::NfProto) != 0))
            && (self.ifindex == 0 || self.ifindex == ifindex)
    }

    #[inline(always)]
    fn is_one_way(&self, packet: &Packet, from: Field, to: Field) -> bool {
        let is_source = matches!(from, Field::SourceAddress);
        let (sport, dport) = (packet.get(Field::SourcePort), packet.get(Field::DestinationPort));
        let (first, second) = if is_source { (sport, dport) } else { (dport, sport) };
        is_port(self.source_port, first)
            && is_port(self.destination_port, second)
            && is_address(packet, from, &self.source, &self.source_mask)
            && is_address(packet, to, &self.destination, &self.destination_mask)
    }
}

#[inline(always)]
const fn is_port(asked: u32, word: u32) -> bool {
    asked == 0 || (word & NO_L4 != NO_L4 && asked == (word & 0xffff) | ASKED)
}

#[inline(always)]
fn is_address(packet: &Packet, field: Field, wanted: &[u32; 4], mask: &[u32; 4]) -> bool {
    let at = |index: usize| (packet.get_at(field, index) ^ wanted[index]) & mask[index];
    at(0) | at(1) | at(2) | at(3) == 0
}

impl Trail {
    /// The steps that were kept, in order, and whether earlier ones are missing.
    pub fn kept_steps(&self) -> (impl Iterator<Item = u32>, bool) {
        let count = self.step_count as usize;
        let first = count.saturating_sub(STEPS);
        ((first..count).map(|at| self.steps[at & (STEPS - 1)]), first > 0)
    }

    /// The buckets that were looked at.
    pub fn kept_buckets(&self) -> impl Iterator<Item = u32> {
        let count = (self.bucket_count as usize).min(BUCKETS);
        self.buckets.into_iter().take(count)
    }

    /// The last hook it came to.
    pub fn last_hook(&self) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| *hook as u32 == self.hook)
    }

    /// A trail of nothing.
    pub const EMPTY: Self = Self {
        time_ns: 0,
        slot: 0,
        lost: 0,
        tick: 0,
        spent: 0,
        active: 0,
        path: 0,
        verdict: 0,
        rule: 0,
        hook: 0,
        generation: 0,
        interface: 0,
        bucket: 0,
        place: 0,
        pending: 0,
        bucket_count: 0,
        step_count: 0,
        captured: 0,
        reserved: 0,
        buckets: [0; BUCKETS],
        packet: Packet::EMPTY,
        reserved2: 0,
        bytes: [0; SNAP],
        steps: [0; STEPS],
    };
}

#[cfg(test)]
mod tests;
