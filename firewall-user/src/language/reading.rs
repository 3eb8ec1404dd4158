//! What a match reads from a packet's bytes, beyond the words that the parser of packets keeps, and what it asks of the
//! routing table.

mod fields;

use std::fmt;

use serde_json::{Value, json};

use self::fields::FIELDS;
use super::types::Type;

/// Where a header starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// The frame.
    Link,
    /// The IP header.
    Network,
    /// The upper-layer header.
    Transport,
    /// What an upper-layer header carries.
    Inner,
}

impl Base {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "ll",
            Self::Network => "nh",
            Self::Transport => "th",
            Self::Inner => "ih",
        }
    }

    /// The base of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Link, Self::Network, Self::Transport, Self::Inner].into_iter().find(|base| base.name() == name)
    }
}

/// What a field is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An ARP packet.
    Arp,
    /// The IPv4 header.
    Ip,
    /// The upper-layer header of this protocol.
    Upper(u8),
    /// The ICMP or ICMPv6 header (this protocol) of a message of this type.
    Message(u8, u8),
    /// The first IPv6 extension header of this type.
    Extension(u8),
    /// This IPv4 option.
    IpOption(u8),
    /// The first TCP option of this kind.
    TcpOption(u8),
    /// The first SCTP chunk of this type.
    Chunk(u8),
}

/// A field that has a name.
pub(super) struct Field {
    /// The word, or words, in front of it; `exthdr frag` alone for whether there is one.
    group: &'static str,
    /// Its name; empty for whether what it would be part of is there.
    name: &'static str,
    /// What it is part of.
    place: Place,
    /// Its values.
    ty: Type,
    /// Where it starts, bits.
    offset: u16,
}

/// What the routing table is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fib {
    /// The destination address, not the source.
    pub destination: bool,
    /// With the packet's mark.
    pub mark: bool,
    /// On which interface.
    pub interface: Option<Side>,
    /// Of an IPv6 packet.
    pub v6: bool,
    /// What is wanted to know.
    pub result: FibResult,
}

/// One of a packet's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one it came in by.
    In,
    /// The one it leaves by.
    Out,
}

/// What the routing table answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FibResult {
    /// The interface.
    Oif,
    /// Its name.
    OifName,
    /// The type of the address.
    Type,
    /// Whether there is an interface: `oif exists`.
    Exists,
}

impl FibResult {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oif | Self::Exists => "oif",
            Self::OifName => "oifname",
            Self::Type => "type",
        }
    }
}

impl Fib {
    /// The words in front of the result.
    fn flags(self) -> Vec<&'static str> {
        let address = if self.destination { "daddr" } else { "saddr" };
        let mark = self.mark.then_some("mark");
        let interface = self.interface.map(|side| match side {
            Side::In => "iif",
            Side::Out => "oif",
        });
        [Some(address), mark, interface].into_iter().flatten().collect()
    }

    const fn value_type(self) -> Type {
        match self.result {
            FibResult::Oif => Type::IfIndex,
            FibResult::OifName => Type::IfName,
            FibResult::Type => Type::FibType,
            FibResult::Exists => Type::Boolean,
        }
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// A field with a name: its number in the table of them.
    Field(u16),
    /// A segment of an IPv6 routing header, from 1 on: `srh sid[1]`, `rt0 addr[1]`.
    Segment(u8),
    /// Bytes of a header: where from and how many, in bits of whole bytes.
    Raw(Base, u16, u8),
    /// The port of whatever protocol there is: the first two bytes of its header, or (true) the next two.
    AnyPort(bool),
    /// Whether there is a TCP option of this kind.
    OptionKind(u8),
    /// Bytes of the TCP option of this kind: where from and how many, in bits of whole bytes.
    RawOption(u8, u16, u8),
    /// What the routing table says.
    Fib(Fib),
}

/// How the bytes of a reading are found, and which of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of what.
    pub of: Whole,
    /// Is it only asked whether that is there?
    pub presence: bool,
    /// From which byte of it.
    pub first: u16,
    /// How many bytes.
    pub bytes: u8,
    /// Bits behind the value in the last byte.
    pub shift: u8,
}

/// What bytes are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// A header.
    Header(Base),
    /// As [`Place::Extension`].
    Extension(u8),
    /// As [`Place::IpOption`].
    IpOption(u8),
    /// As [`Place::TcpOption`].
    TcpOption(u8),
    /// As [`Place::Chunk`].
    Chunk(u8),
}

impl Reading {
    /// The field of this name behind these words.
    pub(super) fn named(group: &str, name: &str) -> Option<Self> {
        let at = FIELDS.iter().position(|field| field.group == group && field.name == name)?;
        Some(Self::Field(at as u16))
    }

    /// The names of the fields behind these words.
    pub(super) fn names(group: &str) -> impl Iterator<Item = &'static str> {
        FIELDS.iter().filter(move |field| field.group == group && !field.name.is_empty()).map(|field| field.name)
    }

    /// Words that stand in front of a field.
    pub(super) fn groups() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|field| field.group)
    }

    /// The words in front of fields of the TCP option of this kind.
    pub(super) fn option(kind: u8) -> Option<&'static str> {
        let alone = |field: &&Field| field.name.is_empty() && field.place == Place::TcpOption(kind);
        FIELDS.iter().find(alone).map(|field| field.group)
    }

    /// The field that these bits of the TCP option of this kind are.
    pub(super) fn of_option(kind: u8, offset: u16, bits: u8) -> Option<Self> {
        let is_it = |field: &Field| {
            let part = field.place == Place::TcpOption(kind) && !field.name.is_empty();
            part && (field.offset, field.ty.bits()) == (offset, bits)
        };
        Some(Self::Field(FIELDS.iter().position(is_it)? as u16))
    }

    fn field(self) -> Option<&'static Field> {
        match self {
            Self::Field(number) => FIELDS.get(usize::from(number)),
            _ => None,
        }
    }

    /// What the field is part of, if it has a name.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::Segment(_) => Some(Place::Extension(ROUTING)),
            _ => self.field().map(|field| field.place),
        }
    }

    /// The first word nftables prints.
    pub fn first_word(self) -> &'static str {
        match self {
            Self::Field(_) => self.field().map_or("", |field| field.group.split(' ').next().unwrap_or_default()),
            Self::Segment(_) => "srh",
            Self::Raw(..) => "@",
            Self::AnyPort(_) => "th",
            Self::OptionKind(_) | Self::RawOption(..) => "tcp",
            Self::Fib(_) => "fib",
        }
    }

    /// The type of its values.
    pub const fn value_type(self) -> Type {
        match self {
            Self::Field(number) => FIELDS[number as usize].ty,
            Self::Segment(_) => Type::Ipv6Addr,
            Self::Raw(_, _, bits) => Type::Raw(bits),
            Self::RawOption(_, _, bits) => Type::Integer(bits),
            Self::AnyPort(_) => Type::InetService,
            Self::OptionKind(_) => Type::Boolean,
            Self::Fib(fib) => fib.value_type(),
        }
    }

    /// Its bytes; `None` for what has none.
    pub fn span(self) -> Option<Span> {
        let bits = u16::from(self.value_type().bits());
        let (of, presence, offset) = match self {
            Self::Field(_) => {
                let field = self.field()?;
                (whole(field.place), field.name.is_empty(), field.offset)
            }
            Self::Segment(number) => (Whole::Extension(ROUTING), false, 64 + 128 * (u16::from(number) - 1)),
            Self::Raw(base, offset, _) => (Whole::Header(base), false, offset),
            Self::AnyPort(destination) => (Whole::Header(Base::Transport), false, if destination { 16 } else { 0 }),
            Self::OptionKind(kind) => (Whole::TcpOption(kind), true, 0),
            Self::RawOption(kind, offset, _) => (Whole::TcpOption(kind), false, offset),
            Self::Fib(_) => return None,
        };
        let bits = if presence { 8 } else { bits };
        let bytes = (offset % 8 + bits).div_ceil(8);
        let shift = bytes * 8 - offset % 8 - bits;
        Some(Span { of, presence, first: offset / 8, bytes: bytes as u8, shift: shift as u8 })
    }

    /// What nftables' JSON calls it.
    pub(super) fn json(self) -> Value {
        match self {
            Self::Field(number) => FIELDS[usize::from(number)].json(),
            Self::Segment(number) => json!({ "exthdr": { "name": "srh", "field": format!("sid[{number}]") } }),
            Self::Raw(base, offset, length) => {
                json!({ "payload": { "base": base.name(), "offset": offset, "len": length } })
            }
            Self::AnyPort(destination) => {
                json!({ "payload": { "protocol": "th", "field": if destination { "dport" } else { "sport" } } })
            }
            Self::OptionKind(kind) => json!({ "tcp option": { "base": kind, "offset": 0, "len": 8 } }),
            Self::RawOption(kind, offset, length) => {
                json!({ "tcp option": { "base": kind, "offset": offset, "len": length } })
            }
            Self::Fib(fib) => json!({ "fib": { "result": fib.result.name(), "flags": fib.flags() } }),
        }
    }
}

/// IPv6's routing header.
const ROUTING: u8 = 43;

const fn whole(place: Place) -> Whole {
    match place {
        Place::Arp | Place::Ip => Whole::Header(Base::Network),
        Place::Upper(_) | Place::Message(..) => Whole::Header(Base::Transport),
        Place::Extension(kind) => Whole::Extension(kind),
        Place::IpOption(kind) => Whole::IpOption(kind),
        Place::TcpOption(kind) => Whole::TcpOption(kind),
        Place::Chunk(kind) => Whole::Chunk(kind),
    }
}

impl Field {
    fn json(&self) -> Value {
        let of = self.group.rsplit(' ').next().unwrap_or_default();
        let kind = match self.place {
            Place::Arp | Place::Ip | Place::Upper(_) | Place::Message(..) => {
                return json!({ "payload": { "protocol": of, "field": self.name } });
            }
            Place::Extension(_) => "exthdr",
            Place::IpOption(_) => "ip option",
            Place::TcpOption(_) => "tcp option",
            Place::Chunk(_) => "sctp chunk",
        };
        match self.name {
            "" => json!({ kind: { "name": of } }),
            name => json!({ kind: { "name": of, "field": name } }),
        }
    }
}

/// As nftables prints it.
impl fmt::Display for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(number) => match &FIELDS[usize::from(*number)] {
                Field { group, name: "", .. } => out.write_str(group),
                Field { group, name, .. } => write!(out, "{group} {name}"),
            },
            Self::Segment(number) => write!(out, "srh sid[{number}]"),
            Self::Raw(base, offset, length) => write!(out, "@{},{offset},{length}", base.name()),
            Self::AnyPort(destination) => out.write_str(if *destination { "th dport" } else { "th sport" }),
            Self::OptionKind(kind) => write!(out, "tcp option {kind}"),
            Self::RawOption(kind, offset, length) => write!(out, "tcp option @{kind},{offset},{length}"),
            Self::Fib(fib) => write!(out, "fib {} {}", fib.flags().join(" . "), fib.result.name()),
        }
    }
}
