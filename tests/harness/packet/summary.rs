//! What a test wants to know about a frame that arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ether_type, protocol};

/// The fields of an IP packet that tests look at. Only packets without IPv6 extension headers are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Upper-layer protocol, see [`protocol`].
    pub protocol: u8,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Flags of TCP, see [`super::flag`].
    pub tcp_flags: Option<u8>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
}

impl Summary {
    /// Reads a frame; `None` when it is no IP packet, or cut short.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        while [ether_type::VLAN, ether_type::SERVICE_VLAN].contains(&short(frame, at)?) {
            at += 4;
        }
        let packet = frame.get(at + 2..)?;
        match short(frame, at)? {
            ether_type::IPV4 => Self::of_ipv4(packet),
            ether_type::IPV6 => Self::of_ipv6(packet),
            _ => None,
        }
    }

    fn of_ipv4(packet: &[u8]) -> Option<Self> {
        let address = |at| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
        let upper = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
        Some(Self::of_upper(address(12)?.into(), address(16)?.into(), packet[9], upper))
    }

    fn of_ipv6(packet: &[u8]) -> Option<Self> {
        let address = |at| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
        Some(Self::of_upper(address(8)?.into(), address(24)?.into(), packet[6], packet.get(40..)?))
    }

    fn of_upper(source: IpAddr, destination: IpAddr, protocol: u8, upper: &[u8]) -> Self {
        let ports = match protocol {
            protocol::TCP | protocol::UDP => short(upper, 0).zip(short(upper, 2)),
            _ => None,
        };
        let tcp_flags = if protocol == protocol::TCP { upper.get(13).copied() } else { None };
        let is_icmp = [protocol::ICMP, protocol::ICMPV6].contains(&protocol);
        let icmp = upper.get(..2).filter(|_| is_icmp).map(|bytes| (bytes[0], bytes[1]));
        Self { source, destination, protocol, ports, tcp_flags, icmp }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
