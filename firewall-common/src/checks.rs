//! What may be wrong with a packet that the parser lets pass, because the kernel's own receive path would, or might.
//!
//! Each is asked for by a setting of `[checks]` in `rampart.toml`, and is not there in programs that were loaded without it.

use crate::{
    packet::{Field, NFPROTO_IPV4, Packet},
    verdict::Reason,
    wire::tcp::{self, ACK, FIN, PSH, RST, SYN, URG},
};

/// TCP flags that no segment has.
pub const TCP_FLAGS: u32 = 1;
/// A packet from where it goes to.
pub const LAND: u32 = 2;
/// Options that say by which routers a packet goes.
pub const SOURCE_ROUTE: u32 = 4;
/// Addresses that no packet on a wire has.
pub const MARTIANS: u32 = 8;
/// The checksum of the IPv4 header.
pub const IP_CHECKSUM: u32 = 16;
/// Sources that are addresses of this host.
pub const OWN_ADDRESSES: u32 = 32;
/// The checksum of TCP, UDP, ICMP: at interfaces with [`crate::interface::WHOLE`].
pub const CHECKSUMS: u32 = 64;

/// Those that read bytes of the packet, or ask a map.
pub const READING: u32 = SOURCE_ROUTE | IP_CHECKSUM | OWN_ADDRESSES | CHECKSUMS;

/// The loopback interface in every network namespace: what is wrong elsewhere is right there.
const LOOPBACK: u32 = 1;

/// The flags that segments have: `tcp_valid_flags` (`net/netfilter/nf_conntrack_proto_tcp.c`, Linux 6.18), where PSH, ECE and CWR
/// may come with each of them. One bit for each combination of the lower six.
const VALID: u64 = {
    let combinations = [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    let mut bits = 0;
    let mut at = 0;
    while at < combinations.len() {
        bits |= 1 << combinations[at];
        at += 1;
    }
    bits
};

/// Does some segment have these flags?
#[inline(always)]
pub const fn has_valid_flags(flags: u32) -> bool {
    VALID >> (flags & 0x3f & !(PSH as u32)) & 1 != 0
}

/// What is wrong with the packet's words: a [`Reason`] as a number, 0 for nothing. `checks`: what is asked for.
#[inline(always)]
pub fn packet(packet: &Packet, checks: u32) -> u32 {
    let flags = packet.get(Field::TcpFlags);
    if checks & TCP_FLAGS != 0 && flags >> 16 == tcp::PROTOCOL as u32 && !has_valid_flags(flags) {
        return Reason::TcpFlags as u32;
    }
    if packet.get(Field::IifIndex) == LOOPBACK {
        return 0;
    }
    if checks & LAND != 0 && is_from_its_destination(packet) {
        return Reason::Land as u32;
    }
    if checks & MARTIANS != 0 && is_martian(packet) {
        return Reason::Martian as u32;
    }
    0
}

#[inline(always)]
fn is_from_its_destination(packet: &Packet) -> bool {
    let different = |at| packet.get_at(Field::SourceAddress, at) ^ packet.get_at(Field::DestinationAddress, at);
    if packet.get(Field::NfProto) == NFPROTO_IPV4 {
        return different(0) == 0;
    }
    // Nobody has the unspecified address.
    different(0) | different(1) | different(2) | different(3) == 0
}

/// Addresses that `ip_route_input_slow` (`net/ipv4/route.c`) and `ip6_rcv_core` (`net/ipv6/ip6_input.c`) take for martian whatever
/// the routes say; for IPv6 those besides that stand for IPv4 addresses, which must not be on a wire (RFC 4291, section 2.5.5).
#[inline(always)]
fn is_martian(packet: &Packet) -> bool {
    if packet.get(Field::NfProto) == NFPROTO_IPV4 {
        let (source, destination) = (packet.get(Field::SourceAddress), packet.get(Field::DestinationAddress));
        // Who has no address yet asks everybody for one.
        if source == 0 && destination == u32::MAX {
            return false;
        }
        return is_nobody4(source) || source >> 28 >= 0xe || (is_nobody4(destination) && destination != u32::MAX);
    }
    let source = |at| packet.get_at(Field::SourceAddress, at);
    let destination = |at| packet.get_at(Field::DestinationAddress, at);
    let is_multicast = source(0) >> 24 == 0xff;
    let source = [source(0), source(1), source(2), source(3)];
    let destination = [destination(0), destination(1), destination(2), destination(3)];
    // Who has no address yet asks whether somebody has it.
    let is_unspecified = source[0] | source[1] | source[2] | source[3] == 0;
    is_multicast || (is_nobody6(source) && !is_unspecified) || is_nobody6(destination)
}

/// This network, loopback, and what is reserved (RFC 6890).
#[inline(always)]
const fn is_nobody4(address: u32) -> bool {
    let first = address >> 24;
    first == 0 || first == 127 || first >= 240
}

/// Unspecified, loopback, and addresses that stand for those of IPv4: all within `::/96` and `::ffff:0:0/96`.
#[inline(always)]
const fn is_nobody6(address: [u32; 4]) -> bool {
    address[0] | address[1] == 0 && (address[2] == 0 || address[2] == 0xffff)
}

/// Bytes of the largest IPv4 header.
pub const HEADER: usize = 64;

/// Is the checksum of an IPv4 header right, with zeros behind it?
#[inline(always)]
pub fn has_right_sum(header: &[u8; HEADER]) -> bool {
    let mut sum = 0_u32;
    for pair in header.chunks_exact(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    let once = (sum & 0xffff) + (sum >> 16);
    (once & 0xffff) + (once >> 16) == 0xffff
}

/// Where a walk over IPv4 options stands, and what it found. In programs it lies in a map value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Options {
    /// Where the next option starts.
    pub next: u32,
    /// Was there one that says by which routers the packet goes?
    pub routes: u32,
}

/// No option starts here.
const END: u32 = u32::MAX;
/// Loose and strict source and record route (RFC 791).
const LSRR: u8 = 131;
const SSRR: u8 = 137;

impl Options {
    /// Before the first one.
    #[inline(always)]
    pub const fn begin(&mut self) {
        self.next = 20;
        self.routes = 0;
    }

    /// Looks at the byte at `at`, if an option starts there; `next` is [`Self::next`].
    #[inline(always)]
    pub const fn look(&mut self, at: u32, next: u32, header: &[u8; HEADER]) {
        if at != next {
            return;
        }
        let kind = header[at as usize & (HEADER - 1)];
        let length = header[(at as usize + 1) & (HEADER - 1)] as u32;
        self.next = match kind {
            0 => END,
            1 => at + 1,
            _ => at + if length < 2 { END / 2 } else { length },
        };
        if kind == LSRR || kind == SSRR {
            self.routes = 1;
        }
    }
}

/// Bytes of a packet that are added up in one go (`MAX_BPF_STACK`, `net/core/filter.c`: what the checksum helper took at once
/// before Linux 6.13).
pub const CHUNK: u32 = 512;

/// How far the bytes under a checksum were added up. In programs it lies in a map value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Summing {
    /// Where the next byte is.
    pub at: u32,
    /// How many are left.
    pub left: u32,
    /// Their sum, in words as they lie in memory.
    pub sum: u32,
    /// Could they all be read? 0 or 1.
    pub is_whole: u32,
}

/// Where the bytes start that the checksum of the packet's upper layer covers, how many they are, and what is to be added to them
/// (RFC 1071; RFC 8200, section 8.1); `None` for a packet whose checksum is not looked at: one in pieces, and one with IPv4 options or
/// IPv6 extension headers, which may say that it does not go where its header says.
#[inline(always)]
pub fn summed(packet: &Packet) -> Option<(u32, u32, u64)> {
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let header = packet.l4_offset.wrapping_sub(packet.l3_offset);
    let plain = if is_v4 { 20 } else { 40 };
    let length = packet.l4_length;
    if header != plain || packet.get(Field::Fragment) != 0 || length == 0 {
        return None;
    }
    let protocol = packet.get(Field::L4Proto);
    match protocol as u8 {
        1 if is_v4 => return Some((packet.l4_offset, length, 0)),
        6 | 17 => {}
        58 if !is_v4 => {}
        _ => return None,
    }
    let mut sum = u64::from(protocol) + u64::from(length);
    let words = if is_v4 { 1 } else { 4 };
    for at in 0..4 {
        if at < words {
            sum += u64::from(packet.get_at(Field::SourceAddress, at));
            sum += u64::from(packet.get_at(Field::DestinationAddress, at));
        }
    }
    Some((packet.l4_offset, length, sum))
}

/// An IPv6 routing header of the type that RFC 5095 took out of use.
#[inline(always)]
pub const fn is_source_route(kind: u8, left: u8) -> bool {
    kind == 0 && left != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(letters: &str) -> u32 {
        let all = [('F', FIN), ('S', SYN), ('R', RST), ('P', PSH), ('A', ACK), ('U', URG), ('E', 0x40), ('C', 0x80)];
        all.iter().filter(|(letter, _)| letters.contains(*letter)).map(|(_, bit)| u32::from(*bit)).sum()
    }

    #[test]
    fn flags_that_segments_have() {
        for letters in ["S", "SA", "SEC", "SU", "R", "RA", "FA", "FAU", "FPA", "A", "PA", "PAU", "AU", "PAE", "R", "RP"]
        {
            assert!(has_valid_flags(flags(letters)), "{letters}");
        }
        for letters in ["", "F", "P", "U", "FPU", "SF", "SFA", "SR", "SRA", "FR", "FRA", "SFRPAU", "RU", "SAU", "E"] {
            assert!(!has_valid_flags(flags(letters)), "{letters}");
        }
    }

    fn walk(options: &[u8]) -> u32 {
        let mut header = [0; HEADER];
        header[20..20 + options.len()].copy_from_slice(options);
        let mut walk = Options::default();
        walk.begin();
        for at in 20..60 {
            walk.look(at, walk.next, &header);
        }
        walk.routes
    }

    #[test]
    fn routes_are_found_among_options() {
        let rows: [(&[u8], u32); 8] = [
            (&[131, 7, 4, 192, 0, 2, 1], 1),
            (&[137, 3, 4], 1),
            (&[1, 1, 1, 131, 3, 4], 1),
            (&[7, 7, 4, 131, 131, 131, 131], 0),
            (&[7, 7, 4, 0, 0, 0, 0, 137, 3, 4], 1),
            (&[0, 131, 3, 4], 0),
            (&[7, 0, 131, 3], 0),
            (&[1; 40], 0),
        ];
        for (options, wanted) in rows {
            assert_eq!(walk(options), wanted, "{options:?}");
        }
    }

    #[test]
    fn a_wrong_bit_is_found() {
        let mut header = [0; HEADER];
        header[..20].copy_from_slice(&[
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0, 199,
        ]);
        assert!(has_right_sum(&header));
        for bit in 0..160 {
            header[bit / 8] ^= 1 << (bit % 8);
            assert!(!has_right_sum(&header), "{bit}");
            header[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
