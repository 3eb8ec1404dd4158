//! The largest TCP segment that a packet's routes take (`rt mtu`): [`crate::image::Op::Mtu`].
//!
//! As `get_tcpmss` has it (`net/netfilter/nft_rt.c`, Linux 6.18): the least of the route that the packet takes and of the one back to
//! its sender, without the headers.

use crate::packet::{Field, NFPROTO_IPV4, Packet};

/// No route says anything: larger than any segment, so an option that is only made smaller stays.
pub const UNLIMITED: u32 = 0xffff;

/// `TCP_MSS_DEFAULT` (include/net/tcp.h)
const DEFAULT: u32 = 536;

/// IPv4 or IPv6 and TCP, without options.
#[inline(always)]
fn headers(packet: &Packet) -> u32 {
    if packet.get(Field::NfProto) == NFPROTO_IPV4 { 40 } else { 60 }
}

/// The largest segment by what both routes take, bytes.
#[inline(always)]
pub fn segment(packet: &Packet, forward: u32, back: u32) -> u32 {
    let (least, headers) = (if forward < back { forward } else { back }, headers(packet));
    if least <= headers || least > 0xffff { DEFAULT } else { least - headers }
}

/// Does the packet come from this host? Its own stack has chosen the size by the same route.
#[inline(always)]
pub fn is_own(packet: &Packet) -> bool {
    packet.get(Field::IifIndex) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_way_decides() {
        let mut packet = Packet::EMPTY;
        packet.set(Field::NfProto, NFPROTO_IPV4);
        assert_eq!(segment(&packet, 1492, 1500), 1452);
        assert_eq!(segment(&packet, 9000, 1280), 1240);
        assert_eq!(segment(&packet, 40, 1500), 536);
        packet.set(Field::NfProto, crate::packet::NFPROTO_IPV6);
        assert_eq!(segment(&packet, 1492, 0xffff), 1432);
        assert_eq!(segment(&packet, 0x1_0000, 0x1_0000), 536);
    }
}
