//! What rules write into headers: [`crate::image::Op::Edit`].
//!
//! Two bytes at a time, at an even offset from the start of their header, because that is what checksums add up. `mask` says
//! which of their bits; the value is the word of `field`, shifted right and then left as in [`crate::image::Op::Compute`].
//! `low` is the offset, plus [`NETWORK`] or [`TRANSPORT`], plus what covers the bytes.

use crate::{
    image::Insn,
    packet::{Packet, WORDS},
};

/// The header is that of the network layer; without this or the next one, the frame.
pub const NETWORK: u32 = 1 << 16;
/// The header is that of the upper layer.
pub const TRANSPORT: u32 = 2 << 16;
/// The checksum of the IPv4 header covers the bytes.
pub const HEADER_SUM: u32 = 1 << 20;
/// That of the upper layer does, as part of its pseudo header.
pub const PSEUDO_SUM: u32 = 2 << 20;
/// That of the upper layer does.
pub const PAYLOAD_SUM: u32 = 4 << 20;

/// Where the checksum of the IPv4 header is.
pub const HEADER_SUM_AT: u32 = 10;

/// The value to write.
#[inline(always)]
pub fn value(insn: &Insn, packet: &Packet) -> u32 {
    let word = u64::from(packet.words[insn.field as usize & (WORDS - 1)]);
    (word >> (insn.high & 63) << (insn.high >> 8 & 63)) as u32
}

/// Where an upper layer has its checksum; `None` for one without, or with one that is no sum.
#[inline(always)]
pub const fn sum_at(protocol: u32) -> Option<u32> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    }
}

/// Is the pseudo header part of the checksum?
#[inline(always)]
pub const fn has_pseudo_header(protocol: u32) -> bool {
    matches!(protocol, 6 | 17 | 58)
}

/// A checksum after two of the bytes that it covers have changed (RFC 1624, equation 3).
#[inline(always)]
pub const fn updated(sum: u16, old: u16, new: u16) -> u16 {
    let total = (!sum) as u32 + (!old) as u32 + new as u32;
    let folded = (total & 0xffff) + (total >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(words: &[u16]) -> u16 {
        let mut total: u32 = words.iter().map(|word| u32::from(*word)).sum();
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn a_changed_word_changes_the_sum_as_if_made_anew() {
        let values = [0, 1, 0x00ff, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x1234];
        for old in values {
            for new in values {
                for other in [1, 0x4500, 0xffff] {
                    let (before, after) = (sum(&[other, old, 0x1111]), sum(&[other, new, 0x1111]));
                    let got = updated(before, old, new);
                    // All bits set and none are both zero to a sum in one's complement.
                    let same = got == after || (got == 0xffff && after == 0) || (got == 0 && after == 0xffff);
                    assert!(same, "{old:x} {new:x} {other:x}: {got:x}, not {after:x}");
                }
            }
        }
    }
}
