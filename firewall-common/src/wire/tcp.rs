//! TCP (RFC 9293).

use core::mem::{offset_of, size_of};

use network_types::tcp::TcpHdr;

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    verdict::Reason,
};

/// Protocol number.
pub const PROTOCOL: u8 = 6;
/// Length of the header without options, bytes.
pub const HEADER: usize = size_of::<TcpHdr>();
/// Where data offset (upper 4 bits) and flags (lower 8) are: `network-types` keeps them in a bit field without a name.
const OFFSET_AND_FLAGS: usize = offset_of!(TcpHdr, ack_seq) + 4;

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Synchronize sequence numbers.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// The acknowledgement field is significant.
pub const ACK: u8 = 0x10;
/// The urgent pointer is significant.
pub const URG: u8 = 0x20;
/// ECN echo (RFC 3168).
pub const ECE: u8 = 0x40;
/// Congestion window reduced (RFC 3168).
pub const CWR: u8 = 0x80;

/// A TCP header that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, meaningful with [`ACK`].
    pub ack: u32,
    /// Flags, the low 8 bits.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Header length with options, bytes.
    pub length: u32,
    /// Bytes 12 to 19.
    pub words: [u32; 2],
}

/// Reads the header; the packet has `room` bytes from `at` on.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, at: u32, room: u32) -> Result<Header, Reason> {
    if room < HEADER as u32 {
        return Err(Reason::TcpTruncated);
    }
    let header = bytes.header::<HEADER>(at).ok_or(Reason::TcpTruncated)?;
    let offset_and_flags = header.be16(OFFSET_AND_FLAGS);
    let length = u32::from(offset_and_flags >> 12) * 4;
    if length < HEADER as u32 || length > room {
        return Err(Reason::TcpDataOffset);
    }
    Ok(Header {
        source: header.be16(offset_of!(TcpHdr, source)),
        destination: header.be16(offset_of!(TcpHdr, dest)),
        seq: header.be32(offset_of!(TcpHdr, seq)),
        ack: header.be32(offset_of!(TcpHdr, ack_seq)),
        flags: offset_and_flags as u8,
        window: header.be16(offset_of!(TcpHdr, window)),
        length,
        words: [header.be32(OFFSET_AND_FLAGS), header.be32(OFFSET_AND_FLAGS + 4)],
    })
}
