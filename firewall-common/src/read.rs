//! Bytes that rules ask for beyond the words of a packet: [`crate::image::Op::Read`].
//!
//! Options and chunks are walked over one at a time, as the kernel's `nft_exthdr` walks over them (Linux 6.18), the oddities
//! included: what is found must be what nftables would have found. The state of a walk is a [`Scan`], so that in the kernel
//! `bpf_loop` can repeat [`step`].

mod ip_options;

use self::ip_options::step_ip_option;
use crate::{
    image::{Insn, Op},
    packet::{FRAGMENT_LATER, Field, LINK_ETHERNET, NFPROTO_IPV4, NFPROTO_IPV6, Packet, WORDS},
};

/// Bytes that are looked at together: a TCP header of the largest size fits.
pub const BUFFER: usize = 64;

/// The most bytes of a value.
pub const MAX_VALUE: u32 = 16;

/// Where bytes come from.
pub trait Source {
    /// Copies `length` bytes (1 to [`BUFFER`]) that start `at` bytes into the frame to the start of the buffer; `false`
    /// when the frame ends before.
    fn copy(&self, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool;
}

/// What bytes are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The frame.
    Link,
    /// The packet from its IP header on.
    Network,
    /// The upper-layer header and what follows.
    Transport,
    /// What the upper-layer header carries.
    Inner,
    /// The first IPv6 extension header of this type.
    Extension(u8),
    /// The IPv4 option of this type.
    IpOption(u8),
    /// The first TCP option of this kind.
    TcpOption(u8),
    /// The first SCTP chunk of this type.
    Chunk(u8),
}

const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const INNER: u32 = 3;
const EXTENSION: u32 = 4;
const IP_OPTION: u32 = 5;
const TCP_OPTION: u32 = 6;
const CHUNK: u32 = 7;

/// In the operand of the length: it is only asked whether the part is there.
const PRESENCE: u32 = 0x100;

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of what.
    pub part: Part,
    /// From which byte of it.
    pub first: u16,
    /// How many bytes.
    pub bytes: u8,
    /// Is it only asked whether the part is there? Then 1 or 0 is read, and every packet has that.
    pub presence: bool,
}

impl Read {
    /// The instruction, but for the register and where it leads.
    pub fn operands(self) -> Insn {
        let (part, of) = self.part_numbers();
        let presence = if self.presence { PRESENCE } else { 0 };
        Insn {
            op: Op::Read as u8,
            mask: part | u32::from(of) << 8,
            low: self.first.into(),
            high: u32::from(self.bytes) | presence,
            ..Insn::default()
        }
    }

    fn part_numbers(self) -> (u32, u8) {
        match self.part {
            Part::Link => (LINK, 0),
            Part::Network => (NETWORK, 0),
            Part::Transport => (TRANSPORT, 0),
            Part::Inner => (INNER, 0),
            Part::Extension(kind) => (EXTENSION, kind),
            Part::IpOption(kind) => (IP_OPTION, kind),
            Part::TcpOption(kind) => (TCP_OPTION, kind),
            Part::Chunk(kind) => (CHUNK, kind),
        }
    }
}

/// How far a walk is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scan {
    /// Bytes that were copied.
    pub bytes: [u8; BUFFER],
    /// Where the walk stands: bytes from the frame's start, of options from that of `bytes`.
    at: u32,
    /// Where what is walked over ends, likewise.
    end: u32,
    /// What stands there, of extension headers.
    next: u32,
    /// What is looked for.
    wanted: u32,
    /// Which part, as in the instruction.
    part: u32,
    /// Bytes of the wanted value, and the byte it starts with.
    value: [u32; 2],
    /// Was it found? 1 or 0.
    found: u32,
    /// Where it was found: bytes from the frame's start.
    place: u32,
    /// Of IPv4 options: which were seen, as bits.
    seen: u32,
    /// Where a source route is, from 1 on; 0 for none.
    source_route: u32,
    /// Where the record of a route is, likewise.
    record_route: u32,
    /// Where a router alert is, likewise.
    alert: u32,
}

// Of one packet on one CPU: not shared with user space, so no part of the layouts that are.
const _: () = assert!(core::mem::size_of::<Scan>() == BUFFER + 52);

impl Scan {
    /// Of nothing.
    pub const NEW: Self = Self {
        bytes: [0; BUFFER],
        at: 0,
        end: 0,
        next: 0,
        wanted: 0,
        part: 0,
        value: [0; 2],
        found: 0,
        place: 0,
        seen: 0,
        source_route: 0,
        record_route: 0,
        alert: 0,
    };

    #[inline(always)]
    fn byte(&self, at: u32) -> u32 {
        u32::from(self.bytes[at as usize & (BUFFER - 1)])
    }

    #[inline(always)]
    pub(crate) fn be16(&self, at: u32) -> u32 {
        self.byte(at) << 8 | self.byte(at + 1)
    }

    #[inline(always)]
    fn be32(&self, at: u32) -> u32 {
        self.be16(at) << 16 | self.be16(at + 2)
    }

    /// Was what was looked for found, and where: bytes from the frame's start?
    #[inline(always)]
    pub(crate) fn found(&self) -> Option<u32> {
        if self.found == 0 { None } else { Some(self.place) }
    }

    /// Where the walk ended, or began when it found nothing; 0 when there was nothing to walk over.
    #[inline(always)]
    pub(crate) fn place(&self) -> u32 {
        self.place
    }

    /// Found, or not, `place` bytes into the frame; the walk is over.
    #[inline(always)]
    fn finish(&mut self, found: bool, place: u32) -> bool {
        self.found = u32::from(found);
        self.place = place;
        false
    }

    /// Copies bytes that must be in front of `end`.
    #[inline(always)]
    fn copy<S: Source + ?Sized>(&mut self, source: &S, at: u32, length: u32, end: u32) -> bool {
        at + length <= end && source.copy(at, length, &mut self.bytes)
    }
}

/// The end of the packet's own bytes: behind it a frame may be filled up.
#[inline(always)]
fn packet_end(packet: &Packet) -> u32 {
    let length = packet.get(Field::Length);
    if length == 0 { packet.frame_length } else { packet.l3_offset + length }
}

#[inline(always)]
fn has_upper(packet: &Packet) -> bool {
    packet.get(Field::NfProto) != 0 && packet.get(Field::Fragment) & FRAGMENT_LATER == 0
}

/// IPv6 extension headers that can follow each other, IPv4 or TCP options, SCTP chunks: as many as a packet has room for.
const MOST_HEADERS: u32 = 0xffff / 8;
const MOST_OPTIONS: u32 = 41;
const MOST_CHUNKS: u32 = 0xffff / 4;

/// Begins: how often [`step`] must be repeated at most, until it says that it is done.
#[inline(always)]
pub fn begin<S: Source + ?Sized>(source: &S, insn: &Insn, packet: &Packet, scan: &mut Scan) -> u32 {
    scan.part = insn.mask & 0xff;
    scan.wanted = insn.mask >> 8 & 0xff;
    // Whether it is there does not depend on how long it is.
    scan.value = if insn.high & PRESENCE == 0 { [insn.high & 0xff, insn.low] } else { [0, 0] };
    (scan.found, scan.place) = (0, 0);
    scan.end = packet_end(packet);
    if scan.part == LINK {
        let has_link = packet.get(Field::Vlan) & LINK_ETHERNET != 0 && packet.get(Field::IifIndex) != 0;
        scan.finish(has_link, 0);
    } else if scan.part == NETWORK {
        scan.finish(true, packet.l3_offset);
    } else if scan.part == TRANSPORT {
        scan.finish(has_upper(packet), packet.l4_offset);
    } else if scan.part == INNER {
        begin_inner(source, packet, scan);
    } else if scan.part == EXTENSION {
        if packet.get(Field::NfProto) == NFPROTO_IPV6 {
            scan.at = packet.l3_offset + 40;
            scan.next = packet.get(Field::NetworkHeaderNext) >> 8 & 0xff;
            return MOST_HEADERS;
        }
    } else if scan.part == IP_OPTION {
        return begin_ip_options(source, packet, scan);
    } else if scan.part == TCP_OPTION {
        return begin_tcp_options(source, packet, scan);
    } else if scan.part == CHUNK && packet.get(Field::L4Proto) == SCTP && has_upper(packet) {
        scan.at = packet.l4_offset + 12;
        return MOST_CHUNKS;
    }
    0
}

const TCP: u32 = 6;
const UDP: u32 = 17;
const GRE: u32 = 47;
const IPIP: u32 = 4;
const SCTP: u32 = 132;

/// Where what an upper-layer header carries starts (`__nft_payload_inner_offset`, `net/netfilter/nft_payload.c`).
#[inline(always)]
fn begin_inner<S: Source + ?Sized>(source: &S, packet: &Packet, scan: &mut Scan) {
    let (protocol, at) = (packet.get(Field::L4Proto), packet.l4_offset);
    if !has_upper(packet) {
        return;
    }
    if protocol == TCP {
        scan.finish(true, at + tcp_header(packet));
    } else if protocol == UDP {
        scan.finish(true, at + 8);
    } else if protocol == IPIP {
        scan.finish(true, at);
    } else if protocol == GRE && scan.copy(source, at, 4, scan.end) {
        let flags = scan.be16(0);
        let optional = |bit: u32| if flags & bit == 0 { 0 } else { 4 };
        // Version 0 without routing (RFC 1701): checksum, key, sequence number.
        let is_known = flags & 0x4007 == 0;
        scan.finish(is_known, at + 4 + optional(0x8000) + optional(0x2000) + optional(0x1000));
    }
}

#[inline(always)]
fn tcp_header(packet: &Packet) -> u32 {
    (packet.get(Field::TcpWindow) >> 28) * 4
}

#[inline(always)]
fn begin_ip_options<S: Source + ?Sized>(source: &S, packet: &Packet, scan: &mut Scan) -> u32 {
    let length = (packet.get(Field::NetworkHeader) >> 24 & 0xf) * 4;
    if packet.get(Field::NfProto) != NFPROTO_IPV4 || length <= 20 {
        return 0;
    }
    let end = scan.end;
    if !scan.copy(source, packet.l3_offset + 20, length - 20, end) {
        return 0;
    }
    (scan.at, scan.end, scan.place) = (0, length - 20, packet.l3_offset + 20);
    (scan.seen, scan.source_route, scan.record_route, scan.alert) = (0, 0, 0, 0);
    MOST_OPTIONS
}

#[inline(always)]
fn begin_tcp_options<S: Source + ?Sized>(source: &S, packet: &Packet, scan: &mut Scan) -> u32 {
    if packet.get(Field::L4Proto) != TCP || !has_upper(packet) {
        return 0;
    }
    let (length, end) = (tcp_header(packet), scan.end);
    if length < 20 || !scan.copy(source, packet.l4_offset, length, end) {
        return 0;
    }
    (scan.at, scan.end, scan.place) = (20, length, packet.l4_offset);
    MOST_OPTIONS
}

/// Looks at one header, option or chunk; `false` when the walk is over.
#[inline(always)]
pub fn step<S: Source + ?Sized>(source: &S, scan: &mut Scan) -> bool {
    if scan.part == EXTENSION {
        step_extension(source, scan)
    } else if scan.part == IP_OPTION {
        step_ip_option(scan)
    } else if scan.part == TCP_OPTION {
        step_tcp_option(scan)
    } else {
        step_chunk(source, scan)
    }
}

const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const NOTHING: u32 = 59;
const DESTINATION: u32 = 60;

/// `ipv6_find_hdr` (`net/ipv6/exthdrs_core.c`), with a header that is looked for.
#[inline(always)]
fn step_extension<S: Source + ?Sized>(source: &S, scan: &mut Scan) -> bool {
    let (at, next, end) = (scan.at, scan.next, scan.end);
    let found = next == scan.wanted;
    let is_extension =
        next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION || next == DESTINATION;
    if !is_extension || next == NOTHING {
        return scan.finish(found, at);
    }
    let looked_at = if next == ROUTING || next == FRAGMENT { 4 } else { 2 };
    if !scan.copy(source, at, looked_at, end) {
        return scan.finish(false, at);
    }
    if found {
        return scan.finish(true, at);
    }
    if next == FRAGMENT && scan.be16(2) & 0xfff8 != 0 {
        // What follows is the middle of somebody's payload.
        return scan.finish(false, at);
    }
    let units = scan.byte(1);
    let length = if next == FRAGMENT {
        8
    } else if next == AUTHENTICATION {
        (units + 2) * 4
    } else {
        (units + 1) * 8
    };
    scan.next = scan.byte(0);
    scan.at = at + length;
    true
}

/// `nft_exthdr_tcp_eval`: the end of options does not end them, a length of 0 counts as 1.
#[inline(always)]
fn step_tcp_option(scan: &mut Scan) -> bool {
    let at = scan.at;
    if at + 1 >= scan.end {
        return false;
    }
    let (kind, said) = (scan.byte(at), scan.byte(at + 1));
    let length = if kind <= 1 || said == 0 { 1 } else { said };
    if kind == scan.wanted {
        let [bytes, first] = scan.value;
        let is_whole = at + length <= scan.end && first + bytes <= length;
        return scan.finish(is_whole, scan.place + at);
    }
    scan.at = at + length;
    true
}

/// `nft_exthdr_sctp_eval`
#[inline(always)]
fn step_chunk<S: Source + ?Sized>(source: &S, scan: &mut Scan) -> bool {
    let (at, end) = (scan.at, scan.end);
    if !scan.copy(source, at, 4, end) {
        return false;
    }
    let (kind, length) = (scan.byte(0), scan.be16(2));
    if length == 0 {
        return false;
    }
    if kind == scan.wanted {
        let [bytes, first] = scan.value;
        return scan.finish(bytes == 0 || first + bytes <= length && at + length <= end, at);
    }
    scan.at = at + ((length + 3) & !3);
    true
}

/// Ends: reads what was found into the register; `false` when the packet has no such value.
#[inline(always)]
pub fn finish<S: Source + ?Sized>(source: &S, insn: &Insn, packet: &mut Packet, scan: &mut Scan) -> bool {
    let register = insn.extra as usize;
    if insn.high & PRESENCE != 0 {
        packet.words[register & (WORDS - 1)] = scan.found;
        return true;
    }
    if scan.found == 0 {
        return false;
    }
    let (length, end) = (((scan.value[0] - 1) & (MAX_VALUE - 1)) + 1, packet_end(packet));
    for byte in scan.bytes.iter_mut().take(MAX_VALUE as usize) {
        *byte = 0;
    }
    let at = scan.place + scan.value[1];
    if !scan.copy(source, at, length, end) {
        return false;
    }
    if length <= 4 {
        packet.words[register & (WORDS - 1)] = scan.be32(0) >> (8 * (4 - length));
        return true;
    }
    for index in 0..4 {
        packet.words[(register + index) & (WORDS - 1)] = scan.be32(4 * index as u32);
    }
    true
}

/// Reads without help.
#[cfg(any(test, feature = "user"))]
pub fn read<S: Source + ?Sized>(source: &S, insn: &Insn, packet: &mut Packet) -> bool {
    let mut scan = Scan::NEW;
    for _ in 0..begin(source, insn, packet, &mut scan) {
        if !step(source, &mut scan) {
            break;
        }
    }
    finish(source, insn, packet, &mut scan)
}

#[cfg(any(test, feature = "user"))]
impl Source for [u8] {
    fn copy(&self, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool {
        let (at, length) = (at as usize, length as usize);
        let (Some(from), Some(into)) = (self.get(at..at + length), into.get_mut(..length)) else { return false };
        into.copy_from_slice(from);
        true
    }
}

#[cfg(test)]
mod tests;
