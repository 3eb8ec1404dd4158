//! The types of values: how wide they are, what names they know, how they are printed.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{
    names::{self, Names},
    ruleset::{Form, Values},
};

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is spelled out in `Type::name`")]
pub enum Type {
    Ipv4Addr,
    Ipv6Addr,
    InetService,
    InetProto,
    EtherType,
    NfProto,
    IfName,
    IfIndex,
    Mark,
    Integer,
    TcpFlag,
    CtState,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
}

impl Type {
    /// Those that a named set can be declared with.
    pub const ALL: &[Self] = &[
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetService,
        Self::InetProto,
        Self::EtherType,
        Self::NfProto,
        Self::IfName,
        Self::IfIndex,
        Self::Mark,
        Self::TcpFlag,
        Self::CtState,
        Self::IcmpType,
        Self::IcmpCode,
        Self::Icmpv6Type,
        Self::Icmpv6Code,
    ];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetService => "inet_service",
            Self::InetProto => "inet_proto",
            Self::EtherType => "ether_type",
            Self::NfProto => "nf_proto",
            Self::IfName => "ifname",
            Self::IfIndex => "iface_index",
            Self::Mark => "mark",
            Self::Integer => "integer",
            Self::TcpFlag => "tcp_flag",
            Self::CtState => "ct_state",
            Self::IcmpType => "icmp_type",
            Self::IcmpCode => "icmp_code",
            Self::Icmpv6Type => "icmpv6_type",
            Self::Icmpv6Code => "icmpv6_code",
        }
    }

    /// What it is, for a message: "expected ...".
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "an IPv4 address",
            Self::Ipv6Addr => "an IPv6 address",
            Self::InetService => "a port",
            Self::InetProto => "a protocol",
            Self::EtherType => "an EtherType",
            Self::NfProto => "a network family",
            Self::IfName => "an interface name",
            Self::IfIndex => "an interface",
            Self::Mark => "a mark",
            Self::Integer => "a number",
            Self::TcpFlag => "a TCP flag",
            Self::CtState => "a connection state",
            Self::IcmpType => "an ICMP type",
            Self::IcmpCode => "an ICMP code",
            Self::Icmpv6Type => "an ICMPv6 type",
            Self::Icmpv6Code => "an ICMPv6 code",
        }
    }

    /// Bits of a value.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ipv4Addr | Self::IfIndex | Self::Mark | Self::Integer | Self::CtState => 32,
            Self::Ipv6Addr | Self::IfName => 128,
            Self::InetService | Self::EtherType => 16,
            Self::InetProto
            | Self::NfProto
            | Self::TcpFlag
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmpv6Type
            | Self::Icmpv6Code => 8,
        }
    }

    /// The highest value.
    pub const fn max(self) -> u128 {
        u128::MAX >> (128 - self.bits() as u32)
    }

    /// Is a value a set of bits, so that a match alone means "any of these"?
    pub const fn is_flags(self) -> bool {
        match self {
            Self::TcpFlag | Self::CtState => true,
            Self::Ipv4Addr
            | Self::Ipv6Addr
            | Self::InetService
            | Self::InetProto
            | Self::EtherType
            | Self::NfProto
            | Self::IfName
            | Self::IfIndex
            | Self::Mark
            | Self::Integer
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmpv6Type
            | Self::Icmpv6Code => false,
        }
    }

    /// The names of its values.
    pub const fn names(self) -> Names {
        match self {
            Self::InetService => names::SERVICES,
            Self::InetProto => names::PROTOCOLS,
            Self::EtherType => names::ETHER_TYPES,
            Self::NfProto => names::NF_PROTOS,
            Self::TcpFlag => names::TCP_FLAGS,
            Self::CtState => names::CT_STATES,
            Self::IcmpType => names::ICMP_TYPES,
            Self::IcmpCode => names::ICMP_CODES,
            Self::Icmpv6Type => names::ICMPV6_TYPES,
            Self::Icmpv6Code => names::ICMPV6_CODES,
            Self::Ipv4Addr | Self::Ipv6Addr | Self::IfName | Self::IfIndex | Self::Mark | Self::Integer => &[],
        }
    }

    /// Is a run of values that happens to be a prefix printed as one, in a set?
    pub const fn prints_prefixes(self) -> bool {
        match self {
            Self::Ipv4Addr | Self::Ipv6Addr | Self::IfName | Self::Mark => true,
            Self::InetService
            | Self::InetProto
            | Self::EtherType
            | Self::NfProto
            | Self::IfIndex
            | Self::Integer
            | Self::TcpFlag
            | Self::CtState
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmpv6Type
            | Self::Icmpv6Code => false,
        }
    }

    /// Elements of a named set that nftables prints on a line.
    pub const fn per_line(self) -> usize {
        match self {
            Self::InetService
            | Self::InetProto
            | Self::NfProto
            | Self::IfIndex
            | Self::Mark
            | Self::Integer
            | Self::TcpFlag => 5,
            Self::Ipv4Addr | Self::CtState => 2,
            Self::Ipv6Addr
            | Self::EtherType
            | Self::IfName
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmpv6Type
            | Self::Icmpv6Code => 1,
        }
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
        match self {
            Self::Ipv4Addr
            | Self::Ipv6Addr
            | Self::IfName
            | Self::IfIndex
            | Self::Mark
            | Self::TcpFlag
            | Self::CtState => {
                self.print_one(value, out);
            }
            Self::InetService
            | Self::InetProto
            | Self::EtherType
            | Self::NfProto
            | Self::Integer
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmpv6Type
            | Self::Icmpv6Code => {
                let _ = write!(out, "{value}");
            }
        }
    }

    /// Prints one value.
    pub fn print_one(self, value: u128, out: &mut String) {
        let _ = match self {
            Self::Ipv4Addr => write!(out, "{}", Ipv4Addr::from_bits(value as u32)),
            Self::Ipv6Addr => write!(out, "{}", Ipv6Addr::from_bits(value)),
            Self::InetService | Self::Integer | Self::IfIndex => write!(out, "{value}"),
            Self::Mark => write!(out, "0x{value:08x}"),
            Self::IfName => write!(out, "\"{}\"", escape_star(&interface_name(value, 16))),
            Self::InetProto | Self::NfProto | Self::IcmpType | Self::IcmpCode | Self::Icmpv6Type | Self::Icmpv6Code => {
                match names::name(self.names(), value) {
                    Some(name) => write!(out, "{name}"),
                    None => write!(out, "{value}"),
                }
            }
            Self::EtherType => match names::name(self.names(), value) {
                Some(name) => write!(out, "{name}"),
                None => write!(out, "0x{value:04x}"),
            },
            Self::TcpFlag | Self::CtState => write!(out, "{}", self.flag_text(value, " | ")),
        };
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
