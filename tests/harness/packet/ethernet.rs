//! The link layer: Ethernet, VLAN tags, ARP.

use std::net::Ipv4Addr;

use crate::topology::{CLIENT_MAC, SERVER_MAC};

/// EtherTypes.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// The outer one of two VLAN tags (IEEE 802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// An Ethernet header with its VLAN tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Who sends.
    pub source: [u8; 6],
    /// Who is to receive.
    pub destination: [u8; 6],
    /// Tags, outermost first.
    pub vlans: Vec<Vlan>,
    /// Instead of what follows from the network layer.
    pub ether_type: Option<u16>,
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The EtherType that announces it: [`ether_type::VLAN`] or [`ether_type::SERVICE_VLAN`].
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1), VLAN number (12).
    pub tci: u16,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Hardware address of the one who sends this.
    pub sender_mac: [u8; 6],
    /// Its protocol address.
    pub sender: Ipv4Addr,
    /// Hardware address asked for (zero in a request).
    pub target_mac: [u8; 6],
    /// Protocol address asked for.
    pub target: Ipv4Addr,
}

impl Ethernet {
    /// From the client to the server, untagged.
    pub fn to_server() -> Self {
        Self { source: CLIENT_MAC, destination: SERVER_MAC, vlans: Vec::new(), ether_type: None }
    }

    /// From the server to the client, untagged.
    pub fn to_client() -> Self {
        Self { source: SERVER_MAC, destination: CLIENT_MAC, vlans: Vec::new(), ether_type: None }
    }

    /// With 802.1Q tags of these VLAN numbers, outermost first.
    #[must_use]
    pub fn tagged(mut self, numbers: &[u16]) -> Self {
        self.vlans.extend(numbers.iter().map(|number| Vlan { tpid: ether_type::VLAN, tci: *number }));
        self
    }

    /// The bytes, for a payload of that EtherType.
    pub(super) fn bytes(&self, carried: u16) -> Vec<u8> {
        let Self { source, destination, vlans, ether_type } = self;
        let mut bytes = [*destination, *source].concat();
        for Vlan { tpid, tci } in vlans {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(ether_type.unwrap_or(carried).to_be_bytes());
        bytes
    }
}

impl Arp {
    /// "Who has `target`? Tell `sender`."
    pub fn request(sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self { operation: 1, sender_mac, sender, target_mac: [0; 6], target }
    }

    /// The bytes: hardware type Ethernet, protocol type IPv4, lengths 6 and 4 (RFC 826).
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { operation, sender_mac, sender, target_mac, target } = self;
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(operation.to_be_bytes());
        bytes.extend(sender_mac);
        bytes.extend(sender.octets());
        bytes.extend(target_mac);
        bytes.extend(target.octets());
        bytes
    }
}
