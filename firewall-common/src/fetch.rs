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
    /// A [`hash`] of the words from `mask` on; [`argument`] is its shape, constant `high` the seed, the modulus, the offset, and
    /// 1 when the seed is to be the instance's own (`jhash`).
    Hash = 10,
    /// What one of the packet's addresses is to this host; [`argument`] is which one and where ([`crate::addresses`]).
    AddressType = 11,
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

/// Bob Jenkins' hash of words, as the kernel has it of the bytes that they stand for (include/linux/jhash.h, Linux 6.18).
/// `shape` says how many words there are (4 bits), how many bytes (8 bits), and which words are numbers in the machine's
/// own order (one bit each); the others have their first byte first. At most [`HASHED`] words.
#[inline(always)]
pub fn hash(shape: u32, word: impl Fn(usize) -> u32, seed: u32) -> u32 {
    let (count, bytes, own_order) = (shape & 15, shape >> 4 & 255, shape >> 12);
    let word = |at: usize| {
        if at as u32 >= count {
            0
        } else if own_order >> at & 1 != 0 {
            word(at)
        } else {
            word(at).swap_bytes()
        }
    };
    let mut state = [0xdead_beef_u32.wrapping_add(bytes).wrapping_add(seed); 3];
    for at in [0, 3, 6] {
        for (part, state) in state.iter_mut().enumerate() {
            *state = state.wrapping_add(word(at + part));
        }
        if count <= at as u32 + 3 {
            finish(&mut state);
            return state[2];
        }
        mix(&mut state);
    }
    state[2]
}

/// Words that can be hashed together.
pub const HASHED: usize = 9;

/// `__jhash_mix`
#[inline(always)]
fn mix([a, b, c]: &mut [u32; 3]) {
    *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
    *b = b.wrapping_add(*a);
    *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
    *b = b.wrapping_add(*a);
}

/// `__jhash_final`
#[inline(always)]
fn finish([a, b, c]: &mut [u32; 3]) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

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
