//! Ethernet II (IEEE 802.3) and VLAN tags (IEEE 802.1Q, 802.1ad).

use core::mem::{offset_of, size_of};

use network_types::{eth::EthHdr, vlan::VlanHdr};

use crate::{
    bytes::{HeaderBytes, PacketBytes},
    limits::MAX_VLAN_TAGS,
    packet::{LINK_ETHERNET, VLAN_TAGGED},
    verdict::Reason,
};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a customer VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (IEEE 802.1ad).
pub const VLAN_SERVICE: u16 = 0x88a8;
/// EtherType that old switches use for an outer tag; Linux drivers pass it up untouched, so it must not hide a packet.
pub const VLAN_LEGACY: u16 = 0x9100;

/// Length of the Ethernet header, bytes.
pub const HEADER: usize = size_of::<EthHdr>();
/// Length of a VLAN tag, bytes.
pub const TAG: usize = size_of::<VlanHdr>();

/// Where the sender's address is.
const SOURCE: usize = offset_of!(EthHdr, src_addr);

/// What stands before the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// EtherType behind any tags.
    pub ether_type: u16,
    /// As in [`Field::Vlan`](crate::packet::Field::Vlan).
    pub vlan: u32,
    /// EtherType behind the outermost tag.
    pub vlan_type: u16,
    /// The header's first 14 bytes: the addresses, and the EtherType in front of any tags. The second word overlaps
    /// the third.
    pub header: [u32; 4],
    /// Where the network header starts, bytes from the start of the frame.
    pub l3_offset: u32,
}

/// Is this the EtherType of a VLAN tag?
#[inline(always)]
pub const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, VLAN | VLAN_SERVICE | VLAN_LEGACY)
}

/// Reads the Ethernet header and the tags behind it.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P) -> Result<Link, Reason> {
    let header = bytes.header::<HEADER>(0).ok_or(Reason::EthernetTruncated)?;
    let mut link = Link {
        ether_type: header.be16(offset_of!(EthHdr, ether_type)),
        vlan: LINK_ETHERNET,
        vlan_type: 0,
        header: [header.be32(0), header.be32(4), header.be32(SOURCE), header.be32(SOURCE + 4)],
        l3_offset: HEADER as u32,
    };
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(link.ether_type) {
            return Ok(link);
        }
        let tag = bytes.header::<TAG>(link.l3_offset).ok_or(Reason::VlanTruncated)?;
        if link.vlan & VLAN_TAGGED == 0 {
            link.vlan |= VLAN_TAGGED | u32::from(tag.be16(offset_of!(VlanHdr, tci)));
            link.vlan_type = tag.be16(offset_of!(VlanHdr, ether_type));
        }
        link.ether_type = tag.be16(offset_of!(VlanHdr, ether_type));
        link.l3_offset += TAG as u32;
    }
    if is_tag(link.ether_type) { Err(Reason::VlanTooManyTags) } else { Ok(link) }
}
