//! What of a packet's connection a match can look at, beside state and mark.

use super::{ruleset::Network, types::Type};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The way of the first packet.
    Original,
    /// The way back.
    Reply,
}

/// An end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtField {
    /// The packet's direction.
    Direction,
    /// What has been seen of the connection.
    Status,
    /// The zone it is tracked in.
    Zone(Option<Side>),
    /// How long it will be kept without another packet.
    Expiration,
    /// Bytes, of one direction or both.
    Bytes(Option<Side>),
    /// Packets, likewise.
    Packets(Option<Side>),
    /// Bytes a packet, likewise.
    Average(Option<Side>),
    /// A number that tells connections apart.
    Id,
    /// The network layer.
    L3Proto,
    /// The protocol above it.
    Protocol,
    /// An address of a direction's packets.
    Address(Side, Network, End),
    /// An address of whatever the rule knows its packets to have: becomes the one above.
    UnknownAddress(Side, End),
    /// A port of a direction's packets.
    Port(Side, End),
}

impl CtField {
    /// The words behind `ct` that nftables prints.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Direction => "direction",
            Self::Status => "status",
            Self::Zone(side) => sided(side, ["zone", "original zone", "reply zone"]),
            Self::Expiration => "expiration",
            Self::Bytes(side) => sided(side, ["bytes", "original bytes", "reply bytes"]),
            Self::Packets(side) => sided(side, ["packets", "original packets", "reply packets"]),
            Self::Average(side) => sided(side, ["avgpkt", "original avgpkt", "reply avgpkt"]),
            Self::Id => "id",
            Self::L3Proto => "l3proto",
            Self::Protocol => "protocol",
            Self::Address(side, network, end) => address(side, network, end),
            Self::UnknownAddress(side, end) => address(side, Network::Ip, end),
            Self::Port(Side::Original, End::Source) => "original proto-src",
            Self::Port(Side::Original, End::Destination) => "original proto-dst",
            Self::Port(Side::Reply, End::Source) => "reply proto-src",
            Self::Port(Side::Reply, End::Destination) => "reply proto-dst",
        }
    }

    /// The type of its values.
    pub const fn value_type(self) -> Type {
        match self {
            Self::Direction => Type::CtDir,
            Self::Status => Type::CtStatus,
            Self::Zone(_) => Type::Integer(16),
            Self::Expiration => Type::Time,
            Self::Bytes(_) | Self::Packets(_) | Self::Average(_) => Type::Integer(64),
            Self::Id => Type::Integer(32),
            Self::L3Proto => Type::NfProto,
            Self::Protocol => Type::InetProto,
            Self::Address(_, Network::Ip, _) | Self::UnknownAddress(..) => Type::Ipv4Addr,
            Self::Address(_, Network::Ip6, _) => Type::Ipv6Addr,
            Self::Port(..) => Type::InetService,
        }
    }
}

const fn sided(side: Option<Side>, [both, original, reply]: [&'static str; 3]) -> &'static str {
    match side {
        None => both,
        Some(Side::Original) => original,
        Some(Side::Reply) => reply,
    }
}

const fn address(side: Side, network: Network, end: End) -> &'static str {
    match (side, network, end) {
        (Side::Original, Network::Ip, End::Source) => "original ip saddr",
        (Side::Original, Network::Ip, End::Destination) => "original ip daddr",
        (Side::Original, Network::Ip6, End::Source) => "original ip6 saddr",
        (Side::Original, Network::Ip6, End::Destination) => "original ip6 daddr",
        (Side::Reply, Network::Ip, End::Source) => "reply ip saddr",
        (Side::Reply, Network::Ip, End::Destination) => "reply ip daddr",
        (Side::Reply, Network::Ip6, End::Source) => "reply ip6 saddr",
        (Side::Reply, Network::Ip6, End::Destination) => "reply ip6 daddr",
    }
}
