//! What a refused packet's sender is told.

/// A TCP reset.
pub const RESET: u8 = 0;
/// An ICMP error "destination unreachable".
pub const ICMP: u8 = 1;
/// An ICMPv6 error "destination unreachable".
pub const ICMP6: u8 = 2;
/// An ICMP or ICMPv6 error, by the packet's family: the code is one of nftables' own (`NFT_REJECT_ICMPX_*`).
pub const EITHER: u8 = 3;
