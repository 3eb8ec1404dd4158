//! What a refused packet's sender is told: a TCP reset, or an ICMP error that quotes the packet.
//!
//! All of it is as the kernel's own reject makes it: numbers by RFC 9293 section 3.10.7.1 (`nf_reject_ip_tcphdr_put`,
//! `net/ipv4/netfilter/nf_reject_ipv4.c`), quotes as long as those of `icmp_send` and `icmp6_send` (Linux 6.18).

use crate::packet::{FRAGMENT_LATER, Field, L4_PRESENT, NFPROTO_IPV6, Packet};

/// A TCP reset.
pub const RESET: u8 = 0;
/// An ICMP error "destination unreachable".
pub const ICMP: u8 = 1;
/// An ICMPv6 error "destination unreachable".
pub const ICMP6: u8 = 2;
/// An ICMP or ICMPv6 error, by the packet's family: the code is one of nftables' own (`NFT_REJECT_ICMPX_*`).
pub const EITHER: u8 = 3;

/// The codes of ICMP and of ICMPv6 for those of [`EITHER`] (`nft_reject_icmp_code`, `nft_reject_icmpv6_code`).
pub const EITHER_CODES: [(u8, u8); 4] = [(0, 0), (3, 4), (1, 3), (13, 1)];

const TCP: u32 = 6;
const UDP_ICMP: u32 = 1;
const ICMPV6: u32 = 58;

const FIN: u32 = 1;
const SYN: u32 = 2;
const RST: u32 = 4;
const ACK: u32 = 0x10;

/// Bytes of a packet that an ICMP error quotes: 576 in all (RFC 1812 section 4.3.2.3).
pub const QUOTED: u32 = 576 - 20 - 8;
/// The same of ICMPv6: what fits the minimum MTU (RFC 4443 section 2.4).
pub const QUOTED6: u32 = 1280 - 40 - 8;

/// Room for a link header: Ethernet and two VLAN tags.
pub const LINK: usize = 24;
/// Room for the headers of an answer.
pub const HEADER: usize = 64;
/// Room for a quote and the zeros behind it; a power of two.
pub const QUOTE: usize = 2048;

/// An answer being made: a value of a per-CPU map.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Answer {
    /// The packet from its network header on.
    pub quote: [u8; QUOTE],
    /// Network and upper-layer header of the answer.
    pub header: [u8; HEADER],
    /// The packet's link header, the answer's by and by.
    pub link: [u8; LINK],
    /// The address that the answer comes from.
    pub source: [u32; 4],
    /// Bytes of the link header.
    pub link_length: u32,
    /// Bytes of the headers.
    pub header_length: u32,
    /// Bytes quoted; 0 in a reset.
    pub quote_length: u32,
    /// Time to live, or hop limit.
    pub hops: u32,
}

crate::shared!(Answer = 2168);

/// How an answer is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Is it a reset? 0 or 1.
    pub reset: u32,
    /// The ICMP or ICMPv6 code, if it is none.
    pub code: u32,
}

/// How a packet is answered that met a refusal of this kind and code; `None` for one that nobody is told of.
#[inline(always)]
pub fn kind(packet: &Packet, kind: u8, code: u8) -> Option<Kind> {
    if packet.get(Field::Fragment) & FRAGMENT_LATER != 0 || !may_be_told(packet) {
        return None;
    }
    let is_v6 = packet.get(Field::NfProto) == NFPROTO_IPV6;
    if kind == RESET {
        let is_tcp = packet.get(Field::L4Header) == TCP | L4_PRESENT;
        return (is_tcp && packet.get(Field::TcpFlags) & RST == 0).then_some(Kind { reset: 1, code: 0 });
    }
    let wrong_family = if is_v6 { ICMP } else { ICMP6 };
    if kind == wrong_family || is_error(packet) {
        return None;
    }
    let (v4, v6) = EITHER_CODES[usize::from(code) & 3];
    let either = if is_v6 { v6 } else { v4 };
    Some(Kind { reset: 0, code: u32::from(if kind == EITHER { either } else { code }) })
}

/// Nobody is told of what went to many, nor is anybody who cannot be one host (RFC 1122 section 3.2.2).
#[inline(always)]
fn may_be_told(packet: &Packet) -> bool {
    let (source, destination) = (packet.get(Field::SourceAddress), packet.get(Field::DestinationAddress));
    if packet.get(Field::NfProto) == NFPROTO_IPV6 {
        let rest = packet.get_at(Field::SourceAddress, 1)
            | packet.get_at(Field::SourceAddress, 2)
            | packet.get_at(Field::SourceAddress, 3);
        return destination >> 24 != 0xff && source >> 24 != 0xff && (source | rest) != 0;
    }
    destination >> 28 < 0xe && source >> 28 < 0xe && source != 0
}

/// Is it an ICMP error, or something that could be one (RFC 1122 section 3.2.2, RFC 4443 section 2.4)?
#[inline(always)]
fn is_error(packet: &Packet) -> bool {
    let word = packet.get(Field::IcmpType);
    let (protocol, kind) = (word >> 16, word >> 8 & 0xff);
    match protocol {
        UDP_ICMP => kind > 18 || matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMPV6 => kind < 128,
        _ => false,
    }
}

/// How many bytes of a packet of `length` an ICMP error quotes; none in a reset.
#[inline(always)]
pub fn quoted(is_v6: bool, length: u32) -> u32 {
    let most = if is_v6 { QUOTED6 } else { QUOTED };
    if length < most { length } else { most }
}

/// Swaps the hardware addresses.
#[inline(always)]
pub fn turn(answer: &mut Answer) {
    for at in 0..6 {
        answer.link.swap(at, at + 6);
    }
}

/// Did the frame go to one host, as far as its hardware address says?
#[inline(always)]
pub const fn is_to_one(answer: &Answer) -> bool {
    answer.link_length == 0 || answer.link[0] & 1 == 0
}

/// Writes the headers of a reset over IPv4.
#[inline(always)]
pub fn reset(answer: &mut Answer, packet: &Packet) {
    ipv4(answer, packet, (TCP, 20, 0), 0x4000);
    let sum = pseudo(answer, TCP, 20, 1);
    tcp(&mut answer.header, packet, 20);
    let sum = sum + words(&answer.header, 20, 10);
    put(&mut answer.header, 36, !fold(sum));
    answer.header_length = 40;
}

/// The same over IPv6.
#[inline(always)]
pub fn reset6(answer: &mut Answer, packet: &Packet) {
    ipv6(answer, packet, TCP, 20);
    let sum = pseudo(answer, TCP, 20, 4);
    tcp(&mut answer.header, packet, 40);
    let sum = sum + words(&answer.header, 40, 10);
    put(&mut answer.header, 56, !fold(sum));
    answer.header_length = 60;
}

/// What is sent in a server's place: its number, a cookie, and the largest segment it takes (0: nothing is said of that).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The sequence number.
    pub cookie: u32,
    /// The maximum segment size.
    pub mss: u32,
}

/// The window that is offered: what a listening socket of Linux has room for, whatever its settings.
const WINDOW: u16 = 0xffff;

/// Writes the headers of a segment with SYN and ACK over IPv4.
#[inline(always)]
pub fn promise(answer: &mut Answer, packet: &Packet, promise: Promise) {
    let length = if promise.mss == 0 { 20 } else { 24 };
    ipv4(answer, packet, (TCP, length, 0), 0x4000);
    let sum = pseudo(answer, TCP, length, 1);
    handshake(&mut answer.header, packet, (20, length), promise);
    let sum = sum + words(&answer.header, 20, 12);
    put(&mut answer.header, 36, !fold(sum));
    answer.header_length = 20 + length;
}

/// The same over IPv6.
#[inline(always)]
pub fn promise6(answer: &mut Answer, packet: &Packet, promise: Promise) {
    let length = if promise.mss == 0 { 20 } else { 24 };
    ipv6(answer, packet, TCP, length);
    let sum = pseudo(answer, TCP, length, 4);
    handshake(&mut answer.header, packet, (40, length), promise);
    let sum = sum + words(&answer.header, 40, 12);
    put(&mut answer.header, 56, !fold(sum));
    answer.header_length = 40 + length;
}

#[inline(always)]
fn handshake(header: &mut [u8; HEADER], packet: &Packet, (at, length): (usize, u32), promise: Promise) {
    put(header, at, packet.get(Field::DestinationPort) as u16);
    put(header, at + 2, packet.get(Field::SourcePort) as u16);
    put_word(header, at + 4, promise.cookie);
    put_word(header, at + 8, packet.tcp_seq.wrapping_add(1));
    put(header, at + 12, ((length / 4) << 12 | SYN | ACK) as u16);
    put(header, at + 14, WINDOW);
    put_word(header, at + 16, 0);
    put_word(header, at + 20, if promise.mss == 0 { 0 } else { 0x0204_0000 | promise.mss });
}

/// Writes the headers of an ICMP error; `quote` is the sum of the quote's 16-bit words, `id` is for the IP header.
#[inline(always)]
pub fn error(answer: &mut Answer, packet: &Packet, code: u32, (quote, id): (u16, u16)) {
    let length = 8 + answer.quote_length;
    // As `icmp_send`: the packet's own type of service, with the precedence of network control.
    let tos = packet.get(Field::Tos) & 0x1e | 0xc0;
    ipv4(answer, packet, (UDP_ICMP, length, tos), 0);
    put(&mut answer.header, 4, id);
    put(&mut answer.header, 10, 0);
    let sum = words(&answer.header, 0, 10);
    put(&mut answer.header, 10, !fold(sum));
    icmp(&mut answer.header, 20, 3, code);
    let sum = u64::from(quote) + words(&answer.header, 20, 4);
    put(&mut answer.header, 22, !fold(sum));
    answer.header_length = 28;
}

/// The same for ICMPv6.
#[inline(always)]
pub fn error6(answer: &mut Answer, packet: &Packet, code: u32, quote: u16) {
    let length = 8 + answer.quote_length;
    ipv6(answer, packet, ICMPV6, length);
    icmp(&mut answer.header, 40, 1, code);
    let sum = u64::from(quote) + words(&answer.header, 40, 4) + pseudo(answer, ICMPV6, length, 4);
    put(&mut answer.header, 42, !fold(sum));
    answer.header_length = 48;
}

/// An IPv4 header without options, from the answer's source to the packet's.
#[inline(always)]
fn ipv4(answer: &mut Answer, packet: &Packet, (protocol, length, tos): (u32, u32, u32), flags: u16) {
    let header = &mut answer.header;
    put(header, 0, 0x4500 | tos as u16);
    put(header, 2, (20 + length) as u16);
    put(header, 4, 0);
    put(header, 6, flags);
    put(header, 8, (answer.hops << 8 | protocol) as u16);
    put(header, 10, 0);
    put_word(header, 12, answer.source[0]);
    put_word(header, 16, packet.get(Field::SourceAddress));
    let sum = words(header, 0, 10);
    put(header, 10, !fold(sum));
}

/// An IPv6 header.
#[inline(always)]
fn ipv6(answer: &mut Answer, packet: &Packet, protocol: u32, length: u32) {
    let header = &mut answer.header;
    put_word(header, 0, 0x6000_0000);
    put(header, 4, length as u16);
    put(header, 6, (protocol << 8 | answer.hops) as u16);
    for index in 0..4 {
        put_word(header, 8 + 4 * index, answer.source[index]);
        put_word(header, 24 + 4 * index, packet.get_at(Field::SourceAddress, index));
    }
}

/// A TCP header of a reset (RFC 9293 section 3.10.7.1): with the number that the peer expects next if it said one, else
/// with an acknowledgement of all that it sent.
#[inline(always)]
fn tcp(header: &mut [u8; HEADER], packet: &Packet, at: usize) {
    let flags = packet.get(Field::TcpFlags);
    let sent = packet.payload_length + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledged, ours) =
        if flags & ACK != 0 { (packet.tcp_ack, 0, RST) } else { (0, packet.tcp_seq.wrapping_add(sent), RST | ACK) };
    put(header, at, packet.get(Field::DestinationPort) as u16);
    put(header, at + 2, packet.get(Field::SourcePort) as u16);
    put_word(header, at + 4, sequence);
    put_word(header, at + 8, acknowledged);
    put(header, at + 12, 0x5000 | ours as u16);
    put_word(header, at + 14, 0);
    put(header, at + 18, 0);
}

/// The fixed part of an ICMP error.
#[inline(always)]
fn icmp(header: &mut [u8; HEADER], at: usize, kind: u32, code: u32) {
    put(header, at, (kind << 8 | code) as u16);
    put(header, at + 2, 0);
    put_word(header, at + 4, 0);
}

/// The sum of a pseudo-header: addresses as they stand in the header that was written.
#[inline(always)]
fn pseudo(answer: &Answer, protocol: u32, length: u32, address_words: usize) -> u64 {
    let addresses = if address_words == 1 { words(&answer.header, 12, 4) } else { words(&answer.header, 8, 16) };
    addresses + u64::from(protocol) + u64::from(length)
}

#[inline(always)]
fn put(header: &mut [u8; HEADER], at: usize, value: u16) {
    header[at & (HEADER - 1)] = (value >> 8) as u8;
    header[(at + 1) & (HEADER - 1)] = value as u8;
}

#[inline(always)]
fn put_word(header: &mut [u8; HEADER], at: usize, value: u32) {
    put(header, at, (value >> 16) as u16);
    put(header, at + 2, value as u16);
}

/// The sum of so many 16-bit words.
#[inline(always)]
fn words(header: &[u8; HEADER], at: usize, count: usize) -> u64 {
    let mut sum = 0;
    for index in 0..count {
        let at = at + 2 * index;
        sum += u64::from(header[at & (HEADER - 1)]) << 8 | u64::from(header[(at + 1) & (HEADER - 1)]);
    }
    sum
}

/// A sum with its carries added in (RFC 1071), 16 bits of it.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// What became of refusals at an interface, for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Answers {
    /// Resets sent back.
    pub resets: u64,
    /// ICMP errors sent back.
    pub errors: u64,
    /// Nobody was told: it would have been one ICMP error too many.
    pub limited: u64,
    /// Nobody was told: the packet is one that is never answered.
    pub unanswerable: u64,
    /// The answer could not be made: no room in front of the packet, or no address to send from.
    pub failed: u64,
}

crate::shared!(Answers = 40);

impl Answers {
    /// Adds what another CPU counted.
    pub fn add_up(&mut self, other: &Self) {
        let Self { resets, errors, limited, unanswerable, failed } = other;
        self.resets += resets;
        self.errors += errors;
        self.limited += limited;
        self.unanswerable += unanswerable;
        self.failed += failed;
    }

    /// Refused packets, whatever became of them.
    pub const fn packets(&self) -> u64 {
        let Self { resets, errors, limited, unanswerable, failed } = *self;
        resets + errors + limited + unanswerable + failed
    }
}

/// How answers are made: what the kernel's parameters of the network namespace say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answering {
    /// `net.ipv4.ip_default_ttl`
    pub ttl: u32,
    /// `net.ipv6.conf.default.hop_limit`
    pub hop_limit: u32,
    /// Milliseconds between two ICMP errors to one destination (`net.ipv4.icmp_ratelimit`).
    pub icmp_interval: u32,
    /// The same of ICMPv6, a quarter of `net.ipv6.icmp.ratelimit`: the kernel takes that for a host on a wire of /64.
    pub icmp6_interval: u32,
    /// Nanoseconds between two to anybody (`net.ipv4.icmp_msgs_per_sec`).
    pub spacing: u32,
    /// How many may go at once (`net.ipv4.icmp_msgs_burst`).
    pub burst: u32,
}

crate::shared!(Answering = 24);

impl Answering {
    /// What the kernel starts with.
    pub const DEFAULT: Self =
        Self { ttl: 64, hop_limit: 64, icmp_interval: 1000, icmp6_interval: 250, spacing: 100_000, burst: 10_000 };
}

/// Buckets that limit ICMP errors, each for the destinations of one hash; a power of two.
pub const LIMITS: u32 = 4096;

/// The bucket of a destination.
#[inline(always)]
pub fn limit_of(packet: &Packet) -> u32 {
    let mut hash = packet.get(Field::SourceAddress);
    if packet.get(Field::NfProto) == NFPROTO_IPV6 {
        for index in 1..4 {
            hash = hash.wrapping_mul(0x9e37_79b1) ^ packet.get_at(Field::SourceAddress, index);
        }
    }
    (hash.wrapping_mul(0x9e37_79b1) >> 16) & (LIMITS - 1)
}

#[cfg(test)]
mod tests;
