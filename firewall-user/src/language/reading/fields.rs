//! Every field with a name, as nft 1.0.6 knows them.

use super::{Field, Place};
use crate::language::types::Type;

const fn field(place: Place, group: &'static str, (name, offset, ty): (&'static str, u16, Type)) -> Field {
    Field { group, name, place, ty, offset }
}

/// Whether it is there.
const fn presence(place: Place, group: &'static str) -> Field {
    field(place, group, ("", 0, Type::Boolean))
}

const BYTE: Type = Type::Integer(8);
const SHORT: Type = Type::Integer(16);
const LONG: Type = Type::Integer(32);

/// `place, "group", ["name" at bit: type, ..]`, one after the other.
macro_rules! fields {
    ($($place:expr, $group:literal, $([$name:literal, $offset:literal, $ty:expr]),+;)+) => {
        /// The table.
        pub(in crate::language) const FIELDS: &[Field] = &[
            $($(field($place, $group, ($name, $offset, $ty)),)+)+
            presence(Place::Extension(0), "exthdr hbh"),
            presence(Place::Extension(43), "exthdr rt"),
            presence(Place::Extension(44), "exthdr frag"),
            presence(Place::Extension(60), "exthdr dst"),
            presence(Place::Extension(135), "exthdr mh"),
            presence(Place::IpOption(131), "ip option lsrr"),
            presence(Place::IpOption(7), "ip option rr"),
            presence(Place::IpOption(137), "ip option ssrr"),
            presence(Place::IpOption(148), "ip option ra"),
            presence(Place::TcpOption(0), "tcp option eol"),
            presence(Place::TcpOption(1), "tcp option nop"),
            presence(Place::TcpOption(2), "tcp option maxseg"),
            presence(Place::TcpOption(3), "tcp option window"),
            presence(Place::TcpOption(4), "tcp option sack-perm"),
            presence(Place::TcpOption(5), "tcp option sack"),
            presence(Place::TcpOption(8), "tcp option timestamp"),
            presence(Place::TcpOption(19), "tcp option md5sig"),
            presence(Place::TcpOption(30), "tcp option mptcp"),
            presence(Place::TcpOption(34), "tcp option fastopen"),
            presence(Place::Chunk(0), "sctp chunk data"),
            presence(Place::Chunk(1), "sctp chunk init"),
            presence(Place::Chunk(2), "sctp chunk init-ack"),
            presence(Place::Chunk(3), "sctp chunk sack"),
            presence(Place::Chunk(4), "sctp chunk heartbeat"),
            presence(Place::Chunk(5), "sctp chunk heartbeat-ack"),
            presence(Place::Chunk(6), "sctp chunk abort"),
            presence(Place::Chunk(7), "sctp chunk shutdown"),
            presence(Place::Chunk(8), "sctp chunk shutdown-ack"),
            presence(Place::Chunk(9), "sctp chunk error"),
            presence(Place::Chunk(10), "sctp chunk cookie-echo"),
            presence(Place::Chunk(11), "sctp chunk cookie-ack"),
            presence(Place::Chunk(12), "sctp chunk ecne"),
            presence(Place::Chunk(13), "sctp chunk cwr"),
            presence(Place::Chunk(14), "sctp chunk shutdown-complete"),
            presence(Place::Chunk(128), "sctp chunk asconf-ack"),
            presence(Place::Chunk(192), "sctp chunk forward-tsn"),
            presence(Place::Chunk(193), "sctp chunk asconf"),
        ];
    };
}

fields! {
    Place::Arp, "arp",
        ["htype", 0, SHORT], ["ptype", 16, Type::EtherType], ["hlen", 32, BYTE], ["plen", 40, BYTE],
        ["operation", 48, Type::ArpOperation], ["saddr ether", 64, Type::EtherAddr], ["saddr ip", 112, Type::Ipv4Addr],
        ["daddr ether", 144, Type::EtherAddr], ["daddr ip", 192, Type::Ipv4Addr];
    Place::Ip, "ip", ["checksum", 80, SHORT];
    Place::Upper(6), "tcp", ["checksum", 128, SHORT];
    Place::Upper(136), "udplite", ["csumcov", 32, SHORT], ["checksum", 48, SHORT];
    Place::Upper(132), "sctp", ["vtag", 32, LONG], ["checksum", 64, LONG];
    Place::Upper(33), "dccp", ["type", 67, Type::DccpType];
    Place::Upper(50), "esp", ["spi", 0, LONG], ["sequence", 32, LONG];
    Place::Upper(51), "ah",
        ["nexthdr", 0, Type::InetProto], ["hdrlength", 8, BYTE], ["reserved", 16, SHORT], ["spi", 32, LONG], ["sequence", 64, LONG];
    Place::Upper(108), "comp", ["nexthdr", 0, Type::InetProto], ["flags", 8, Type::Bitmask], ["cpi", 16, SHORT];
    Place::Upper(2), "igmp", ["type", 0, Type::IgmpType], ["mrt", 8, BYTE], ["checksum", 16, SHORT], ["group", 32, LONG];
    Place::Upper(1), "icmp", ["checksum", 16, SHORT];
    Place::Message(1, 3), "icmp", ["mtu", 48, SHORT];
    Place::Message(1, 5), "icmp", ["gateway", 32, LONG];
    Place::Upper(58), "icmpv6", ["checksum", 16, SHORT];
    Place::Message(58, 2), "icmpv6", ["mtu", 32, LONG];
    Place::Message(58, 130), "icmpv6", ["max-delay", 32, SHORT];
    Place::Extension(0), "hbh", ["nexthdr", 0, Type::InetProto], ["hdrlength", 8, BYTE];
    Place::Extension(60), "dst", ["nexthdr", 0, Type::InetProto], ["hdrlength", 8, BYTE];
    Place::Extension(43), "rt",
        ["nexthdr", 0, Type::InetProto], ["hdrlength", 8, BYTE], ["type", 16, BYTE], ["seg-left", 24, BYTE];
    Place::Extension(43), "srh", ["last-entry", 32, BYTE], ["flags", 40, BYTE], ["tag", 48, SHORT];
    Place::Extension(44), "frag",
        ["nexthdr", 0, Type::InetProto], ["reserved", 8, BYTE], ["frag-off", 16, Type::Integer(13)],
        ["reserved2", 29, Type::Integer(2)], ["more-fragments", 31, Type::Integer(1)], ["id", 32, LONG];
    Place::Extension(135), "mh",
        ["nexthdr", 0, Type::InetProto], ["hdrlength", 8, BYTE], ["type", 16, Type::MhType], ["reserved", 24, BYTE],
        ["checksum", 32, SHORT];
    Place::IpOption(131), "ip option lsrr", ["type", 0, BYTE], ["length", 8, BYTE], ["ptr", 16, BYTE], ["addr", 24, LONG];
    Place::IpOption(7), "ip option rr", ["type", 0, BYTE], ["length", 8, BYTE], ["ptr", 16, BYTE], ["addr", 24, LONG];
    Place::IpOption(137), "ip option ssrr", ["type", 0, BYTE], ["length", 8, BYTE], ["ptr", 16, BYTE], ["addr", 24, LONG];
    Place::IpOption(148), "ip option ra", ["type", 0, BYTE], ["length", 8, BYTE], ["value", 16, SHORT];
    Place::TcpOption(2), "tcp option maxseg", ["length", 8, BYTE], ["size", 16, SHORT];
    Place::TcpOption(3), "tcp option window", ["length", 8, BYTE], ["count", 16, BYTE];
    Place::TcpOption(4), "tcp option sack-perm", ["length", 8, BYTE];
    Place::TcpOption(5), "tcp option sack", ["length", 8, BYTE], ["left", 16, LONG], ["right", 48, LONG];
    Place::TcpOption(5), "tcp option sack1", ["left", 80, LONG], ["right", 112, LONG];
    Place::TcpOption(5), "tcp option sack2", ["left", 144, LONG], ["right", 176, LONG];
    Place::TcpOption(5), "tcp option sack3", ["left", 208, LONG], ["right", 240, LONG];
    Place::TcpOption(8), "tcp option timestamp", ["length", 8, BYTE], ["tsval", 16, LONG], ["tsecr", 48, LONG];
    Place::TcpOption(19), "tcp option md5sig", ["length", 8, BYTE];
    Place::TcpOption(30), "tcp option mptcp", ["length", 8, BYTE], ["subtype", 16, Type::Integer(4)];
    Place::TcpOption(34), "tcp option fastopen", ["length", 8, BYTE];
    Place::Chunk(0), "sctp chunk data",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["tsn", 32, LONG], ["stream", 64, SHORT],
        ["ssn", 80, SHORT], ["ppid", 96, LONG];
    Place::Chunk(1), "sctp chunk init",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["init-tag", 32, LONG], ["a-rwnd", 64, LONG],
        ["num-outbound-streams", 96, SHORT], ["num-inbound-streams", 112, SHORT], ["initial-tsn", 128, LONG];
    Place::Chunk(2), "sctp chunk init-ack",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["init-tag", 32, LONG], ["a-rwnd", 64, LONG],
        ["num-outbound-streams", 96, SHORT], ["num-inbound-streams", 112, SHORT], ["initial-tsn", 128, LONG];
    Place::Chunk(3), "sctp chunk sack",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["cum-tsn-ack", 32, LONG], ["a-rwnd", 64, LONG],
        ["num-gap-ack-blocks", 96, SHORT], ["num-dup-tsns", 112, SHORT];
    Place::Chunk(4), "sctp chunk heartbeat", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(5), "sctp chunk heartbeat-ack", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(6), "sctp chunk abort", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(7), "sctp chunk shutdown",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["cum-tsn-ack", 32, LONG];
    Place::Chunk(8), "sctp chunk shutdown-ack", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(9), "sctp chunk error", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(10), "sctp chunk cookie-echo", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(11), "sctp chunk cookie-ack", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(12), "sctp chunk ecne",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["lowest-tsn", 32, LONG];
    Place::Chunk(13), "sctp chunk cwr",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["lowest-tsn", 32, LONG];
    Place::Chunk(14), "sctp chunk shutdown-complete", ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT];
    Place::Chunk(128), "sctp chunk asconf-ack",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["seqno", 32, LONG];
    Place::Chunk(192), "sctp chunk forward-tsn",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["new-cum-tsn", 32, LONG];
    Place::Chunk(193), "sctp chunk asconf",
        ["type", 0, BYTE], ["flags", 8, BYTE], ["length", 16, SHORT], ["seqno", 32, LONG];
}
