//! What an instance is on its guard against: bans.
//!
//! A ban is an element of a named set of the instance's own, one for each family, which no ruleset can name: a prefix that ends
//! by itself, counts what it stopped, and says in a few words why it is there. Programs look at one word first, which says
//! until when there may be bans: where there are none, that is all they cost.

use crate::{
    packet::{Field, NFPROTO_IPV6, Packet},
    sets::{
        KEY_WORDS, MAX_NAMED_SETS,
        run::Scratch,
        shapes::{self, MAX_SHAPES},
    },
};

/// What all programs of an instance share beside its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Guard {
    /// Until when there may be a ban, ticks, for each [`family`].
    pub bans_until: [u32; 2],
    /// Must be zero.
    pub reserved: [u32; 14],
}

crate::shared!(Guard = 64);

/// Words of a ban's reason: its data.
pub const REASON_WORDS: usize = 8;
/// Bytes of a ban's reason.
pub const REASON_BYTES: usize = REASON_WORDS * 4;

/// 0 for IPv4, 1 for IPv6.
#[inline(always)]
pub const fn family(nfproto: u32) -> u32 {
    (nfproto == NFPROTO_IPV6) as u32
}

/// The place of a family's bans in the map of sets, behind those of named sets.
#[inline(always)]
pub const fn slot(family: u32) -> u32 {
    MAX_NAMED_SETS + family
}

/// Words of a key: that of the shape, and an address.
pub const fn key_words(family: u32) -> u32 {
    if family == 0 { 2 } else { 5 }
}

/// Steps that a look-up takes at most.
pub const MAX_LOOKS: u32 = MAX_SHAPES * crate::sets::hash::MAX_PROBES;

/// Gathers the packet's source.
#[inline(always)]
pub fn gather(packet: &Packet, scratch: &mut Scratch) {
    let is_v6 = packet.get(Field::NfProto) == NFPROTO_IPV6;
    for at in 0..KEY_WORDS {
        let is_there = at == 1 || (is_v6 && at > 1 && at < 5);
        scratch.whole[at] = if is_there { packet.get_at(Field::SourceAddress, at - 1) } else { 0 };
    }
}

/// Looks into one more bucket; `true` when that was the last one that is worth it.
#[inline(always)]
pub fn look<S: crate::sets::Lines>(set: &S, scratch: &mut Scratch) -> Option<bool> {
    if scratch.shape >= scratch.shapes {
        return Some(true);
    }
    shapes::look(set, scratch)
}
