//! UDP (RFC 768) and UDP-Lite (RFC 3828), whose ports stand in the same place.

use core::mem::{offset_of, size_of};

use network_types::udp::UdpHdr;

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    verdict::Reason,
};

/// Protocol number of UDP.
pub const PROTOCOL: u8 = 17;
/// Protocol number of UDP-Lite.
pub const PROTOCOL_LITE: u8 = 136;
/// Length of the header, bytes.
pub const HEADER: usize = size_of::<UdpHdr>();

/// Source and destination port, and the bytes behind them; the packet has `room` bytes from `at` on.
///
/// `length_covers` says whether the length field is the datagram's length, as in UDP: then it must be at least 8 and
/// within the packet, unless the packet is a first fragment (`whole` is false).
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    at: u32,
    room: u32,
    length_covers: bool,
    whole: bool,
) -> Result<((u16, u16), u32), Reason> {
    if room < HEADER as u32 {
        return Err(Reason::UdpTruncated);
    }
    let header = bytes.header::<HEADER>(at).ok_or(Reason::UdpTruncated)?;
    let length = u32::from(header.be16(offset_of!(UdpHdr, len)));
    if length_covers && (length < HEADER as u32 || whole && length > room) {
        return Err(Reason::UdpLength);
    }
    let ports = (header.be16(offset_of!(UdpHdr, src)), header.be16(offset_of!(UdpHdr, dst)));
    Ok((ports, header.be32(offset_of!(UdpHdr, len))))
}
