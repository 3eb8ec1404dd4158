//! The transport layer: TCP, UDP, ICMP and ICMPv6.

use std::net::IpAddr;

use super::checksum::{checksum, pseudo_header};

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// TCP flags, to be joined by `|`.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// The first segment of a direction.
    pub const SYN: u8 = 0x02;
    /// The connection is gone.
    pub const RST: u8 = 0x04;
    /// Hand the data on.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Explicit congestion notification, echoed.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upper {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// Bytes of any protocol: SCTP, a later fragment, rubbish.
    Raw(u8, Vec<u8>),
}

/// A TCP header. A field in an `Option` is right when it is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags, see [`flag`].
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options, filled up with zeroes to a multiple of four bytes.
    pub options: Vec<u8>,
    /// Header length in units of four bytes, instead of the header's.
    pub data_offset: Option<u8>,
    /// Instead of the right one.
    pub checksum: Option<u16>,
}

/// A UDP header. A field in an `Option` is right when it is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Instead of the datagram's.
    pub length: Option<u16>,
    /// Instead of the right one; 0 means "not computed".
    pub checksum: Option<u16>,
}

/// Which ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpVersion {
    /// ICMP, of IPv4.
    V4,
    /// ICMPv6.
    V6,
}

/// An ICMP or ICMPv6 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Which of the two, whatever it is carried by.
    pub version: IcmpVersion,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes behind the checksum: identifier and sequence number, MTU, pointer, by type.
    pub rest: u32,
    /// Instead of the right one.
    pub checksum: Option<u16>,
}

impl Upper {
    /// The protocol number by which it is announced.
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => protocol::TCP,
            Self::Udp(_) => protocol::UDP,
            Self::Icmp(Icmp { version: IcmpVersion::V4, .. }) => protocol::ICMP,
            Self::Icmp(Icmp { version: IcmpVersion::V6, .. }) => protocol::ICMPV6,
            Self::Raw(protocol, _) => *protocol,
        }
    }

    /// Header and payload, with the checksum for a packet between these addresses.
    pub(super) fn bytes(&self, between: Option<(IpAddr, IpAddr)>, payload: &[u8]) -> Vec<u8> {
        let (header, at, given) = match self {
            Self::Tcp(tcp) => (tcp.header(), 16, tcp.checksum),
            Self::Udp(udp) => (udp.header(payload.len()), 6, udp.checksum),
            Self::Icmp(icmp) => (icmp.header(), 2, icmp.checksum),
            Self::Raw(_, bytes) => return [bytes, payload].concat(),
        };
        let mut bytes = [&header, payload].concat();
        let pseudo = match (self, between) {
            (Self::Icmp(Icmp { version: IcmpVersion::V4, .. }), _) | (_, None) => Vec::new(),
            (_, Some((source, destination))) => pseudo_header(source, destination, self.protocol(), bytes.len()),
        };
        let computed = match (self, checksum(&[&pseudo, &bytes])) {
            // RFC 768: a checksum that comes out as zero is sent as all ones; zero is "none".
            (Self::Udp(_), 0) => 0xffff,
            (_, sum) => sum,
        };
        bytes[at..at + 2].copy_from_slice(&given.unwrap_or(computed).to_be_bytes());
        bytes
    }
}

impl Tcp {
    /// A segment with these flags, sequence and acknowledgement number 0.
    pub fn new(source: u16, destination: u16, flags: u8) -> Self {
        Self {
            source,
            destination,
            seq: 0,
            ack: 0,
            flags,
            window: 64240,
            urgent: 0,
            options: Vec::new(),
            data_offset: None,
            checksum: None,
        }
    }

    /// With these numbers.
    #[must_use]
    pub fn at(mut self, seq: u32, ack: u32) -> Self {
        (self.seq, self.ack) = (seq, ack);
        self
    }

    fn header(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let offset = self.data_offset.unwrap_or(((20 + options.len()) / 4) as u8);
        let mut bytes = [self.source.to_be_bytes(), self.destination.to_be_bytes()].concat();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([offset << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(options);
        bytes
    }
}

impl Udp {
    /// A datagram.
    pub fn new(source: u16, destination: u16) -> Self {
        Self { source, destination, length: None, checksum: None }
    }

    fn header(&self, payload: usize) -> Vec<u8> {
        let length = self.length.unwrap_or((8 + payload) as u16);
        [self.source, self.destination, length, 0].map(u16::to_be_bytes).concat()
    }
}

impl Icmp {
    /// A message of ICMP.
    pub fn v4(kind: u8, code: u8) -> Self {
        Self { version: IcmpVersion::V4, kind, code, rest: 0, checksum: None }
    }

    /// A message of ICMPv6.
    pub fn v6(kind: u8, code: u8) -> Self {
        Self { version: IcmpVersion::V6, kind, code, rest: 0, checksum: None }
    }

    /// A ping.
    pub fn echo_request(version: IcmpVersion, id: u16, sequence: u16) -> Self {
        Self::echo(version, [8, 128], id, sequence)
    }

    /// The answer to a ping.
    pub fn echo_reply(version: IcmpVersion, id: u16, sequence: u16) -> Self {
        Self::echo(version, [0, 129], id, sequence)
    }

    fn echo(version: IcmpVersion, kinds: [u8; 2], id: u16, sequence: u16) -> Self {
        let message = match version {
            IcmpVersion::V4 => Self::v4(kinds[0], 0),
            IcmpVersion::V6 => Self::v6(kinds[1], 0),
        };
        Self { rest: u32::from(id) << 16 | u32::from(sequence), ..message }
    }

    fn header(&self) -> Vec<u8> {
        [&[self.kind, self.code, 0, 0][..], &self.rest.to_be_bytes()].concat()
    }
}

impl From<Tcp> for Upper {
    fn from(tcp: Tcp) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<Udp> for Upper {
    fn from(udp: Udp) -> Self {
        Self::Udp(udp)
    }
}

impl From<Icmp> for Upper {
    fn from(icmp: Icmp) -> Self {
        Self::Icmp(icmp)
    }
}
