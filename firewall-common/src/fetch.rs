//! What a rule can ask for beside the packet's words: [`crate::image::Op::Fetch`].

/// A value to be fetched into registers.
///
/// The numbers are part of the image format, see [`crate::abi::ABI_VERSION`]. In an instruction they are the lowest byte of
/// `low`; the bytes above it are a number of the value's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fetch {
    /// The number of the CPU (`meta cpu`).
    Cpu = 1,
    /// A random number (`meta random`).
    Random = 2,
    /// A random number below `mask`, plus `high` (`numgen random`).
    RandomBelow = 3,
    /// One more than the last time, below `mask`, plus `high`: from generator number [`argument`] (`numgen inc`).
    Increment = 4,
    /// A number below `mask`, plus `high`, that is the same for both directions of a connection (`symhash`).
    SymmetricHash = 5,
    /// Whom the frame is for (`meta pkttype`).
    PacketType = 6,
    /// Nanoseconds since 1970, two words (`meta time`).
    Time = 7,
    /// Seconds since midnight where the ruleset was applied (`meta hour`).
    Hour = 8,
    /// Day of the week, UTC, Sunday is 0 (`meta day`).
    Day = 9,
    /// Direction of the packet within its connection: 0 original, 1 reply.
    Direction = 16,
    /// What has been seen of the connection: [`status`].
    Status = 17,
    /// The zone the connection is tracked in.
    Zone = 18,
    /// Milliseconds that the connection has left.
    Expiration = 19,
    /// Bytes of the connection, two words: of direction [`argument`], or of [`BOTH`].
    Bytes = 20,
    /// Packets of the connection, likewise.
    Packets = 21,
    /// Bytes a packet, likewise.
    Average = 22,
    /// A number that tells connections apart.
    Id = 23,
    /// Network layer of the connection (`NFPROTO_*`).
    L3Proto = 24,
    /// Protocol of the connection.
    Protocol = 25,
    /// Address of the connection: bits of [`argument`] are the direction, [`DESTINATION`] and [`V6`]; one word, or four.
    Address = 26,
    /// Port of the connection, likewise.
    Port = 27,
}

/// [`Fetch::Bytes`] and the like: of both directions.
pub const BOTH: u32 = 2;
/// [`Fetch::Address`], [`Fetch::Port`]: the destination's.
pub const DESTINATION: u32 = 2;
/// [`Fetch::Address`]: of IPv6.
pub const V6: u32 = 4;

/// What an instruction says which value it fetches.
pub const fn what(fetch: Fetch, argument: u32) -> u32 {
    fetch as u32 | argument << 8
}

/// The number of the value's own.
pub const fn argument(what: u32) -> u32 {
    what >> 8
}

/// Bits of `ct status` (`enum ip_conntrack_status`, `include/uapi/linux/netfilter/nf_conntrack_common.h`).
pub mod status {
    /// It was answered.
    pub const SEEN_REPLY: u32 = 2;
    /// It is worth keeping.
    pub const ASSURED: u32 = 4;
    /// It is in the table: not yet while its first packet meets the rules.
    pub const CONFIRMED: u32 = 8;
}
