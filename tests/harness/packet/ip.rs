//! The network layer: IPv4 with options, IPv6 with extension headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::checksum;

/// An IPv4 header. A field in an `Option` is right when it is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Type of service: DSCP in the upper six bits.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// The flag "don't fragment".
    pub dont_fragment: bool,
    /// The flag "more fragments".
    pub more_fragments: bool,
    /// Fragment offset, in units of eight bytes.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Options, filled up with zeroes to a multiple of four bytes.
    pub options: Vec<u8>,
    /// Instead of 4.
    pub version: Option<u8>,
    /// Header length in units of four bytes, instead of the header's.
    pub ihl: Option<u8>,
    /// Instead of the packet's.
    pub total_length: Option<u16>,
    /// Instead of that of what is carried.
    pub protocol: Option<u8>,
    /// Instead of the right one.
    pub checksum: Option<u16>,
}

/// An IPv6 header with its extension headers. A field in an `Option` is right when it is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Traffic class: DSCP in the upper six bits.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Extension headers, in order.
    pub extensions: Vec<Extension>,
    /// Instead of 6.
    pub version: Option<u8>,
    /// Instead of the packet's.
    pub payload_length: Option<u16>,
    /// What the last header announces, instead of what is carried.
    pub next_header: Option<u8>,
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The number by which the header in front announces this one.
    pub number: u8,
    /// Its bytes; the first one is replaced by the number of what follows.
    pub body: Vec<u8>,
}

impl Ipv4 {
    /// A header without options, TTL 64.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            tos: 0,
            id: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            options: Vec::new(),
            version: None,
            ihl: None,
            total_length: None,
            protocol: None,
            checksum: None,
        }
    }

    /// The header, in front of `carried` bytes of that protocol.
    pub(super) fn bytes(&self, protocol: u8, carried: usize) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let length = 20 + options.len();
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        let version = self.version.unwrap_or(4) << 4 | self.ihl.unwrap_or((length / 4) as u8) & 0xf;
        let mut bytes = vec![version, self.tos];
        bytes.extend(self.total_length.unwrap_or((length + carried) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend((flags | self.fragment_offset & 0x1fff).to_be_bytes());
        bytes.extend([self.ttl, self.protocol.unwrap_or(protocol), 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(options);
        let checksum = self.checksum.unwrap_or_else(|| checksum(&[&bytes]));
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl Ipv6 {
    /// A header without extensions, hop limit 64.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            source,
            destination,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
            extensions: Vec::new(),
            version: None,
            payload_length: None,
            next_header: None,
        }
    }

    /// With these extension headers.
    #[must_use]
    pub fn with(mut self, extensions: impl IntoIterator<Item = Extension>) -> Self {
        self.extensions.extend(extensions);
        self
    }

    /// The header and its extensions, in front of `carried` bytes of that protocol.
    pub(super) fn bytes(&self, protocol: u8, carried: usize) -> Vec<u8> {
        let last = self.next_header.unwrap_or(protocol);
        let numbers: Vec<_> = self.extensions.iter().map(|extension| extension.number).chain([last]).collect();
        let extensions: Vec<_> =
            self.extensions.iter().zip(&numbers[1..]).flat_map(|(extension, next)| extension.bytes(*next)).collect();
        let first = u32::from(self.version.unwrap_or(6)) << 28
            | u32::from(self.traffic_class) << 20
            | self.flow_label & 0xf_ffff;
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend(self.payload_length.unwrap_or((extensions.len() + carried) as u16).to_be_bytes());
        bytes.extend([numbers[0], self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(extensions);
        bytes
    }
}

impl Extension {
    /// Hop-by-hop options: nothing but padding, eight bytes.
    pub fn hop_by_hop() -> Self {
        Self::padding(0)
    }

    /// Destination options: nothing but padding, eight bytes.
    pub fn destination_options() -> Self {
        Self::padding(60)
    }

    /// A routing header of a type that nobody knows, with no segments left: it is passed over.
    pub fn routing() -> Self {
        Self { number: 43, body: vec![0, 0, 253, 0, 0, 0, 0, 0] }
    }

    /// A fragment header; the offset in units of eight bytes.
    pub fn fragment(offset: u16, more: bool, id: u32) -> Self {
        let offset = (offset << 3 | u16::from(more)).to_be_bytes();
        Self { number: 44, body: [&[0, 0][..], &offset, &id.to_be_bytes()].concat() }
    }

    /// An authentication header with a check value of twelve zero bytes. Its length counts units of four bytes,
    /// minus two (RFC 4302), and not of eight as everywhere else.
    pub fn authentication() -> Self {
        let mut body = vec![0; 24];
        body[1] = 4;
        Self { number: 51, body }
    }

    /// One option, `PadN` of six bytes (RFC 8200, section 4.2).
    fn padding(number: u8) -> Self {
        Self { number, body: vec![0, 0, 1, 4, 0, 0, 0, 0] }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        let mut bytes = self.body.clone();
        if let Some(first) = bytes.first_mut() {
            *first = next;
        }
        bytes
    }
}
