//! What a SYN offers: window scaling (RFC 7323 section 2.2).

use super::Terms;
use crate::{
    bytes::{HeaderBytes, PacketBytes},
    packet::Packet,
};

/// End of the options (RFC 9293 section 3.2).
const END: u8 = 0;
/// Nothing: one byte that fills up.
const NO_OPERATION: u8 = 1;
/// Window scale, and its length.
const WINDOW_SCALE: (u8, u32) = (3, 3);

/// Options that are read, at most. A header has room for 40 of a byte each; what follows the first sixteen is not an
/// offer that anybody makes.
const MOST: u32 = 16;

/// How far the options are read, kept where [`PacketBytes::settled`] can read it back.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Scan {
    at: u32,
    terms: u32,
}

/// Reads the options of a parsed TCP segment. What is malformed ends them, as for `nf_conntrack` (`tcp_options`).
#[inline(always)]
pub fn offer<P: PacketBytes + ?Sized>(bytes: &P, packet: &Packet, scan: &mut Scan) -> Terms {
    let end = packet.l4_offset + bytes.settled(&packet.l4_length) - bytes.settled(&packet.payload_length);
    *scan = Scan { at: packet.l4_offset + crate::wire::tcp::HEADER as u32, terms: 0 };
    for _ in 0..MOST {
        if !step(bytes, end, scan) {
            break;
        }
    }
    Terms(bytes.settled(&scan.terms) as u8)
}

/// Reads one option; `false` behind the last one.
///
/// Three bytes or none: where the frame has fewer, there is no room for the option that is looked for.
#[inline(always)]
fn step<P: PacketBytes + ?Sized>(bytes: &P, end: u32, scan: &mut Scan) -> bool {
    let at = bytes.settled(&scan.at);
    let Some(option) = bytes.header::<3>(at) else {
        return false;
    };
    let kind = option.u8(0);
    let length = if kind == NO_OPERATION { 1 } else { u32::from(option.u8(1)) };
    let is_right = kind == NO_OPERATION || length >= 2;
    if kind == END || !is_right || at + length > end {
        return false;
    }
    if (kind, length) == WINDOW_SCALE {
        scan.terms = u32::from(Terms::scaling(option.u8(2)).0);
    }
    scan.at = at + length;
    true
}

#[cfg(test)]
mod tests;
