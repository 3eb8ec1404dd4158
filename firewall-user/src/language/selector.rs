//! What a match can look at.

use super::{connection::CtField, hash::Interned, reading::Reading, types::Type};

/// Where a generated number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// One more than for the packet before.
    Increment,
    /// Any.
    Random,
    /// The same for both directions of a connection.
    SymmetricHash,
}

impl Source {
    /// The words that nftables prints.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Increment => "numgen inc",
            Self::Random => "numgen random",
            Self::SymmetricHash => "symhash",
        }
    }
}

/// A number made for a packet: from `offset` on, `modulus` different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generator {
    /// Where it comes from.
    pub kind: Source,
    /// How many there are.
    pub modulus: u32,
    /// The least.
    pub offset: u32,
}

/// Layer-4 protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
    /// `th`: whichever of them the rule has asked for before.
    Any,
}

impl Transport {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UdpLite => "udplite",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
            Self::Any => "th",
        }
    }

    /// Its protocol number.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::UdpLite => Some(136),
            Self::Sctp => Some(132),
            Self::Dccp => Some(33),
            Self::Any => None,
        }
    }
}

/// What a match looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is spelled out in `Selector::spec`")]
pub enum Selector {
    Iif,
    Oif,
    IifName,
    OifName,
    L4Proto,
    NfProto,
    Protocol,
    Length,
    Mark,
    Cpu,
    Random,
    PktType,
    Priority,
    Time,
    Hour,
    Day,
    CtState,
    CtMark,
    Ct(CtField),
    Generated(Generator),
    Hash(Interned),
    EtherSaddr,
    EtherDaddr,
    EtherType,
    VlanId,
    VlanDei,
    VlanPcp,
    VlanType,
    IpVersion,
    IpHdrLength,
    IpDscp,
    IpEcn,
    IpLength,
    IpId,
    IpFragOff,
    IpTtl,
    IpSaddr,
    IpDaddr,
    IpProtocol,
    Ip6Version,
    Ip6Dscp,
    Ip6Ecn,
    Ip6FlowLabel,
    Ip6Length,
    Ip6NextHdr,
    Ip6HopLimit,
    Ip6Saddr,
    Ip6Daddr,
    SourcePort(Transport),
    DestinationPort(Transport),
    TcpFlags,
    TcpSequence,
    TcpAckSeq,
    TcpDoff,
    TcpReserved,
    TcpWindow,
    TcpUrgPtr,
    UdpLength,
    UdpChecksum,
    IcmpType,
    IcmpCode,
    IcmpId,
    IcmpSequence,
    Icmp6Type,
    Icmp6Code,
    Icmp6Id,
    Icmp6Sequence,
    /// What the packet's routes take: a value, not for matches.
    RouteMtu,
    /// What is read from the packet's bytes, or asked of the routing table.
    Reading(Reading),
}

impl Selector {
    /// As nftables prints it.
    pub fn text(self) -> String {
        if let Self::Reading(reading) = self {
            return reading.to_string();
        }
        let words = match self.words() {
            (group, "") => group.to_owned(),
            (group, field) => format!("{group} {field}"),
        };
        match self {
            Self::Generated(Generator { kind: _, modulus, offset: 0 }) => format!("{words} mod {modulus}"),
            Self::Generated(Generator { kind: _, modulus, offset }) => format!("{words} mod {modulus} offset {offset}"),
            _ => words,
        }
    }

    /// The words nftables prints; of a [`Reading`] the first one.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Reading(reading) => (reading.first_word(), ""),
            _ => self.spec().0,
        }
    }

    /// The type of its values.
    pub const fn value_type(self) -> Type {
        self.spec().1
    }

    /// The highest value that a match can ask for.
    pub fn max(self) -> u128 {
        match self {
            Self::Generated(Generator { kind: Source::Increment | Source::Random, modulus, offset }) => {
                (u128::from(modulus) + u128::from(offset)).saturating_sub(1)
            }
            Self::Hash(hash) => (u128::from(hash.get().modulus) + u128::from(hash.get().offset)).saturating_sub(1),
            other => other.value_type().max(),
        }
    }

    /// Both.
    const fn spec(self) -> ((&'static str, &'static str), Type) {
        match self {
            Self::Reading(reading) => (("", ""), reading.value_type()),
            Self::RouteMtu => (("rt", "mtu"), Type::Integer(16)),
            Self::Iif => (("iif", ""), Type::IfIndex),
            Self::Oif => (("oif", ""), Type::IfIndex),
            Self::IifName => (("iifname", ""), Type::IfName),
            Self::OifName => (("oifname", ""), Type::IfName),
            Self::L4Proto => (("meta", "l4proto"), Type::InetProto),
            Self::NfProto => (("meta", "nfproto"), Type::NfProto),
            Self::Protocol => (("meta", "protocol"), Type::EtherType),
            Self::Length => (("meta", "length"), Type::Integer(32)),
            Self::Mark => (("meta", "mark"), Type::Mark),
            Self::CtState => (("ct", "state"), Type::CtState),
            Self::CtMark => (("ct", "mark"), Type::Mark),
            Self::Cpu => (("meta", "cpu"), Type::Integer(32)),
            Self::Random => (("meta", "random"), Type::Integer(32)),
            Self::PktType => (("meta", "pkttype"), Type::PktType),
            Self::Priority => (("meta", "priority"), Type::ClassId),
            Self::Time => (("meta", "time"), Type::Date),
            Self::Hour => (("meta", "hour"), Type::Hour),
            Self::Day => (("meta", "day"), Type::Day),
            Self::Ct(field) => (("ct", field.words()), field.value_type()),
            Self::Hash(_) => (("jhash", ""), Type::Integer(32)),
            Self::Generated(generator) => ((generator.kind.words(), ""), Type::Integer(32)),
            Self::EtherSaddr => (("ether", "saddr"), Type::EtherAddr),
            Self::EtherDaddr => (("ether", "daddr"), Type::EtherAddr),
            Self::EtherType => (("ether", "type"), Type::EtherType),
            Self::VlanId => (("vlan", "id"), Type::Integer(12)),
            Self::VlanDei => (("vlan", "dei"), Type::Integer(1)),
            Self::VlanPcp => (("vlan", "pcp"), Type::Integer(3)),
            Self::VlanType => (("vlan", "type"), Type::EtherType),
            Self::IpVersion => (("ip", "version"), Type::Integer(4)),
            Self::IpHdrLength => (("ip", "hdrlength"), Type::Integer(4)),
            Self::IpDscp => (("ip", "dscp"), Type::Dscp),
            Self::IpEcn => (("ip", "ecn"), Type::Ecn),
            Self::IpLength => (("ip", "length"), Type::Integer(16)),
            Self::IpId => (("ip", "id"), Type::Integer(16)),
            Self::IpFragOff => (("ip", "frag-off"), Type::Integer(16)),
            Self::IpTtl => (("ip", "ttl"), Type::Integer(8)),
            Self::IpSaddr => (("ip", "saddr"), Type::Ipv4Addr),
            Self::IpDaddr => (("ip", "daddr"), Type::Ipv4Addr),
            Self::IpProtocol => (("ip", "protocol"), Type::InetProto),
            Self::Ip6Version => (("ip6", "version"), Type::Integer(4)),
            Self::Ip6Dscp => (("ip6", "dscp"), Type::Dscp),
            Self::Ip6Ecn => (("ip6", "ecn"), Type::Ecn),
            Self::Ip6FlowLabel => (("ip6", "flowlabel"), Type::Integer(20)),
            Self::Ip6Length => (("ip6", "length"), Type::Integer(16)),
            Self::Ip6NextHdr => (("ip6", "nexthdr"), Type::InetProto),
            Self::Ip6HopLimit => (("ip6", "hoplimit"), Type::Integer(8)),
            Self::Ip6Saddr => (("ip6", "saddr"), Type::Ipv6Addr),
            Self::Ip6Daddr => (("ip6", "daddr"), Type::Ipv6Addr),
            Self::SourcePort(transport) => ((transport.name(), "sport"), Type::InetService),
            Self::DestinationPort(transport) => ((transport.name(), "dport"), Type::InetService),
            Self::TcpFlags => (("tcp", "flags"), Type::TcpFlag),
            Self::TcpSequence => (("tcp", "sequence"), Type::Integer(32)),
            Self::TcpAckSeq => (("tcp", "ackseq"), Type::Integer(32)),
            Self::TcpDoff => (("tcp", "doff"), Type::Integer(4)),
            Self::TcpReserved => (("tcp", "reserved"), Type::Integer(4)),
            Self::TcpWindow => (("tcp", "window"), Type::Integer(16)),
            Self::TcpUrgPtr => (("tcp", "urgptr"), Type::Integer(16)),
            Self::UdpLength => (("udp", "length"), Type::Integer(16)),
            Self::UdpChecksum => (("udp", "checksum"), Type::Integer(16)),
            Self::IcmpType => (("icmp", "type"), Type::IcmpType),
            Self::IcmpCode => (("icmp", "code"), Type::IcmpCode),
            Self::IcmpId => (("icmp", "id"), Type::Integer(16)),
            Self::IcmpSequence => (("icmp", "sequence"), Type::Integer(16)),
            Self::Icmp6Type => (("icmpv6", "type"), Type::Icmpv6Type),
            Self::Icmp6Code => (("icmpv6", "code"), Type::Icmpv6Code),
            Self::Icmp6Id => (("icmpv6", "id"), Type::Integer(16)),
            Self::Icmp6Sequence => (("icmpv6", "sequence"), Type::Integer(16)),
        }
    }
}
