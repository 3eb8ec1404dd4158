//! SCTP (RFC 9260) and DCCP (RFC 4340): only the ports, which both have first.

use core::mem::{offset_of, size_of};

use network_types::sctp::SctpHdr;

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    verdict::Reason,
};

/// Protocol number of SCTP.
pub const PROTOCOL: u8 = 132;
/// Protocol number of DCCP.
pub const PROTOCOL_DCCP: u8 = 33;
/// Length of the common header, bytes; DCCP's generic header has as many (RFC 4340 section 5.1, short form).
pub const HEADER: usize = size_of::<SctpHdr>();

/// Source and destination port; the packet has `room` bytes from `at` on.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32, room: u32) -> Result<(u16, u16), Reason> {
    if room < HEADER as u32 {
        return Err(Reason::SctpTruncated);
    }
    let header = bytes.header::<HEADER>(at).ok_or(Reason::SctpTruncated)?;
    Ok((header.be16(offset_of!(SctpHdr, src)), header.be16(offset_of!(SctpHdr, dst))))
}
