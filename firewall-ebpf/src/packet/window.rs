//! Bytes that were checked to be there.

use firewall_common::bytes::HeaderBytes;

use crate::verifier::{load_u8, load_u16, load_u32, opaque};

/// Bytes from the start of a frame within which headers are looked for: two VLAN tags, an IPv6 header, eight extension
/// headers of the largest size and a TCP header end before it. The verifier wants packet offsets below 2^16.
const REACH: u32 = 0x7fff;

/// Bytes of a packet that were checked to be there.
#[derive(Clone, Copy)]
pub struct Window<const N: usize>(pub(super) usize);

impl<const N: usize> HeaderBytes for Window<N> {
    #[inline(always)]
    fn u8(&self, at: usize) -> u8 {
        // SAFETY: `at` is a constant within the N bytes that were checked; the verifier refuses anything else.
        unsafe { load_u8(self.0 + at) }
    }

    #[inline(always)]
    fn be16(&self, at: usize) -> u16 {
        // SAFETY: as above.
        u16::from_be(unsafe { load_u16(self.0 + at) })
    }

    #[inline(always)]
    fn be32(&self, at: usize) -> u32 {
        // SAFETY: as above.
        u32::from_be(unsafe { load_u32(self.0 + at) })
    }
}

#[inline(always)]
pub(super) fn window<const N: usize>(data: usize, data_end: usize, at: u32) -> Option<Window<N>> {
    if at > REACH {
        return None;
    }
    let start = opaque(data + at as usize);
    if start + N > data_end { None } else { Some(Window(start)) }
}
