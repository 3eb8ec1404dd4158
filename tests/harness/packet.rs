//! Frames byte by byte: right by default, wrong where a test says so.
//!
//! A frame is put together from its layers. Every header is a struct with public fields; a field that is normally
//! computed (lengths, checksums, what follows) is an `Option`, and setting it breaks just that field:
//!
//! ```
//! use firewall_tests::{packet::{Frame, Ipv4, Tcp, flag}, topology::{CLIENT, SERVER}};
//!
//! let syn = Frame::new(Ipv4::new(CLIENT, SERVER), Tcp::new(40000, 22, flag::SYN));
//! let short = Frame::new(Ipv4 { ihl: Some(4), ..Ipv4::new(CLIENT, SERVER) }, Tcp::new(40000, 22, flag::SYN));
//! assert_ne!(syn.bytes(), short.bytes());
//! ```

mod checksum;
mod ethernet;
mod ip;
mod summary;
mod transport;

use std::net::IpAddr;

pub use checksum::{checksum, pseudo_header};
pub use ethernet::{Arp, Ethernet, Vlan, ether_type};
pub use ip::{Extension, Ipv4, Ipv6};
pub use summary::Summary;
pub use transport::{Icmp, IcmpVersion, Tcp, Udp, Upper, flag, protocol};

/// What an Ethernet frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6(Ipv6),
    /// ARP. Nothing of the transport layer follows.
    Arp(Arp),
    /// Bytes under any EtherType. Nothing of the transport layer follows.
    Raw(u16, Vec<u8>),
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Link layer; from the client to the server unless said otherwise.
    pub ethernet: Ethernet,
    /// Network layer.
    pub network: Network,
    /// Transport layer.
    pub upper: Upper,
    /// What the transport layer carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame from the client to the server, without payload.
    pub fn new(network: impl Into<Network>, upper: impl Into<Upper>) -> Self {
        Self { ethernet: Ethernet::to_server(), network: network.into(), upper: upper.into(), payload: Vec::new() }
    }

    /// A frame that carries no IP.
    pub fn without_ip(network: impl Into<Network>) -> Self {
        Self::new(network, Upper::Raw(0, Vec::new()))
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With this Ethernet header.
    #[must_use]
    pub fn ethernet(mut self, ethernet: Ethernet) -> Self {
        self.ethernet = ethernet;
        self
    }

    /// With 802.1Q tags of these VLAN numbers, outermost first.
    #[must_use]
    pub fn tagged(mut self, numbers: &[u16]) -> Self {
        self.ethernet = self.ethernet.tagged(numbers);
        self
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [self.ethernet.bytes(self.network.ether_type()), self.packet()].concat()
    }

    /// The bytes from the network layer on.
    pub fn packet(&self) -> Vec<u8> {
        let upper = self.upper.bytes(self.network.addresses(), &self.payload);
        match &self.network {
            Network::Ipv4(ipv4) => [ipv4.bytes(self.upper.protocol(), upper.len()), upper].concat(),
            Network::Ipv6(ipv6) => [ipv6.bytes(self.upper.protocol(), upper.len()), upper].concat(),
            Network::Arp(arp) => arp.bytes(),
            Network::Raw(_, bytes) => bytes.clone(),
        }
    }

    /// An ICMP error about `quoted`, which travels the other way: the IP header and the first eight bytes behind it
    /// (RFC 792), as much as fits for ICMPv6 (RFC 4443).
    pub fn error(network: impl Into<Network>, error: Icmp, quoted: &Self) -> Self {
        let packet = quoted.packet();
        let length = match &quoted.network {
            Network::Ipv4(ipv4) => 20 + ipv4.options.len().next_multiple_of(4) + 8,
            _ => 1232,
        };
        let Ethernet { source, destination, vlans, ether_type } = quoted.ethernet.clone();
        let ethernet = Ethernet { source: destination, destination: source, vlans, ether_type };
        Self::new(network, error).payload(&packet[..length.min(packet.len())]).ethernet(ethernet)
    }

    /// The packet cut into fragments that carry `size` bytes each (a multiple of eight), in order.
    pub fn fragments(&self, id: u32, size: usize) -> Vec<Self> {
        assert!(size > 0 && size.is_multiple_of(8), "a fragment's length is a multiple of eight");
        let protocol = self.upper.protocol();
        let upper = self.upper.bytes(self.network.addresses(), &self.payload);
        let last = upper.len().div_ceil(size).saturating_sub(1);
        let pieces = upper.chunks(size).enumerate();
        let fragment = |(number, piece): (usize, &[u8])| Self {
            network: self.network.fragment(id, (number * size / 8) as u16, number != last),
            upper: Upper::Raw(protocol, piece.to_vec()),
            payload: Vec::new(),
            ethernet: self.ethernet.clone(),
        };
        pieces.map(fragment).collect()
    }
}

impl Network {
    /// The EtherType by which it is announced.
    pub fn ether_type(&self) -> u16 {
        match self {
            Self::Ipv4(_) => ether_type::IPV4,
            Self::Ipv6(_) => ether_type::IPV6,
            Self::Arp(_) => ether_type::ARP,
            Self::Raw(ether_type, _) => *ether_type,
        }
    }

    /// Source and destination.
    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self {
            Self::Ipv4(ipv4) => Some((ipv4.source.into(), ipv4.destination.into())),
            Self::Ipv6(ipv6) => Some((ipv6.source.into(), ipv6.destination.into())),
            Self::Arp(_) | Self::Raw(..) => None,
        }
    }

    /// The same header, for a fragment.
    fn fragment(&self, id: u32, offset: u16, more: bool) -> Self {
        match self.clone() {
            Self::Ipv4(ipv4) => {
                Self::Ipv4(Ipv4 { id: id as u16, fragment_offset: offset, more_fragments: more, ..ipv4 })
            }
            Self::Ipv6(ipv6) => Self::Ipv6(ipv6.with([Extension::fragment(offset, more, id)])),
            other @ (Self::Arp(_) | Self::Raw(..)) => other,
        }
    }
}

impl From<Ipv4> for Network {
    fn from(ipv4: Ipv4) -> Self {
        Self::Ipv4(ipv4)
    }
}

impl From<Ipv6> for Network {
    fn from(ipv6: Ipv6) -> Self {
        Self::Ipv6(ipv6)
    }
}

impl From<Arp> for Network {
    fn from(arp: Arp) -> Self {
        Self::Arp(arp)
    }
}

#[cfg(test)]
mod tests;
