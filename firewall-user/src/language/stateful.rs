//! What limits, counts and refuses: `limit`, `quota`, `ct count`, `reject`, `log`, `synproxy`, and the objects of a table
//! that hold such things under a name.

use std::fmt::Write;

use firewall_common::limit::{Bucket, DEFAULT_BURST};

/// The time that a rate counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// How long it is.
    pub const fn nanoseconds(self) -> u64 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        };
        seconds * 1_000_000_000
    }
}

/// `limit rate ..`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Does it match what is over the limit?
    pub over: bool,
    /// Does it count bytes?
    pub bytes: bool,
    /// So many packets or bytes ..
    pub rate: u64,
    /// .. in this time.
    pub per: Per,
    /// Packets or bytes that may come at once, beside.
    pub burst: u32,
}

impl Limit {
    /// The bucket that does it; `None` where the kernel refuses the numbers.
    pub const fn bucket(&self) -> Option<Bucket> {
        let Self { over: _, bytes, rate, per, burst } = *self;
        if bytes {
            Bucket::of_bytes(rate, per.nanoseconds(), burst as u64)
        } else {
            Bucket::of_packets(rate, per.nanoseconds(), burst as u64)
        }
    }

    /// What stands behind `limit`, or in an object's braces.
    pub fn text(&self) -> String {
        let Self { over, bytes, rate, per, burst } = *self;
        let over = if over { "over " } else { "" };
        if !bytes {
            let mut out = format!("rate {over}{rate}/{}", per.name());
            if u64::from(burst) != DEFAULT_BURST {
                let _ = write!(out, " burst {burst} packets");
            }
            return out;
        }
        let (rate, unit) = in_units(rate);
        let mut out = format!("rate {over}{rate} {unit}/{}", per.name());
        if burst > 0 {
            let (burst, unit) = in_units(u64::from(burst));
            let _ = write!(out, " burst {burst} {unit}");
        }
        out
    }
}

/// A number of bytes in the largest unit that nftables has for it.
pub fn in_units(bytes: u64) -> (u64, &'static str) {
    match bytes {
        0 => (0, "bytes"),
        bytes if bytes.is_multiple_of(1 << 20) => (bytes >> 20, "mbytes"),
        bytes if bytes.is_multiple_of(1 << 10) => (bytes >> 10, "kbytes"),
        bytes => (bytes, "bytes"),
    }
}

/// How many bytes a unit is.
pub const fn unit(name: &str) -> Option<u64> {
    match name.as_bytes() {
        b"bytes" => Some(1),
        b"kbytes" => Some(1 << 10),
        b"mbytes" => Some(1 << 20),
        _ => None,
    }
}

/// `quota ..`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Does it match when it is used up?
    pub over: bool,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that are used from the start.
    pub used: u64,
}

impl Quota {
    /// What stands behind `quota`, or in an object's braces; without `used` when nothing is.
    pub fn text(&self) -> String {
        let Self { over, bytes, used } = *self;
        let (value, unit) = in_units(bytes);
        let mut out = format!("{}{value} {unit}", if over { "over " } else { "" });
        if used > 0 {
            let (value, unit) = in_units(used);
            let _ = write!(out, " used {value} {unit}");
        }
        out
    }
}

/// `reject`, with all that a rule's context says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// A TCP reset.
    Reset,
    /// An ICMP error "destination unreachable" with this code.
    Icmp(u8),
    /// An ICMPv6 error "destination unreachable" with this code.
    Icmp6(u8),
    /// One of both, by the packet's family.
    Either(Unreachable),
}

/// What ICMP and ICMPv6 both can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// `no-route`
    NoRoute = 0,
    /// `port-unreachable`
    Port = 1,
    /// `host-unreachable`
    Host = 2,
    /// `admin-prohibited`
    Prohibited = 3,
}

impl Unreachable {
    /// By nftables' numbers (`NFT_REJECT_ICMPX_*`).
    pub const ALL: [Self; 4] = [Self::NoRoute, Self::Port, Self::Host, Self::Prohibited];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Port => "port-unreachable",
            Self::Host => "host-unreachable",
            Self::Prohibited => "admin-prohibited",
        }
    }

    /// The code in ICMP and in ICMPv6 (`nft_reject_icmp_code`, `net/netfilter/nft_reject.c`, Linux 6.18).
    pub const fn codes(self) -> (u8, u8) {
        match self {
            Self::NoRoute => (0, 0),
            Self::Port => (3, 4),
            Self::Host => (1, 3),
            Self::Prohibited => (13, 1),
        }
    }
}

/// Codes of ICMP's "destination unreachable" as nftables names them.
pub const ICMP_CODES: &[(&str, u8)] = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];

/// Those of ICMPv6.
pub const ICMP6_CODES: &[(&str, u8)] = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

/// `port-unreachable` of each.
pub const ICMP_PORT: u8 = 3;
/// As above.
pub const ICMP6_PORT: u8 = 4;

/// A code's name, if nftables has one.
pub fn code_name(names: &[(&'static str, u8)], code: u8) -> Option<&'static str> {
    names.iter().find(|(_, known)| *known == code).map(|(name, _)| *name)
}

/// What `log flags` asks for, by the kernel's bits (`NF_LOG_*`, `include/uapi/linux/netfilter/nf_log.h`).
pub const LOG_FLAGS: &[(&str, u8)] =
    &[("tcp sequence", 1), ("tcp options", 2), ("ip options", 4), ("skuid", 8), ("ether", 0x20)];

/// All of them: `log flags all`.
pub const ALL_LOG_FLAGS: u8 = 0x2f;

/// A `log` statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Text in front.
    pub prefix: Option<String>,
    /// Severity, when not the usual `warn`.
    pub level: Option<&'static str>,
    /// Bits of [`LOG_FLAGS`].
    pub flags: u8,
    /// The group, which an event is marked with.
    pub group: Option<u16>,
    /// Bytes of the packet that whoever reads the group gets.
    pub snaplen: Option<u32>,
    /// Packets that the kernel keeps until it hands them over.
    pub threshold: Option<u16>,
}

impl Log {
    /// As nftables prints it.
    pub fn text(&self) -> String {
        let Self { prefix, level, flags, group, snaplen, threshold } = self;
        let mut out = "log".to_owned();
        if let Some(prefix) = prefix {
            let _ = write!(out, " prefix \"{prefix}\"");
        }
        if let Some(group) = group {
            let _ = write!(out, " group {group}");
            for (word, number) in [("snaplen", *snaplen), ("queue-threshold", threshold.map(u32::from))] {
                let _ = number.map(|number| write!(out, " {word} {number}"));
            }
        }
        if let Some(level) = level {
            let _ = write!(out, " level {level}");
        }
        out + &flags_text(*flags)
    }
}

fn flags_text(flags: u8) -> String {
    if flags == ALL_LOG_FLAGS {
        return " flags all".to_owned();
    }
    let mut out = String::new();
    for (name, bit) in LOG_FLAGS.iter().filter(|(_, bit)| flags & bit != 0) {
        let _ = match *bit {
            2 if flags & 1 != 0 => write!(out, ",options"),
            _ => write!(out, " flags {name}"),
        };
    }
    out
}

/// What `synproxy` says to clients in the server's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// The maximum segment size.
    pub mss: Option<u16>,
    /// The window scale.
    pub wscale: Option<u8>,
    /// Timestamps?
    pub timestamp: bool,
    /// Selective acknowledgements?
    pub sack: bool,
}

impl Synproxy {
    /// What is said, in order; each object prints it on a line of its own.
    pub fn parts(&self) -> [Option<String>; 3] {
        let Self { mss, wscale, timestamp, sack } = *self;
        let numbers = mss.is_some() || wscale.is_some();
        let flags = [(timestamp, "timestamp"), (sack, "sack-perm")];
        let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        [
            numbers.then(|| format!("mss {}", mss.unwrap_or(0))),
            numbers.then(|| format!("wscale {}", wscale.unwrap_or(0))),
            (!flags.is_empty()).then(|| flags.join(" ")),
        ]
    }

    /// As a statement.
    pub fn text(&self) -> String {
        let parts = std::iter::once("synproxy".to_owned()).chain(self.parts().into_iter().flatten());
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `counter`
    Counter,
    /// `quota`
    Quota,
    /// `limit`
    Limit,
    /// `synproxy`
    Synproxy,
}

impl ObjectKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Counter, Self::Quota, Self::Limit, Self::Synproxy];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Quota => "quota",
            Self::Limit => "limit",
            Self::Synproxy => "synproxy",
        }
    }

    /// The kind of this name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Counts, starting from these numbers.
    Counter {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// A quota.
    Quota(Quota),
    /// A limit.
    Limit(Limit),
    /// Words of a SYN proxy.
    Synproxy(Synproxy),
}

/// Something with a name that several rules share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// What it is.
    pub content: Content,
}

impl Content {
    /// Of which kind of object.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Counter { .. } => ObjectKind::Counter,
            Self::Quota(_) => ObjectKind::Quota,
            Self::Limit(_) => ObjectKind::Limit,
            Self::Synproxy(_) => ObjectKind::Synproxy,
        }
    }
}

impl Object {
    /// Its kind.
    pub const fn kind(&self) -> ObjectKind {
        self.content.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_fit() {
        assert_eq!(in_units(0), (0, "bytes"));
        assert_eq!(in_units(1023), (1023, "bytes"));
        assert_eq!(in_units(2048), (2, "kbytes"));
        assert_eq!(in_units(3 << 20), (3, "mbytes"));
        assert_eq!(in_units(5 << 30), (5120, "mbytes"));
    }

    #[test]
    fn flags_are_written_as_nft_writes_them() {
        let text = |flags| Log { flags, ..Log::default() }.text();
        assert_eq!(text(3), "log flags tcp sequence,options");
        assert_eq!(text(2 | 4 | 8), "log flags tcp options flags ip options flags skuid");
        assert_eq!(text(ALL_LOG_FLAGS), "log flags all");
    }
}
