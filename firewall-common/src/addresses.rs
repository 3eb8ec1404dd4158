//! What an address is to this host: `fib daddr type`.
//!
//! As `nft_fib4_eval_type` and `nft_fib6_eval_type` find it (`net/ipv4/netfilter/nft_fib_ipv4.c`,
//! `net/ipv6/netfilter/nft_fib_ipv6.c`, Linux 6.18): in the routing table `local`. Programs cannot ask that one, so user space keeps a
//! copy of it in a trie of prefixes: what is in force carries the number in [`Data`]'s first word, and the next copy is
//! written beside it under another one before that number changes.

use crate::{
    image::Hook,
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, Packet},
};

/// Entries that a copy has at most. The trie has room for two.
pub const MAX_ADDRESSES: u32 = 1 << 14;

/// In the argument of [`crate::fetch::Fetch::AddressType`]: of the destination, not the source.
pub const DESTINATION: u32 = 1;
/// Only what is so on the interface that the packet came in by.
pub const ON_IIF: u32 = 2;
/// Only what is so on the interface that the packet leaves by.
pub const ON_OIF: u32 = 4;

/// The packet may be one of IPv6: for user space.
pub const MAY_BE_V6: u32 = 8;

/// Types of addresses (`RTN_*`, include/uapi/linux/rtnetlink.h).
pub const UNICAST: u32 = 1;
/// As above.
pub const LOCAL: u32 = 2;
/// As above.
pub const BROADCAST: u32 = 3;
/// As above.
pub const ANYCAST: u32 = 4;
/// As above.
pub const MULTICAST: u32 = 5;

/// [`Data`]: an address of IPv4.
pub const V4: u32 = 4;
/// An address of IPv6.
pub const V6: u32 = 6;
/// An address of IPv6 that this very interface has.
pub const V6_OF_INTERFACE: u32 = 7;

/// What is looked up: the number of the copy, [`V4`] and the like, an interface where that counts, and the address as it
/// stands in a packet.
pub type Data = [u32; 7];

/// Bits of [`Data`] in front of the address.
pub const BEFORE: u32 = 96;
/// Bits of [`Data`].
pub const BITS: u32 = 224;

/// What is found: the type, and the interface that it is so on.
pub type Value = [u32; 2];

/// A question about a packet's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Question {
    /// Bits that count: all.
    pub bits: u32,
    /// As above.
    pub data: Data,
}

impl Question {
    /// About nothing.
    pub const NONE: Self = Self { bits: BITS, data: [0; 7] };
}

/// The interface that is asked about; 0 for all of them.
#[inline(always)]
pub fn interface(packet: &Packet, flags: u32) -> u32 {
    if flags & ON_IIF != 0 {
        packet.get(Field::IifIndex)
    } else if flags & ON_OIF != 0 {
        packet.get(Field::OifIndex)
    } else {
        0
    }
}

/// The type of an IPv4 address that needs no look at any table.
#[inline(always)]
pub fn plain(address: u32) -> Option<u32> {
    if address >> 24 == 0 || address == u32::MAX {
        Some(BROADCAST)
    } else if address >> 28 == 0xe {
        Some(MULTICAST)
    } else {
        None
    }
}

/// Is an IPv6 address, by its first word, known on its link only? Multicast addresses have that as their scope.
#[inline(always)]
pub fn is_of_link(first: u32) -> bool {
    first >> 22 == 0xfe80 >> 6 || first & 0xff0f_0000 == 0xff02_0000
}

/// Is an IPv6 address, by its first word, that of many?
#[inline(always)]
pub fn is_multicast(first: u32) -> bool {
    first >> 24 == 0xff
}

/// The interface on whose link an IPv6 address is looked for. What is made here has none yet.
#[inline(always)]
pub fn link(packet: &Packet, flags: u32, hook: u32) -> u32 {
    let asked = interface(packet, flags);
    if asked != 0 || hook == Hook::Output as u32 {
        asked
    } else if hook == Hook::Postrouting as u32 {
        packet.get(Field::OifIndex)
    } else {
        packet.get(Field::IifIndex)
    }
}

/// Asks; `None` for a packet without addresses. `look_up` finds the longest prefix.
#[inline(always)]
pub fn type_of(
    packet: &Packet,
    (flags, hook, copy): (u32, u32, u32),
    question: &mut Question,
    look_up: impl Fn(&Question) -> Option<Value>,
) -> Option<u32> {
    let field = if flags & DESTINATION != 0 { Field::DestinationAddress } else { Field::SourceAddress };
    let family = packet.get(Field::NfProto);
    let first = packet.get(field);
    *question = Question::NONE;
    question.data[0] = copy;
    if family == NFPROTO_IPV4 {
        question.data[1] = V4;
        question.data[3] = first.to_be();
        return Some(plain(first).unwrap_or_else(|| of_v4(look_up(question), interface(packet, flags))));
    }
    if family != NFPROTO_IPV6 {
        return None;
    }
    question.data[1] = V6;
    question.data[2] = if is_of_link(first) { link(packet, flags, hook) } else { 0 };
    for at in 0..4 {
        question.data[3 + at] = packet.get_at(field, at).to_be();
    }
    let found = look_up(question).map_or(0, |value| value[0]);
    if found == ANYCAST {
        return Some(ANYCAST);
    }
    if is_multicast(first) {
        return Some(if found == 0 { UNICAST } else { MULTICAST });
    }
    let asked = interface(packet, flags);
    if found != LOCAL || asked == 0 {
        return Some(if found == LOCAL { LOCAL } else { UNICAST });
    }
    question.data[1] = V6_OF_INTERFACE;
    question.data[2] = asked;
    Some(if look_up(question).is_some() { LOCAL } else { UNICAST })
}

#[inline(always)]
fn of_v4(found: Option<Value>, asked: u32) -> u32 {
    match found {
        Some([what, interface]) if asked == 0 || asked == interface => what,
        _ => UNICAST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(destination: u32) -> Packet {
        let mut packet = Packet::EMPTY;
        packet.set(Field::IifIndex, 7);
        packet.set(Field::NfProto, NFPROTO_IPV4);
        packet.set(Field::DestinationAddress, destination);
        packet
    }

    fn of(packet: &Packet, flags: u32, table: &[(u32, u32, u32, Value)]) -> Option<u32> {
        let look_up = |question: &Question| {
            let key = (question.data[1], question.data[2], question.data[3]);
            table.iter().find(|entry| (entry.0, entry.1, entry.2.to_be()) == key).map(|entry| entry.3)
        };
        type_of(packet, (flags | DESTINATION, Hook::Input as u32, 1), &mut Question::NONE.clone(), look_up)
    }

    #[test]
    fn some_addresses_are_what_they_are_whatever_the_table_says() {
        for (address, expected) in [(0, BROADCAST), (0x00ff_0000, BROADCAST), (u32::MAX, BROADCAST)] {
            assert_eq!(of(&packet(address), 0, &[]), Some(expected));
        }
        assert_eq!(of(&packet(0xe000_0001), 0, &[]), Some(MULTICAST));
        assert_eq!(of(&packet(0xf000_0001), 0, &[]), Some(UNICAST));
        assert_eq!(of(&Packet::EMPTY, 0, &[]), None);
    }

    #[test]
    fn an_address_of_another_interface_is_none_of_this_one() {
        let table = [(V4, 0, 0xc000_0201, [LOCAL, 5]), (V4, 0, 0xc000_02ff, [BROADCAST, 7])];
        assert_eq!(of(&packet(0xc000_0201), 0, &table), Some(LOCAL));
        assert_eq!(of(&packet(0xc000_0201), ON_IIF, &table), Some(UNICAST));
        assert_eq!(of(&packet(0xc000_02ff), ON_IIF, &table), Some(BROADCAST));
    }

    #[test]
    fn link_local_addresses_are_those_of_their_link() {
        let mut packet = packet(0xfe80_0000);
        packet.set(Field::NfProto, NFPROTO_IPV6);
        assert_eq!(of(&packet, 0, &[(V6, 5, 0xfe80_0000, [LOCAL, 5])]), Some(UNICAST));
        assert_eq!(of(&packet, 0, &[(V6, 7, 0xfe80_0000, [LOCAL, 7])]), Some(LOCAL));
        let table = [(V6, 7, 0xfe80_0000, [LOCAL, 7]), (V6_OF_INTERFACE, 7, 0xfe80_0000, [LOCAL, 7])];
        assert_eq!(of(&packet, ON_IIF, &table), Some(LOCAL));
        assert!(is_of_link(0xff02_0000) && is_of_link(0xff12_0000) && !is_of_link(0xff05_0000));
    }
}
