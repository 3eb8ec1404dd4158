//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the parts a firewall needs.

use crate::bytes::{HeaderBytes, PacketBytes};

/// Protocol number of ICMP.
pub const PROTOCOL: u8 = 1;
/// Protocol number of ICMPv6.
pub const PROTOCOL_V6: u8 = 58;
/// Length of the header with its second word, bytes: what every message has.
pub const HEADER: usize = 8;

/// ICMP: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// ICMP: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// ICMPv6: echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
/// ICMPv6: echo reply.
pub const ECHO_REPLY_V6: u8 = 129;

/// Type, code and the first half of the second word: the identifier of an echo message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier; meaningful in queries and their answers.
    pub id: u16,
}

/// Reads the header; the packet has `room` bytes from `at` on.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32, room: u32) -> Option<Header> {
    if room < HEADER as u32 {
        return None;
    }
    let header = bytes.header::<HEADER>(at)?;
    Some(Header { kind: header.u8(0), code: header.u8(1), id: header.be16(4) })
}

/// Does this ICMP message carry the start of the packet it complains about? (RFC 792: destination unreachable, source
/// quench, redirect, time exceeded, parameter problem.)
#[inline(always)]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// The same for ICMPv6: types below 128 are errors (RFC 4443 section 2.1).
#[inline(always)]
pub const fn is_error_v6(kind: u8) -> bool {
    kind < 128
}

/// The ICMP query a message asks or answers, as the number of the request, and whether it is the answer.
///
/// Echo, timestamp, information and address mask, as `nf_conntrack` pairs them
/// (`net/netfilter/nf_conntrack_proto_icmp.c`, Linux 6.18).
#[inline(always)]
pub const fn query(kind: u8) -> Option<(u8, bool)> {
    match kind {
        ECHO_REQUEST => Some((ECHO_REQUEST, false)),
        ECHO_REPLY => Some((ECHO_REQUEST, true)),
        13 => Some((13, false)),
        14 => Some((13, true)),
        15 => Some((15, false)),
        16 => Some((15, true)),
        17 => Some((17, false)),
        18 => Some((17, true)),
        _ => None,
    }
}

/// The same for ICMPv6: echo and node information (`net/netfilter/nf_conntrack_proto_icmpv6.c`, Linux 6.18).
#[inline(always)]
pub const fn query_v6(kind: u8) -> Option<(u8, bool)> {
    match kind {
        ECHO_REQUEST_V6 => Some((ECHO_REQUEST_V6, false)),
        ECHO_REPLY_V6 => Some((ECHO_REQUEST_V6, true)),
        139 => Some((139, false)),
        140 => Some((139, true)),
        _ => None,
    }
}

/// Is this one of the ICMPv6 messages that connection tracking leaves alone: multicast listener discovery (130 to 132,
/// 143) and neighbour discovery (133 to 136)? They have the state `untracked`, as in `nf_conntrack`.
#[inline(always)]
pub const fn is_untracked_v6(kind: u8) -> bool {
    matches!(kind, 130..=136 | 143)
}
