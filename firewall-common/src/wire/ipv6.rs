//! IPv6 and its extension headers (RFC 8200).

use core::mem::{offset_of, size_of};

use network_types::ip::Ipv6Hdr;

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    limits::MAX_IPV6_EXTENSIONS,
    packet::{FRAGMENT_LATER, FRAGMENT_MORE},
    verdict::Reason,
};

/// Length of the fixed header, bytes.
pub const HEADER: usize = size_of::<Ipv6Hdr>();
/// The smallest extension header, and the unit their length is counted in, bytes.
pub const UNIT: usize = 8;

/// TCP.
const TCP: u8 = crate::wire::tcp::PROTOCOL;
/// Hop-by-hop options (RFC 8200 section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// Routing header (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// Fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
/// Destination options (RFC 8200 section 4.6).
pub const DESTINATION_OPTIONS: u8 = 60;

/// An IPv6 header that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The first eight bytes.
    pub words: [u32; 2],
    /// Source address, host byte order, most significant word first.
    pub source: [u32; 4],
    /// Destination address, host byte order, most significant word first.
    pub destination: [u32; 4],
    /// First next-header value.
    pub next: u8,
    /// Traffic class: DSCP and ECN.
    pub tos: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Length of header and payload as claimed, bytes; 0 in a packet that segmentation offload has yet to cut.
    pub total: u32,
}

/// What stands behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Upper-layer protocol: the first next-header value that is not one of the four walked over. An authentication
    /// header counts as upper layer, as it does for nftables (`nft_set_pktinfo_ipv6`, Linux 6.18).
    pub protocol: u8,
    /// Where it starts, bytes from the start of the frame.
    pub offset: u32,
    /// [`FRAGMENT_MORE`] and [`FRAGMENT_LATER`].
    pub fragment: u32,
    /// Fragment offset, bytes.
    pub fragment_offset: u32,
    /// Identification, for fragments.
    pub id: u32,
}

/// Reads the fixed header and checks its version; the payload length needs the frame's end to be known.
///
/// A payload length of 0 with a TCP segment behind it is that of a packet which segmentation offload has yet to cut
/// (BIG TCP): no other packet with an upper layer has none. Between the two Linux puts a hop-by-hop header with the
/// jumbo payload option (RFC 2675).
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32) -> Result<Header, Reason> {
    let header = bytes.header::<HEADER>(at).ok_or(Reason::Ipv6Truncated)?;
    let first = header.be32(offset_of!(Ipv6Hdr, vcf));
    if first >> 28 != 6 {
        return Err(Reason::Ipv6Version);
    }
    let payload = u32::from(header.be16(offset_of!(Ipv6Hdr, payload_len)));
    let next = header.u8(offset_of!(Ipv6Hdr, next_hdr));
    let uncut = payload == 0 && matches!(next, TCP | HOP_BY_HOP);
    Ok(Header {
        words: [header.be32(0), header.be32(4)],
        source: address(&header, offset_of!(Ipv6Hdr, src_addr)),
        destination: address(&header, offset_of!(Ipv6Hdr, dst_addr)),
        next,
        tos: (first >> 20) as u8,
        hop_limit: header.u8(offset_of!(Ipv6Hdr, hop_limit)),
        total: if uncut { 0 } else { payload + HEADER as u32 },
    })
}

#[inline(always)]
fn address<H: HeaderBytes>(header: &H, at: usize) -> [u32; 4] {
    [header.be32(at), header.be32(at + 4), header.be32(at + 8), header.be32(at + 12)]
}

/// Walks over the extension headers that start `at` bytes into the frame; the packet ends at `end`.
#[inline(always)]
pub fn extensions<P: PacketBytes + ?Sized>(bytes: &P, next: u8, at: u32, end: u32) -> Result<Upper, Reason> {
    let mut upper = Upper { protocol: next, offset: at, fragment: 0, fragment_offset: 0, id: 0 };
    for _ in 0..MAX_IPV6_EXTENSIONS {
        if !matches!(upper.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            return Ok(upper);
        }
        let header = bytes.header::<UNIT>(upper.offset).ok_or(Reason::Ipv6Truncated)?;
        let next = header.u8(0);
        let length = if upper.protocol == FRAGMENT { UNIT as u32 } else { (u32::from(header.u8(1)) + 1) * UNIT as u32 };
        if upper.offset + length > end {
            return Err(Reason::Ipv6Truncated);
        }
        upper.offset += length;
        if upper.protocol == FRAGMENT {
            let field = header.be16(2);
            upper.fragment_offset = u32::from(field & 0xfff8);
            upper.id = header.be32(4);
            let more = if field & 1 == 0 { 0 } else { FRAGMENT_MORE };
            let later = if upper.fragment_offset == 0 { 0 } else { FRAGMENT_LATER };
            upper.fragment = more | later;
            if later != 0 {
                // What follows is the middle of somebody's payload, whatever it looks like.
                upper.protocol = next;
                return Ok(upper);
            }
        }
        upper.protocol = next;
    }
    if matches!(upper.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
        Err(Reason::Ipv6TooManyExtensions)
    } else {
        Ok(upper)
    }
}
