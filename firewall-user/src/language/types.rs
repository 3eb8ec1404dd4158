//! The types of values: how wide they are, what names they know, how they are printed.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{
    clock,
    names::{self, Names},
    ruleset::{Form, Values},
};

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is spelled out in `Type::spec`")]
pub enum Type {
    Ipv4Addr,
    Ipv6Addr,
    EtherAddr,
    InetService,
    InetProto,
    EtherType,
    NfProto,
    IfName,
    IfIndex,
    Mark,
    /// A number of so many bits.
    Integer(u8),
    Dscp,
    Ecn,
    TcpFlag,
    CtState,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
    CtDir,
    CtStatus,
    PktType,
    ClassId,
    Time,
    Date,
    Hour,
    Day,
    /// Whether something is there.
    Boolean,
    DccpType,
    IgmpType,
    MhType,
    ArpOperation,
    /// What the routing table says an address is.
    FibType,
    /// Bits without names.
    Bitmask,
    /// Bytes of which only their number is known, by that of their bits.
    Raw(u8),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// An address, in its own notation.
    Address,
    /// A quoted interface name.
    IfName,
    /// An interface, by name where it is known.
    IfIndex,
    /// A number.
    Number,
    /// A hexadecimal number of eight digits.
    Mark,
    /// A name, else a number.
    Name,
    /// A name, else a hexadecimal number of so many digits.
    NameOrHex(usize),
    /// Names of bits.
    Flags,
    /// Two hexadecimal numbers with a colon.
    ClassId,
    /// A time, kept in milliseconds.
    Duration,
    /// A date or a time of day, quoted.
    Clock,
    /// A quoted name, else a number.
    Quoted,
    /// A hexadecimal number.
    Hex,
    /// `exists` or `missing`.
    Presence,
}

/// The traffic class `root` (`TC_H_ROOT`, `include/uapi/linux/pkt_sched.h`).
pub const CLASS_ROOT: u128 = 0xffff_ffff;

/// What there is to know about a type.
struct Spec {
    /// The word nftables uses.
    name: &'static str,
    /// What it is, for a message: "expected ...".
    meaning: &'static str,
    bits: u8,
    style: Style,
    names: Names,
    /// Elements of a named set that nftables prints on a line.
    per_line: usize,
}

const fn spec(
    name: &'static str,
    meaning: &'static str,
    bits: u8,
    style: Style,
    names: Names,
    per_line: usize,
) -> Spec {
    Spec { name, meaning, bits, style, names, per_line }
}

impl Type {
    /// Those that a named set can be declared with.
    pub const ALL: &[Self] = &[
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::EtherAddr,
        Self::InetService,
        Self::InetProto,
        Self::EtherType,
        Self::NfProto,
        Self::IfName,
        Self::IfIndex,
        Self::Mark,
        Self::Dscp,
        Self::Ecn,
        Self::TcpFlag,
        Self::CtState,
        Self::IcmpType,
        Self::IcmpCode,
        Self::Icmpv6Type,
        Self::Icmpv6Code,
        Self::Boolean,
        Self::DccpType,
        Self::IgmpType,
        Self::MhType,
        Self::ArpOperation,
        Self::FibType,
    ];

    const fn spec(self) -> Spec {
        match self {
            Self::Ipv4Addr => spec("ipv4_addr", "an IPv4 address", 32, Style::Address, &[], 2),
            Self::Ipv6Addr => spec("ipv6_addr", "an IPv6 address", 128, Style::Address, &[], 1),
            Self::EtherAddr => spec("ether_addr", "a hardware address", 48, Style::Address, &[], 1),
            Self::InetService => spec("inet_service", "a port", 16, Style::Number, names::SERVICES, 5),
            Self::InetProto => spec("inet_proto", "a protocol", 8, Style::Name, names::PROTOCOLS, 5),
            Self::EtherType => spec("ether_type", "an EtherType", 16, Style::NameOrHex(4), names::ETHER_TYPES, 1),
            Self::NfProto => spec("nf_proto", "a network family", 8, Style::Name, names::NF_PROTOS, 5),
            Self::IfName => spec("ifname", "an interface name", 128, Style::IfName, &[], 1),
            Self::IfIndex => spec("iface_index", "an interface", 32, Style::IfIndex, &[], 5),
            Self::Mark => spec("mark", "a mark", 32, Style::Mark, &[], 5),
            Self::Integer(bits) => spec("integer", "a number", bits, Style::Number, &[], 5),
            Self::Dscp => spec("dscp", "a DSCP", 6, Style::NameOrHex(2), names::DSCPS, 1),
            Self::Ecn => spec("ecn", "an ECN codepoint", 2, Style::Name, names::ECNS, 1),
            Self::TcpFlag => spec("tcp_flag", "a TCP flag", 8, Style::Flags, names::TCP_FLAGS, 5),
            Self::CtState => spec("ct_state", "a connection state", 32, Style::Flags, names::CT_STATES, 2),
            Self::IcmpType => spec("icmp_type", "an ICMP type", 8, Style::Name, names::ICMP_TYPES, 1),
            Self::IcmpCode => spec("icmp_code", "an ICMP code", 8, Style::Name, names::ICMP_CODES, 1),
            Self::Icmpv6Type => spec("icmpv6_type", "an ICMPv6 type", 8, Style::Name, names::ICMPV6_TYPES, 1),
            Self::Icmpv6Code => spec("icmpv6_code", "an ICMPv6 code", 8, Style::Name, names::ICMPV6_CODES, 1),
            Self::CtDir => spec("ct_dir", "a direction", 8, Style::Name, names::CT_DIRECTIONS, 1),
            Self::CtStatus => spec("ct_status", "a connection's status", 32, Style::Flags, names::CT_STATUSES, 1),
            Self::PktType => spec("pkt_type", "a packet type", 8, Style::Name, names::PACKET_TYPES, 1),
            Self::ClassId => spec("classid", "a traffic class", 32, Style::ClassId, &[], 1),
            Self::Time => spec("time", "a time such as `30s`", 32, Style::Duration, &[], 1),
            Self::Date => spec("time", "a date such as \"2026-01-31 12:00\"", 64, Style::Clock, &[], 1),
            Self::Hour => spec("hour", "a time of day such as \"18:30\"", 32, Style::Clock, &[], 1),
            Self::Day => spec("day", "a day of the week such as \"Monday\"", 8, Style::Quoted, names::DAYS, 1),
            Self::Boolean => spec("boolean", "`exists` or `missing`", 1, Style::Presence, names::PRESENCES, 1),
            Self::DccpType => spec("dccp_pkttype", "a DCCP packet type", 4, Style::Name, names::DCCP_TYPES, 5),
            Self::IgmpType => spec("igmp_type", "an IGMP type", 8, Style::Name, names::IGMP_TYPES, 1),
            Self::MhType => spec("mh_type", "a mobility header type", 8, Style::Name, names::MH_TYPES, 1),
            Self::ArpOperation => spec("arp_op", "an ARP operation", 16, Style::Name, names::ARP_OPERATIONS, 5),
            Self::FibType => spec("fib_addrtype", "a type of address", 32, Style::Name, names::FIB_TYPES, 1),
            Self::Bitmask => spec("bitmask", "a number", 8, Style::Hex, &[], 1),
            Self::Raw(bits) => spec("integer", "a number", bits, Style::Hex, &[], 5),
        }
    }

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// What it is, for a message: "expected ...".
    pub const fn meaning(self) -> &'static str {
        self.spec().meaning
    }

    /// Bits of a value.
    pub const fn bits(self) -> u8 {
        self.spec().bits
    }

    /// How a value is written.
    pub const fn style(self) -> Style {
        self.spec().style
    }

    /// The names of its values.
    pub const fn names(self) -> Names {
        self.spec().names
    }

    /// Elements of a named set that nftables prints on a line.
    pub const fn per_line(self) -> usize {
        self.spec().per_line
    }

    /// The highest value.
    pub const fn max(self) -> u128 {
        u128::MAX >> (128 - self.bits() as u32)
    }

    /// Is a value a set of bits, so that a match alone means "any of these"?
    pub const fn is_flags(self) -> bool {
        matches!(self, Self::TcpFlag | Self::CtState | Self::CtStatus)
    }

    /// Is it a part of a byte, or bytes and a part? nftables shifts such fields before it masks them, and gets lost.
    pub const fn is_bit_field(self) -> bool {
        !self.bits().is_multiple_of(8)
    }

    /// Is a run of values that happens to be a prefix printed as one, in a set?
    pub const fn prints_prefixes(self) -> bool {
        matches!(self, Self::Ipv4Addr | Self::Ipv6Addr | Self::IfName | Self::Mark)
    }

    /// Prints a run of values.
    pub fn print(self, values: Values, out: &mut String) {
        let Values { low, high, form } = values;
        match form {
            Form::Single => self.print_one(low, out),
            Form::Prefix(length) if self == Self::IfName => {
                out.push('"');
                out.push_str(&interface_name(low, length / 8));
                out.push_str("*\"");
            }
            Form::Prefix(length) => {
                self.print_one(low, out);
                let _ = write!(out, "/{length}");
            }
            Form::Range => {
                self.print_end(low, out);
                out.push('-');
                self.print_end(high, out);
            }
        }
    }

    /// An end of a range: numbers, not names, where names may contain the `-` that makes the range.
    fn print_end(self, value: u128, out: &mut String) {
        let _ = match self.style() {
            Style::Address
            | Style::IfName
            | Style::IfIndex
            | Style::Mark
            | Style::Flags
            | Style::ClassId
            | Style::Clock
            | Style::Hex => {
                self.print_one(value, out);
                Ok(())
            }
            Style::NameOrHex(2) => write!(out, "0x{value:02x}"),
            Style::Duration => write!(out, "{}s", value / 1000),
            Style::Quoted | Style::Number | Style::Name | Style::Presence | Style::NameOrHex(_) => {
                write!(out, "{value}")
            }
        };
    }

    /// Prints one value.
    pub fn print_one(self, value: u128, out: &mut String) {
        let name = names::name(self.names(), value);
        let _ = match (self.style(), name) {
            (Style::Address, _) => write!(out, "{}", self.address(value)),
            (Style::IfName, _) => write!(out, "\"{}\"", escape_star(&interface_name(value, 16))),
            (Style::Mark, _) => write!(out, "0x{value:08x}"),
            (Style::Flags, _) => write!(out, "{}", self.flag_text(value, " | ")),
            (Style::Name | Style::NameOrHex(_) | Style::Presence, Some(name)) => write!(out, "{name}"),
            (Style::Quoted, Some(name)) => write!(out, "\"{name}\""),
            (Style::ClassId, _) if value == 0 => write!(out, "none"),
            (Style::ClassId, _) if value == CLASS_ROOT => write!(out, "root"),
            (Style::ClassId, _) => write!(out, "{:x}:{:x}", value >> 16, value & 0xffff),
            (Style::Duration, _) => write!(out, "{}", super::print::time(value as u64)),
            (Style::Clock, _) => write!(out, "\"{}\"", self.clock(value)),
            (Style::Hex, _) => write!(out, "0x{value:x}"),
            (Style::NameOrHex(digits), None) => write!(out, "0x{value:0digits$x}"),
            (Style::Number | Style::IfIndex | Style::Name | Style::Quoted | Style::Presence, _) => {
                write!(out, "{value}")
            }
        };
    }

    /// A date or a time of day, as it is written where the ruleset is read.
    pub fn clock(self, value: u128) -> String {
        if self == Self::Hour { clock::hour_text(value as u32) } else { clock::date_text(value as u64) }
    }

    fn address(self, value: u128) -> String {
        match self {
            Self::Ipv4Addr => Ipv4Addr::from_bits(value as u32).to_string(),
            Self::EtherAddr => {
                value.to_be_bytes()[10..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
            }
            _ => Ipv6Addr::from_bits(value).to_string(),
        }
    }

    /// The names of a value's bits; a number when a bit has no name.
    pub fn flag_text(self, value: u128, between: &str) -> String {
        let known: u128 = self.names().iter().fold(0, |known, (_, bit)| known | u128::from(*bit));
        if value == 0 || value & !known != 0 {
            return format!("0x{value:x}");
        }
        let set = self.names().iter().filter(|(_, bit)| value & u128::from(*bit) != 0);
        set.map(|(name, _)| *name).collect::<Vec<_>>().join(between)
    }
}

/// An interface name out of the number that its bytes make.
pub fn interface_name(value: u128, length: u8) -> String {
    let bytes = value.to_be_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(16).min(length as usize);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The number that the bytes of an interface name make.
pub fn interface_value(name: &str) -> u128 {
    let mut bytes = [0; 16];
    let length = name.len().min(16);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

fn escape_star(name: &str) -> String {
    match name.strip_suffix('*') {
        Some(stem) => format!("{stem}\\*"),
        None => name.to_owned(),
    }
}
