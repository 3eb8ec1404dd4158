//! The packet that an ICMP error quotes.
//!
//! It is the start of a packet that passed here before, cut after its first bytes (RFC 792: 8 of the payload; RFC 4443
//! section 2.4: as much as fits), so lengths are not checked against anything: only what the connection's key needs is
//! read.

use core::mem::offset_of;

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    flow::{Endpoint, Tuple, query_ports},
    packet::{NFPROTO_IPV4, NFPROTO_IPV6},
    wire::{icmp, ipv4, ipv6, sctp, tcp, udp},
};

/// Bytes of the quoted payload that are read: those RFC 792 promises.
const PAYLOAD: usize = 8;

/// What is known of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its tuple, as [`Tuple::of`] has it.
    pub tuple: Tuple,
    /// Where its upper layer's header starts, bytes into the frame.
    pub upper: u32,
}

/// The packet quoted `at` bytes into the frame, in a message of network family `family`.
#[inline(always)]
pub fn read<P: PacketBytes + ?Sized>(bytes: &P, at: u32, family: u32) -> Option<Quoted> {
    if family == NFPROTO_IPV4 { read_v4(bytes, at) } else { read_v6(bytes, at) }
}

#[inline(always)]
fn read_v4<P: PacketBytes + ?Sized>(bytes: &P, at: u32) -> Option<Quoted> {
    let header = bytes.header::<{ ipv4::HEADER }>(at)?;
    let version_ihl = header.u8(offset_of!(Ipv4Hdr, vihl));
    let length = u32::from(version_ihl & 15) * 4;
    let later_fragment = header.be16(offset_of!(Ipv4Hdr, frags)) & 0x1fff != 0;
    if version_ihl >> 4 != 4 || length < ipv4::HEADER as u32 || later_fragment {
        return None;
    }
    let protocol = header.u8(offset_of!(Ipv4Hdr, proto));
    let (source, destination) = ports(bytes, protocol, NFPROTO_IPV4, at + length)?;
    let address = |field| [u64::from(header.be32(field)), 0];
    let tuple = Tuple {
        source: Endpoint { address: address(offset_of!(Ipv4Hdr, src_addr)), port: source },
        destination: Endpoint { address: address(offset_of!(Ipv4Hdr, dst_addr)), port: destination },
        protocol,
        family: NFPROTO_IPV4 as u8,
    };
    Some(Quoted { tuple, upper: at + length })
}

#[inline(always)]
fn read_v6<P: PacketBytes + ?Sized>(bytes: &P, at: u32) -> Option<Quoted> {
    let header = bytes.header::<{ ipv6::HEADER }>(at)?;
    if header.u8(0) >> 4 != 6 {
        return None;
    }
    let next = header.u8(offset_of!(Ipv6Hdr, next_hdr));
    let upper = ipv6::extensions(bytes, next, at + ipv6::HEADER as u32, u32::MAX).ok()?;
    if upper.fragment_offset != 0 {
        return None;
    }
    let (source, destination) = ports(bytes, upper.protocol, NFPROTO_IPV6, upper.offset)?;
    let half = |field| u64::from(header.be32(field)) << 32 | u64::from(header.be32(field + 4));
    let address = |field| [half(field), half(field + 8)];
    let tuple = Tuple {
        source: Endpoint { address: address(offset_of!(Ipv6Hdr, src_addr)), port: source },
        destination: Endpoint { address: address(offset_of!(Ipv6Hdr, dst_addr)), port: destination },
        protocol: upper.protocol,
        family: NFPROTO_IPV6 as u8,
    };
    Some(Quoted { tuple, upper: upper.offset })
}

/// Source and destination port of the quoted payload, as [`Tuple::of`] has them. An error about an ICMP error, or
/// about anything else that is no query, quotes no connection.
#[inline(always)]
fn ports<P: PacketBytes + ?Sized>(bytes: &P, protocol: u8, family: u32, at: u32) -> Option<(u16, u16)> {
    let own_icmp = if family == NFPROTO_IPV4 { icmp::PROTOCOL } else { icmp::PROTOCOL_V6 };
    match protocol {
        tcp::PROTOCOL | udp::PROTOCOL | udp::PROTOCOL_LITE | sctp::PROTOCOL | sctp::PROTOCOL_DCCP => {
            let header = bytes.header::<PAYLOAD>(at)?;
            Some((header.be16(0), header.be16(2)))
        }
        icmp::PROTOCOL | icmp::PROTOCOL_V6 if protocol == own_icmp => {
            let header = bytes.header::<PAYLOAD>(at)?;
            let kind = header.u8(0);
            let query = if protocol == icmp::PROTOCOL { icmp::query(kind) } else { icmp::query_v6(kind) };
            query.is_some().then(|| query_ports(query, u32::from(header.be16(4))))
        }
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests;
