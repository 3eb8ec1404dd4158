//! Translation of addresses: what it does to a packet, and how the state table knows of it.
//!
//! A translated connection has two entries in the state table, or three. The first has the key of the packets as their
//! sender made them, and everything that an untranslated connection has. The others are **aliases**: keys under which
//! packets of the connection are found elsewhere on their way, and where the first entry is. One is that of the answers, and
//! being entered only where there is none yet it reserves the port. The other is that of packets whose destination is
//! translated already and whose source is not yet; it is needed only when both are.

mod errors;

pub use errors::{Quote, rewrite_error};

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    flow::{Endpoint, FlowKey, Tuple},
    packet::{FRAGMENT_LATER, Field, NFPROTO_IPV4, Packet},
    table::Entry,
    wire::{icmp, sctp, tcp, udp},
};

/// [`Entry::rule`] of an alias.
pub const ALIAS: u32 = 0xffff_fffe;

/// What a translation statement is: the lowest two bits of its instruction's mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `snat`
    Source = 0,
    /// `dnat`
    Destination = 1,
    /// `masquerade`
    Masquerade = 2,
    /// `redirect`
    Redirect = 3,
}

/// The statement gives addresses: constants `low` and `low + 1` are the first and the last one.
pub const HAS_ADDRESS: u32 = 4;
/// The statement gives ports: `high` is `last << 16 | first`.
pub const HAS_PORT: u32 = 8;
/// `random`, `fully-random`
pub const RANDOM: u32 = 16;
/// `persistent`
pub const PERSISTENT: u32 = 32;
/// `prefix`: the bits in which the first and the last address differ stay as they are.
pub const PREFIX: u32 = 64;

/// The address is in registers: those before [`PORT_REGISTER`].
pub const ADDRESS_COMPUTED: u32 = 128;
/// The port is in register [`PORT_REGISTER`].
pub const PORT_COMPUTED: u32 = 256;
/// See [`PORT_COMPUTED`].
pub const PORT_REGISTER: usize = 7;

/// An address with the prefix of others, which begin with `first` and end with `last` (`nft_nat_setup_netmap`,
/// `net/netfilter/nft_nat.c`).
#[inline(always)]
pub const fn mapped(address: [u64; 2], first: [u64; 2], last: [u64; 2]) -> [u64; 2] {
    let rest = [first[0] ^ last[0], first[1] ^ last[1]];
    [first[0] & !rest[0] | address[0] & rest[0], first[1] & !rest[1] | address[1] & rest[1]]
}

impl Entry {
    /// Did the packet that began the connection come from the higher end of the key?
    #[inline(always)]
    pub const fn is_from_high(&self) -> bool {
        self.originator_is_high & 1 != 0
    }

    /// The entry that this one points to: its bucket, and its place there from 1; place 0 for none. The first entry of a
    /// translated connection points to the alias of the answers, an alias to the first entry.
    #[inline(always)]
    pub const fn partner(&self) -> (u32, u32) {
        let begun = self.originator_is_high as u32;
        ((self.ifindex >> 16) << 12 | begun >> 4, begun >> 1 & 7)
    }

    /// Sets [`Self::partner`].
    #[inline(always)]
    pub const fn set_partner(&mut self, bucket: u32, place: u32) {
        self.ifindex = self.ifindex & 0xffff | (bucket >> 12) << 16;
        self.originator_is_high = self.originator_is_high & 1 | (bucket << 4 | place << 1) as u16;
    }

    /// Interface the first packet came in by, 0 if it was made here.
    #[inline(always)]
    pub const fn interface(&self) -> u32 {
        self.ifindex & 0xffff
    }

    /// Is this an alias?
    #[inline(always)]
    pub const fn is_alias(&self) -> bool {
        self.rule == ALIAS
    }

    /// Of an alias, the key of the first entry.
    #[inline(always)]
    pub const fn first_key(&self) -> FlowKey {
        let window = &self.windows[0];
        FlowKey { low: self.packets, high: self.bytes, tail: window.end as u64 | (window.max_end as u64) << 32 }
    }

    /// Is this [`Self::first_key`]?
    #[inline(always)]
    pub const fn is_alias_of(&self, key: &FlowKey) -> bool {
        let window = &self.windows[0];
        let different = (self.packets[0] ^ key.low[0])
            | (self.packets[1] ^ key.low[1])
            | (self.bytes[0] ^ key.high[0])
            | (self.bytes[1] ^ key.high[1])
            | ((window.end as u64 | (window.max_end as u64) << 32) ^ key.tail);
        self.is_alias() && different == 0
    }

    /// Sets [`Self::first_key`].
    #[inline(always)]
    pub const fn set_first_key(&mut self, key: &FlowKey) {
        self.packets = key.low;
        self.bytes = key.high;
        self.windows[0].end = key.tail as u32;
        self.windows[0].max_end = (key.tail >> 32) as u32;
    }
}

/// Both ends of a connection: first the one that began it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ends {
    /// Addresses, as in [`FlowKey::low`].
    pub addresses: [[u64; 2]; 2],
    /// Ports, as in [`Endpoint::port`].
    pub ports: [u32; 2],
}

// Of one packet on one CPU: not shared with user space, so no part of the layouts that are.
const _: () = assert!(core::mem::size_of::<Ends>() == 40);

impl Ends {
    /// The ends of a key.
    #[inline(always)]
    pub const fn of_key(key: &FlowKey, from_high: bool) -> Self {
        let (low, high) = (key.low_port() as u32, key.high_port() as u32);
        if from_high {
            Self { addresses: [key.high, key.low], ports: [high, low] }
        } else {
            Self { addresses: [key.low, key.high], ports: [low, high] }
        }
    }

    /// Sets the ends of a key, word by word: the stack of the eBPF program is short.
    #[inline(always)]
    pub const fn read_key(&mut self, key: &FlowKey, from_high: bool) {
        let (high, low) = (from_high as usize, !from_high as usize);
        self.addresses[high][0] = key.low[0];
        self.addresses[high][1] = key.low[1];
        self.addresses[low][0] = key.high[0];
        self.addresses[low][1] = key.high[1];
        self.ports[high] = key.low_port() as u32;
        self.ports[low] = key.high_port() as u32;
    }

    /// The key, and whether the first end is its higher one.
    #[inline(always)]
    pub fn key(&self, like: &FlowKey) -> (FlowKey, bool) {
        let end = |at: usize| Endpoint { address: self.addresses[at], port: self.ports[at] as u16 };
        let (source, destination) = (end(0), end(1));
        Tuple { source, destination, protocol: like.protocol(), family: like.family() }.key(like.zone())
    }
}

/// An address as the words of a packet have it.
#[inline(always)]
pub const fn words(address: [u64; 2], is_v4: bool) -> [u32; 4] {
    let [first, second] = address;
    if is_v4 {
        [first as u32, 0, 0, 0]
    } else {
        [(first >> 32) as u32, first as u32, (second >> 32) as u32, second as u32]
    }
}

/// The other way round.
#[inline(always)]
pub const fn address(words: [u32; 4], is_v4: bool) -> [u64; 2] {
    let [a, b, c, d] = words;
    if is_v4 { [a as u64, 0] } else { [(a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64] }
}

/// A checksum after some of what it covers has changed (RFC 1624, equation 3): `old` and `new` are one's complement sums of
/// what has.
#[inline(always)]
pub const fn adjusted(check: u16, old: u32, new: u32) -> u16 {
    let sum = (!check) as u64 + (!fold(old as u64)) as u64 + fold(new as u64) as u64;
    !fold(sum)
}

/// What must be added to the sum of what a checksum covers.
#[inline(always)]
pub const fn difference(old: u32, new: u32) -> u16 {
    fold((!fold(old as u64)) as u64 + fold(new as u64) as u64)
}

/// A sum of 16-bit words as one.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Sum of the 16-bit words of an address.
#[inline(always)]
const fn sum(words: &[u32; 4]) -> u32 {
    let mut sum = 0;
    let mut at = 0;
    while at < 4 {
        sum += (words[at] >> 16) + (words[at] & 0xffff);
        at += 1;
    }
    sum
}

/// How a checksum takes to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Covers {
    /// What changed is in the header itself.
    Header = 0,
    /// What changed is in the pseudo header: then the network card may have to add the rest.
    Pseudo = 1,
}

/// A packet that can be written to. Each gives back whether it was done.
pub trait Editor: PacketBytes {
    /// Stores 16 bits, host byte order.
    fn put16(&self, at: u32, value: u16) -> bool;
    /// Adjusts the checksum of a transport header; `keeps_zero`: one of 0 says that there is none (UDP, RFC 768).
    fn adjust(&self, at: u32, change: (u32, u32), covers: Covers, keeps_zero: bool) -> bool;

    /// Stores 32 bits.
    #[inline(always)]
    fn put32(&self, at: u32, value: u32) -> bool {
        self.put16(at, (value >> 16) as u16) && self.put16(at + 2, value as u16)
    }

    /// Adjusts any checksum.
    #[inline(always)]
    fn adjust_plain(&self, at: u32, (old, new): (u32, u32), keeps_zero: bool) -> bool {
        let Some(header) = self.header::<2>(at) else { return false };
        let check = header.be16(0);
        if keeps_zero && check == 0 {
            return true;
        }
        let now = adjusted(check, old, new);
        self.put16(at, if keeps_zero && now == 0 { 0xffff } else { now })
    }
}

/// What is to become of one end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The source, or the destination?
    pub source: bool,
    /// What stands there.
    pub old: [u32; 4],
    /// What is to.
    pub new: [u32; 4],
    /// The port that stands there and the one that is to, when ports are changed.
    pub ports: Option<(u16, u16)>,
}

/// Where the checksum of a protocol's header is, if there is one that covers addresses; and whether it can be left out.
#[inline(always)]
const fn checksum(protocol: u8, is_v4: bool) -> Option<(u32, bool)> {
    match protocol {
        tcp::PROTOCOL => Some((16, false)),
        udp::PROTOCOL => Some((6, true)),
        udp::PROTOCOL_LITE | sctp::PROTOCOL_DCCP => Some((6, false)),
        icmp::PROTOCOL_V6 if !is_v4 => Some((2, false)),
        _ => None,
    }
}

/// Writes an address and a port into a packet, with every checksum that covers them.
#[inline(always)]
pub fn rewrite<E: Editor>(editor: &E, packet: &Packet, change: &Rewrite) -> bool {
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let at = packet.l3_offset + place_of_address(change.source, is_v4);
    if !put_address(editor, at, &change.new, is_v4) {
        return false;
    }
    let sums = (sum(&change.old), sum(&change.new));
    if is_v4 && !editor.adjust_plain(packet.l3_offset + 10, sums, false) {
        return false;
    }
    if packet.get(Field::Fragment) & FRAGMENT_LATER != 0 {
        return true;
    }
    let (protocol, at) = (packet.get(Field::L4Proto) as u8, packet.l4_offset);
    if let Some((check, keeps_zero)) = checksum(protocol, is_v4)
        && !editor.adjust(at + check, sums, Covers::Pseudo, keeps_zero)
    {
        return false;
    }
    let Some((old, new)) = change.ports else { return true };
    let changed = (u32::from(old), u32::from(new));
    match protocol {
        icmp::PROTOCOL | icmp::PROTOCOL_V6 => {
            editor.adjust(at + 2, changed, Covers::Header, false) && editor.put16(at + 4, new)
        }
        // Its checksum is another one (CRC32c, RFC 9260): its ports are never changed.
        sctp::PROTOCOL => true,
        _ => {
            let Some((check, keeps_zero)) = checksum(protocol, is_v4) else { return true };
            let port = if change.source { at } else { at + 2 };
            editor.adjust(at + check, changed, Covers::Header, keeps_zero) && editor.put16(port, new)
        }
    }
}

#[inline(always)]
const fn place_of_address(source: bool, is_v4: bool) -> u32 {
    match (is_v4, source) {
        (true, true) => 12,
        (true, false) => 16,
        (false, true) => 8,
        (false, false) => 24,
    }
}

#[inline(always)]
fn put_address<E: Editor>(editor: &E, at: u32, words: &[u32; 4], is_v4: bool) -> bool {
    if is_v4 {
        return editor.put32(at, words[0]);
    }
    editor.put32(at, words[0])
        && editor.put32(at + 4, words[1])
        && editor.put32(at + 8, words[2])
        && editor.put32(at + 12, words[3])
}

/// A port of the range that a statement gives; `port` if that is one of them.
#[inline(always)]
pub const fn port_within(port: u16, range: u32, random: u32) -> u16 {
    let (first, last) = (range & 0xffff, range >> 16);
    if port as u32 >= first && port as u32 <= last {
        return port;
    }
    let count = (last.wrapping_sub(first) & 0xffff) + 1;
    (first + random % count) as u16
}

/// The ports that a port may become when no statement says so, as `last << 16 | first`: privileged ones stay so
/// (`nf_nat_l4proto_unique_tuple`, `net/netfilter/nf_nat_core.c`, Linux 6.18).
#[inline(always)]
pub const fn ports_like(port: u16) -> u32 {
    match port {
        0..512 => ports(1, 511),
        512..1024 => ports(600, 1023),
        _ => ports(1024, u16::MAX),
    }
}

/// A range of ports as one number.
const fn ports(first: u16, last: u16) -> u32 {
    (last as u32) << 16 | first as u32
}

#[cfg(test)]
mod tests;
