//! IPv4 (RFC 791).

use core::mem::{offset_of, size_of};

use network_types::ip::Ipv4Hdr;

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    packet::{FRAGMENT_LATER, FRAGMENT_MORE},
    verdict::Reason,
};

/// Length of the header without options, bytes.
pub const HEADER: usize = size_of::<Ipv4Hdr>();
/// More fragments (RFC 791 section 3.1), in the fragment field.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Fragment offset, in units of 8 bytes, in the fragment field.
const OFFSET: u16 = 0x1fff;

/// An IPv4 header that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The first eight bytes.
    pub words: [u32; 2],
    /// Source address, host byte order.
    pub source: u32,
    /// Destination address, host byte order.
    pub destination: u32,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Header length with options, bytes: at least 20.
    pub length: u32,
    /// Length of header and payload as claimed, bytes; 0 in a packet that segmentation offload has yet to cut.
    pub total: u32,
    /// [`FRAGMENT_MORE`] and [`FRAGMENT_LATER`].
    pub fragment: u32,
    /// Fragment offset, bytes.
    pub fragment_offset: u32,
    /// Identification, for fragments.
    pub id: u16,
}

/// Reads the header and checks what the kernel's `ip_rcv_core` (`net/ipv4/ip_input.c`) checks, but for the checksum
/// and the total length, for which the frame's end must be known.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32) -> Result<Header, Reason> {
    let header = bytes.header::<HEADER>(at).ok_or(Reason::Ipv4Truncated)?;
    let version_ihl = header.u8(offset_of!(Ipv4Hdr, vihl));
    if version_ihl >> 4 != 4 {
        return Err(Reason::Ipv4Version);
    }
    let length = u32::from(version_ihl & 15) * 4;
    if length < HEADER as u32 {
        return Err(Reason::Ipv4HeaderLength);
    }
    let total = u32::from(header.be16(offset_of!(Ipv4Hdr, tot_len)));
    let frags = header.be16(offset_of!(Ipv4Hdr, frags));
    let fragment_offset = u32::from(frags & OFFSET) * 8;
    if fragment_offset + total > 0xffff && fragment_offset > 0 {
        return Err(Reason::Ipv4FragmentOverrun);
    }
    let more = if frags & MORE_FRAGMENTS == 0 { 0 } else { FRAGMENT_MORE };
    let later = if fragment_offset == 0 { 0 } else { FRAGMENT_LATER };
    Ok(Header {
        words: [header.be32(0), header.be32(4)],
        source: header.be32(offset_of!(Ipv4Hdr, src_addr)),
        destination: header.be32(offset_of!(Ipv4Hdr, dst_addr)),
        protocol: header.u8(offset_of!(Ipv4Hdr, proto)),
        tos: header.u8(offset_of!(Ipv4Hdr, tos)),
        ttl: header.u8(offset_of!(Ipv4Hdr, ttl)),
        length,
        total,
        fragment: more | later,
        fragment_offset,
        id: header.be16(offset_of!(Ipv4Hdr, id)),
    })
}
