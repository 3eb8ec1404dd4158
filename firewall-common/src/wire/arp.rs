//! ARP (RFC 826). Only its length is checked: rules see ARP in their own family.

use core::mem::size_of;

use network_types::arp::ArpHdr;

use crate::{bytes::PacketBytes, verdict::Reason};

/// Length of the ARP header for Ethernet and IPv4, bytes.
pub const HEADER: usize = size_of::<ArpHdr>();

/// Checks that the header is whole.
#[inline(always)]
pub fn check<P: PacketBytes + ?Sized>(bytes: &P, at: u32) -> Result<(), Reason> {
    bytes.header::<HEADER>(at).map(drop).ok_or(Reason::ArpTruncated)
}
