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
    /// The whole second word.
    pub rest: u32,
}

/// Reads the header; the packet has `room` bytes from `at` on.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32, room: u32) -> Option<Header> {
    if room < HEADER as u32 {
        return None;
    }
    let header = bytes.header::<HEADER>(at)?;
    Some(Header { kind: header.u8(0), code: header.u8(1), id: header.be16(4), rest: header.be32(4) })
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

/// The query that an ICMP message asks or answers.
///
/// One number and not an `Option` of a pair: the pair would be undefined for other messages, and the verifier refuses
/// arithmetic on what an undefined register happens to hold ("bitwise operator &= on pointer prohibited").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query(u16);

impl Query {
    /// The message is no query and no answer.
    pub const NONE: Self = Self(0x200);

    /// The message is a request of this type.
    pub const fn request(kind: u8) -> Self {
        Self(kind as u16)
    }

    /// The message answers a request of this type.
    pub const fn answer(kind: u8) -> Self {
        Self(0x100 | kind as u16)
    }

    /// Is the message a request or an answer?
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 != Self::NONE.0
    }

    /// Is it an answer?
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// Type of the request.
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        self.0 as u8
    }
}

/// The ICMP query a message asks or answers.
///
/// Echo, timestamp, information and address mask, as `nf_conntrack` pairs them
/// (`net/netfilter/nf_conntrack_proto_icmp.c`, Linux 6.18).
#[inline(always)]
pub const fn query(kind: u8) -> Query {
    match kind {
        ECHO_REQUEST | 13 | 15 | 17 => Query::request(kind),
        ECHO_REPLY => Query::answer(ECHO_REQUEST),
        14 | 16 | 18 => Query::answer(kind - 1),
        _ => Query::NONE,
    }
}

/// The same for ICMPv6: echo and node information (`net/netfilter/nf_conntrack_proto_icmpv6.c`, Linux 6.18).
#[inline(always)]
pub const fn query_v6(kind: u8) -> Query {
    match kind {
        ECHO_REQUEST_V6 | 139 => Query::request(kind),
        ECHO_REPLY_V6 | 140 => Query::answer(kind - 1),
        _ => Query::NONE,
    }
}

/// Is this one of the ICMPv6 messages that connection tracking leaves alone: multicast listener discovery (130 to 132,
/// 143) and neighbour discovery (133 to 136)? They have the state `untracked`, as in `nf_conntrack`.
#[inline(always)]
pub const fn is_untracked_v6(kind: u8) -> bool {
    matches!(kind, 130..=136 | 143)
}
