//! Which rules a packet can match at all, found in a number of steps that does not grow with the number of rules.
//!
//! A [`Root`] has up to [`TREES`] decision trees for packets of one family at one hook. A tree's [`Node`] asks for
//! one word of the packet and has eight branches; where it ends, a leaf lists the rules that are possible there, in
//! order. An entry of a leaf ([`Narrow`], [`Wide`]) has the rule's addresses, ports and two more words, all of which are
//! compared, so an entry that matches is a rule that matches, as far as these words go; what else the rule asks, or
//! does, is done by its instructions, to which the entry points. A rule that asks nothing else and only gives a verdict
//! has the verdict in the entry.
//!
//! **Order.** A rule's number is the index of its first instruction. Rules are numbered in the order in which a packet can
//! meet them: every way from one rule to another leads forward. A rule that did not give a verdict names the number from
//! which to go on ([`crate::image::Target::next`]); the next rule is the one with the least number, not below that, of all
//! entries that match, in any tree. So counters, logs and jumps happen as if all rules had been run one by one.
//!
//! **Jumps.** A chain that is jumped to stands behind the rule with the jump, and its rules' entries also have the words of
//! that rule. They can match only where the entry of the jump does, and that comes first: if the rest of its rule does not
//! hold, it goes on behind the chain.

#[cfg(any(test, feature = "user"))]
pub mod build;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::{IDLE, Search, search, start};

use crate::{
    eval::Store,
    packet::{Field, Packet, WORDS},
};

/// Trees of a root. Rules that would stand in very many leaves of one tree are in the next one, where other words are
/// asked for.
pub const TREES: usize = 8;

/// Nodes on the way to a leaf.
pub const MAX_DEPTH: usize = 14;

/// Branches of a node.
pub const BRANCHES: usize = 8;

/// In [`Node::branches`] and [`Root::trees`]: a leaf, whose first entry has the number in the lower bits.
pub const LEAF: u32 = 0x8000_0000;

/// The leaf without entries.
pub const EMPTY: u32 = u32::MAX;

/// A node of a tree. One cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Node {
    /// The last value of each branch but the last one, in order; unused ones are the highest value.
    pub last: [u32; BRANCHES - 1],
    /// Index of the word asked for.
    pub field: u32,
    /// Nodes, or [`LEAF`] with the index of the first entry.
    pub branches: [u32; BRANCHES],
}

crate::shared!(Node = 64);

/// What entries of both families have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Head {
    /// The rule's first instruction.
    pub number: u32,
    /// What to do when the entry matches.
    pub target: u32,
    /// With [`DECIDES_HERE`]: the rule (or policy) that decided.
    pub rule: u32,
    /// Index of two more words that are compared.
    pub fields: [u8; 2],
    /// [`LAST`], [`DECIDES_HERE`].
    pub flags: u16,
}

crate::shared!(Head = 16);

/// [`Head::flags`]: the leaf ends here.
pub const LAST: u16 = 1;
/// [`Head::flags`]: the target is the verdict of [`Head::rule`].
pub const DECIDES_HERE: u16 = 2;

/// A rule in a leaf for IPv4 packets: one cache line. A word matches when it is at most `span` above `low`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Narrow {
    /// Source and destination address, source and destination port, and [`Head::fields`].
    pub low: [u32; 6],
    /// How far above `low`.
    pub span: [u32; 6],
    /// The rest.
    pub head: Head,
}

crate::shared!(Narrow = 64);

/// A rule in a leaf for IPv6 packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Wide {
    /// Source and destination address: what the bits of `mask` are to be.
    pub value: [u32; 8],
    /// Which bits of the addresses count.
    pub mask: [u32; 8],
    /// Source and destination port, and [`Head::fields`].
    pub low: [u32; 4],
    /// How far above `low`.
    pub span: [u32; 4],
    /// The rest.
    pub head: Head,
    /// Zero: makes it two cache lines.
    pub reserved: [u32; 4],
}

crate::shared!(Wide = 128);

/// Where to look for packets of one family at one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// Nodes, or leaves; [`EMPTY`] for one that is not there.
    pub trees: [u32; TREES],
    /// Where to go when nothing (more) matches.
    pub otherwise: u32,
    /// The rule or policy that decides then, [`crate::image::NO_RULE`] when `otherwise` decides nothing.
    pub rule: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

crate::shared!(Root = 48);

/// Index of a root: there are two for each hook.
#[inline(always)]
pub const fn root_index(hook: u32, is_v6: bool) -> u32 {
    2 * hook + is_v6 as u32
}

/// An entry of a leaf.
pub trait Entry: Sized {
    /// Entry `index` of all leaves.
    fn get<S: Store>(store: &S, index: u32) -> Option<&Self>;
    /// What both families have.
    fn head(&self) -> &Head;
    /// Are the packet's words those of the rule?
    fn matches(&self, packet: &Packet) -> bool;
}

/// Has the top bit when `value` is not within `span` above `low`: comparing without a branch, since which word of which
/// rule differs cannot be predicted.
#[inline(always)]
fn beyond(value: u32, low: u32, span: u32) -> u64 {
    u64::from(span).wrapping_sub(u64::from(value.wrapping_sub(low)))
}

#[inline(always)]
fn word(packet: &Packet, index: u8) -> u32 {
    packet.words[index as usize & (WORDS - 1)]
}

impl Entry for Narrow {
    #[inline(always)]
    fn get<S: Store>(store: &S, index: u32) -> Option<&Self> {
        store.narrow(index)
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        &self.head
    }

    #[inline(always)]
    fn matches(&self, packet: &Packet) -> bool {
        let Self { low, span, head } = self;
        let different = beyond(packet.get(Field::SourceAddress), low[0], span[0])
            | beyond(packet.get(Field::DestinationAddress), low[1], span[1])
            | beyond(packet.get(Field::SourcePort), low[2], span[2])
            | beyond(packet.get(Field::DestinationPort), low[3], span[3])
            | beyond(word(packet, head.fields[0]), low[4], span[4])
            | beyond(word(packet, head.fields[1]), low[5], span[5]);
        different as i64 >= 0
    }
}

impl Entry for Wide {
    #[inline(always)]
    fn get<S: Store>(store: &S, index: u32) -> Option<&Self> {
        store.wide(index)
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        &self.head
    }

    #[inline(always)]
    fn matches(&self, packet: &Packet) -> bool {
        let Self { value, mask, low, span, head, reserved: _ } = self;
        let at = |index| (packet.get_at(Field::SourceAddress, index) & mask[index]) ^ value[index];
        let addresses = at(0) | at(1) | at(2) | at(3) | at(4) | at(5) | at(6) | at(7);
        let different = beyond(packet.get(Field::SourcePort), low[0], span[0])
            | beyond(packet.get(Field::DestinationPort), low[1], span[1])
            | beyond(word(packet, head.fields[0]), low[2], span[2])
            | beyond(word(packet, head.fields[1]), low[3], span[3]);
        (different | u64::from(addresses).wrapping_neg()) as i64 >= 0
    }
}
