//! A compiled ruleset: what user space writes into a generation's maps and the program runs.
//!
//! Every base chain of a hook becomes a list of [`Insn`]s, all hooks in one array. An instruction tests one field and
//! names where to go on when the test holds (`pass`) and when it does not (`fail`): another instruction, or a
//! verdict. So `tcp dport { 22, 443 } ip saddr 192.0.2.0/24 counter accept` is five instructions wired as the words
//! stand, first failing test to the next rule, and nothing is evaluated that nftables would not evaluate.

mod insn;
#[cfg(any(test, feature = "user"))]
mod whole;

#[cfg(any(test, feature = "user"))]
pub use self::whole::{Forest, Image};
use crate::packet::{Field, REGISTERS, WORDS};

/// One instruction of a ruleset image. 32 bytes: two to a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// What to do, see [`Op`].
    pub op: u8,
    /// Index of the (first) word tested, see [`Field`].
    pub field: u8,
    /// [`NEGATE`] and [`DECIDES`].
    pub flags: u8,
    /// Must be zero.
    pub reserved: u8,
    /// Number of the rule this belongs to, for attribution; [`POLICY`] plus the chain's number for a chain's policy.
    pub rule: u32,
    /// Operand, see [`Op`].
    pub mask: u32,
    /// Operand, see [`Op`].
    pub low: u32,
    /// Operand, see [`Op`].
    pub high: u32,
    /// Operand, see [`Op`].
    pub extra: u32,
    /// Where to go when the test holds; where statements go on.
    pub pass: Target,
    /// Where to go when it does not.
    pub fail: Target,
}

crate::shared!(Insn = 32);

/// [`Insn::flags`]: the test's answer is inverted.
pub const NEGATE: u8 = 1;
/// [`Insn::flags`]: going to `pass` is this rule's verdict (accept or drop): the rule is remembered as the one that
/// decided.
pub const DECIDES: u8 = 2;
/// [`Insn::rule`]: not a rule but the policy of the base chain whose number is in the lower bits.
pub const POLICY: u32 = 0x8000_0000;
/// Rule number of a verdict that no rule and no policy gave: a hook without chains, or a stage before the rules.
pub const NO_RULE: u32 = u32::MAX;
/// Rule number of the drop of a packet about which the routing table would not answer.
pub const NO_ANSWER: u32 = u32::MAX - 1;

/// What an instruction does. The numbers are part of the image format, see [`crate::abi::ABI_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// `low <= (words[field] & mask) <= high`.
    Range = 1,
    /// `words[field..][i] & constants[high][i] == constants[low][i]` for all four words: IPv6 prefixes, interface
    /// names.
    Masked128 = 2,
    /// `constants[low] <= words[field..] <= constants[high]`, compared as one 128-bit number: IPv6 ranges.
    Range128 = 3,
    /// `words[field] & mask` lies in one of `high` sorted, disjoint intervals that start at `intervals[low]`.
    Set32 = 4,
    /// The four words lie in one of `high` sorted, disjoint intervals, of two constants each, that start at
    /// `constants[low]`.
    Set128 = 5,
    /// Counts the packet in rule counter `low`, then goes to `pass`.
    Counter = 6,
    /// Does the bucket in cell `extra` have what a packet costs? Constant `low` has cost and capacity, two words each, see
    /// [`crate::limit`].
    LimitPackets = 48,
    /// The same by the packet's length: constant `low` has the capacity in its last two words, the next one the nanoseconds
    /// and the bytes of the rate.
    LimitBytes = 49,
    /// Adds the packet's length to cell `extra`: is it at most what constant `low` says in its last two words?
    Quota = 50,
    /// Emits the event of log statement `low` (user space keeps prefix and level), then goes to `pass`.
    Log = 7,
    /// `words[extra] = (words[field] & mask ^ low) >> right << left`, then goes to `pass`: nftables' bitwise expression.
    /// `right` is the lowest byte of `high`, `left` the next one; a shift by 32 or more leaves nothing. The word written
    /// is a register, or the word of what a statement sets.
    Compute = 16,
    /// Fetches value `low` ([`crate::fetch::Fetch`]) into the words from `extra` on, then goes to `pass`; to `fail` when
    /// the packet has no such value. `mask` and `high` are for the value to use.
    Fetch = 17,
    /// `words[extra] = words[extra] & !mask | (words[field] << high) & mask`, then goes to `pass`: what a rule wrote into a
    /// header, as later rules see it.
    Merge = 18,
    /// Writes two bytes of a header, see [`crate::edit`], then goes to `pass`; to `fail` when the packet has no such bytes.
    Edit = 19,
    /// Leaves a packet that belongs to no connection out of connection tracking, then goes to `pass`.
    NoTrack = 64,
    /// Reads bytes ([`crate::read::Read`]) into the words from `extra` on, then goes to `pass`; to `fail` when the packet
    /// has no such bytes. A value of up to four bytes is one word.
    Read = 32,
    /// Asks the routing table by which interface the packet's source is reached ([`crate::fib`]), puts its index into
    /// word `extra` (0: by none), then goes to `pass`. Without an answer the packet is dropped.
    Fib = 33,
    /// Writes the value of word `extra` into the TCP option that `mask` names ([`crate::option`]), then goes to `pass`; also
    /// when the packet has no such option. To `fail` when the option is cut short.
    Option = 34,
    /// Puts the largest TCP segment that the routes of the packet take ([`crate::mtu`]) into word `extra`, then goes to
    /// `pass`. Without an answer the packet is dropped.
    Mtu = 35,
    /// Asks for a translation of addresses, see [`crate::nat`]: `mask` says which kind and what is given, `low` where the
    /// addresses are, `high` the ports. Then goes to `pass`.
    Nat = 65,
    /// Gives the packet's connection the fast path ([`crate::fast`]), then goes to `pass`; to `fail` when it has it, or cannot have it.
    Flow = 70,
    /// Gathers a key or data for a set: `low` words from `words[field]` on, each `& mask >> high`, to word `extra` of
    /// [`crate::sets::run::Scratch`]; with `low` zero, the constant `mask`. Then goes to `pass`.
    Key = 40,
    /// Holds if what was gathered is in set `low`. With `high` (its lowest byte) not zero, so many words from
    /// `words[field]` on, each `& mask`, are the key, from word `extra >> 8` of it on; `high >> 8` is their shift.
    /// Data of a map go into the words from `extra & 0xff` on.
    LookUp = 41,
    /// Puts what was gathered into set `low`, or takes it out; holds if that could be done. `extra & 3`: 0 adds, 1 updates,
    /// 2 deletes. It lasts `high` ticks (`u32::MAX`: for ever), which are `constants[mask]` milliseconds.
    Change = 42,
    /// A statement that the element keeps which the last [`Op::LookUp`] or [`Op::Change`] of set `low` met, or made: holds
    /// as it says. `high` is which ([`crate::sets::meter`]), constant `mask` has its numbers, `extra & 1` says which of the
    /// element's limits and quotas, [`OVER`] when it holds.
    Meter = 43,
    /// Counts the packet's connection among those of that element, or with [`ALONE`] of the whole set `low`: at most `high`
    /// of them, or with [`OVER`] more.
    Connections = 44,
}

impl Insn {
    /// The words besides the registers that the instruction writes, as bits.
    pub const fn written(&self) -> u64 {
        if self.op == Op::NoTrack as u8 {
            return 1 << Field::CtState as u64;
        }
        if self.op == Op::Compute as u8 || self.op == Op::Merge as u8 {
            (1 << (self.extra & (WORDS as u32 - 1))) & !REGISTER_WORDS
        } else {
            0
        }
    }
}

/// The registers, as bits: what is in them depends on the rule, so nothing that is found out before a packet meets the
/// rules holds for them.
pub const REGISTER_WORDS: u64 = ((1 << REGISTERS) - 1) << Field::Register as u64;

/// [`Insn::extra`] of [`Op::LookUp`]: the set is one of [`crate::sets::shapes`].
pub const HAS_SHAPES: u32 = 1 << 16;
/// [`Insn::extra`] of [`Op::LookUp`]: the set's elements have extras.
pub const HAS_EXTRAS: u32 = 1 << 17;
/// [`Insn::extra`] of [`Op::LookUp`] and [`Op::Change`]: an [`Op::Meter`] counts the packet, behind a limit.
pub const COUNTS_LATER: u32 = 1 << 18;
/// [`Insn::extra`] of [`Op::Meter`] and [`Op::Connections`]: it holds when there is too much.
pub const OVER: u32 = 1 << 8;
/// [`Insn::extra`] of [`Op::Connections`]: there is one count, and not one for each element.
pub const ALONE: u32 = 1 << 9;

/// Where an instruction goes: the index of another one, or a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Target(pub u32);

impl Target {
    /// The packet passes this hook.
    pub const ACCEPT: Self = Self(0x8000_0000);
    /// The packet is dropped.
    pub const DROP: Self = Self(0x8000_0001);

    /// The packet is dropped, and its sender is told: an answer of this kind, see [`crate::answer`], with this code.
    pub const fn reject(kind: u8, code: u8) -> Self {
        Self(Self::REJECT | (kind as u32) << 8 | code as u32)
    }

    /// Is this [`Self::reject`]?
    #[inline(always)]
    pub const fn is_reject(self) -> bool {
        self.0 & 0xffff_0000 == Self::REJECT
    }

    /// Kind and code of [`Self::reject`].
    #[inline(always)]
    pub const fn answer(self) -> (u8, u8) {
        ((self.0 >> 8) as u8, self.0 as u8)
    }

    const REJECT: u32 = 0x8001_0000;
    const SYNPROXY: u32 = 0x8002_0000;

    /// The handshake is made in the server's place, which takes segments of so many bytes (0: nothing is said of that).
    pub const fn synproxy(mss: u16) -> Self {
        Self(Self::SYNPROXY | mss as u32)
    }

    /// Is this [`Self::synproxy`]?
    #[inline(always)]
    pub const fn is_synproxy(self) -> bool {
        self.0 & 0xffff_0000 == Self::SYNPROXY
    }

    /// The segment size of [`Self::synproxy`].
    #[inline(always)]
    pub const fn segment_size(self) -> u32 {
        self.0 & 0xffff
    }

    /// Another instruction.
    pub const fn at(index: u32) -> Self {
        Self(index)
    }

    /// The next rule that matches, of those whose first instruction is not before `number`: see [`crate::classify`].
    pub const fn next(number: u32) -> Self {
        Self(Self::NEXT | number)
    }

    /// Is this [`Self::next`]?
    #[inline(always)]
    pub const fn is_next(self) -> bool {
        self.0 & (0x8000_0000 | Self::NEXT) == Self::NEXT
    }

    /// Where to go on from, for [`Self::next`].
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 & !Self::NEXT
    }

    const NEXT: u32 = 0x4000_0000;

    /// Is this a verdict, not an instruction?
    #[inline(always)]
    pub const fn is_verdict(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }
}

/// An interval of a 32-bit set, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Interval {
    /// Lowest value in the set.
    pub low: u32,
    /// Highest value in the set.
    pub high: u32,
}

crate::shared!(Interval = 8);

/// The hooks a ruleset can have chains at, in the kernel's order (`NF_INET_*`, include/uapi/linux/netfilter.h), then
/// those of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// Every packet that came in, before it is known whether it is for this host.
    Prerouting = 0,
    /// Packets for this host.
    Input = 1,
    /// Packets from one interface to another.
    Forward = 2,
    /// Packets made here.
    Output = 3,
    /// Packets that leave, made here or forwarded.
    Postrouting = 4,
    /// Everything that comes in by a device, before the stack looks at it.
    Ingress = 5,
    /// Everything that leaves by a device.
    Egress = 6,
}

/// Number of [`Hook`]s.
pub const HOOKS: usize = 7;

impl Hook {
    /// All hooks, in number order.
    pub const ALL: [Self; HOOKS] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting, Self::Ingress, Self::Egress];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Priority at which connections are looked up (`NF_IP_PRI_CONNTRACK`, `include/uapi/linux/netfilter_ipv4.h`): chains
/// before it see packets that belong to none yet.
pub const CONNTRACK: i32 = -200;
/// Priority at which destinations are translated (`NF_IP_PRI_NAT_DST`), whatever the nat chains' own.
pub const NAT_DST: i32 = -100;
/// Priority at which sources are translated (`NF_IP_PRI_NAT_SRC`).
pub const NAT_SRC: i32 = 100;

/// The chains of a hook that a packet meets in one go: between two parts of the same hook something else happens to it
/// (its connection is looked up, its addresses are translated).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Part {
    /// All chains of the hook but those that have a part of their own.
    Prerouting = 0,
    /// As above.
    Input = 1,
    /// As above.
    Forward = 2,
    /// As above.
    Output = 3,
    /// As above.
    Postrouting = 4,
    /// As above.
    Ingress = 5,
    /// As above.
    Egress = 6,
    /// Chains before [`CONNTRACK`].
    PreroutingRaw = 7,
    /// Chains before [`CONNTRACK`].
    OutputRaw = 8,
    /// Where there are nat chains: chains before [`NAT_DST`].
    PreroutingEarly = 9,
    /// Where there are nat chains: chains before [`NAT_DST`].
    OutputEarly = 10,
    /// Where there are nat chains: chains behind [`NAT_SRC`].
    InputLate = 11,
    /// Where there are nat chains: chains behind [`NAT_SRC`].
    PostroutingLate = 12,
    /// Nat chains.
    PreroutingNat = 13,
    /// Nat chains.
    OutputNat = 14,
    /// Nat chains.
    InputNat = 15,
    /// Nat chains.
    PostroutingNat = 16,
}

/// Number of [`Part`]s.
pub const PARTS: usize = 17;

impl Part {
    /// All parts, in number order.
    pub const ALL: [Self; PARTS] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
        Self::Ingress,
        Self::Egress,
        Self::PreroutingRaw,
        Self::OutputRaw,
        Self::PreroutingEarly,
        Self::OutputEarly,
        Self::InputLate,
        Self::PostroutingLate,
        Self::PreroutingNat,
        Self::OutputNat,
        Self::InputNat,
        Self::PostroutingNat,
    ];

    /// The hook it is of.
    #[inline(always)]
    pub const fn hook(self) -> Hook {
        match self {
            Self::Prerouting | Self::PreroutingRaw | Self::PreroutingEarly | Self::PreroutingNat => Hook::Prerouting,
            Self::Input | Self::InputLate | Self::InputNat => Hook::Input,
            Self::Forward => Hook::Forward,
            Self::Output | Self::OutputRaw | Self::OutputEarly | Self::OutputNat => Hook::Output,
            Self::Postrouting | Self::PostroutingLate | Self::PostroutingNat => Hook::Postrouting,
            Self::Ingress => Hook::Ingress,
            Self::Egress => Hook::Egress,
        }
    }

    /// What listings call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreroutingRaw => "prerouting, raw",
            Self::OutputRaw => "output, raw",
            Self::PreroutingEarly => "prerouting, before nat",
            Self::OutputEarly => "output, before nat",
            Self::InputLate => "input, behind nat",
            Self::PostroutingLate => "postrouting, behind nat",
            Self::PreroutingNat => "prerouting, nat",
            Self::OutputNat => "output, nat",
            Self::InputNat => "input, nat",
            Self::PostroutingNat => "postrouting, nat",
            main => main.hook().name(),
        }
    }
}

impl From<Hook> for Part {
    /// The part that a hook without nat chains has all chains from [`CONNTRACK`] on in.
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Prerouting => Self::Prerouting,
            Hook::Input => Self::Input,
            Hook::Forward => Self::Forward,
            Hook::Output => Self::Output,
            Hook::Postrouting => Self::Postrouting,
            Hook::Ingress => Self::Ingress,
            Hook::Egress => Self::Egress,
        }
    }
}

/// Constants of a generation, written into its read-only data before it is loaded, so that the verifier prunes what
/// the ruleset does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// First instruction of each part; [`Target::ACCEPT`] for one without chains.
    pub entry: [Target; PARTS],
    /// [`USES_NAMES`] and the like.
    pub uses: u32,
}

crate::shared!(Settings = 72);

/// [`Settings::uses`]: some rule asks for an interface name, so the words of [`Field::IifName`] and
/// [`Field::OifName`] must be filled.
pub const USES_NAMES: u32 = 1;
/// [`Settings::uses`]: some rule logs.
pub const USES_LOG: u32 = 2;
/// [`Settings::uses`]: some rule looks into a set.
pub const USES_SETS: u32 = 4;
/// [`Settings::uses`]: some hook has trees.
pub const USES_TREES: u32 = 8;
/// [`Settings::uses`]: some rule computes something: [`Op::Compute`], [`Op::Fetch`] and whatever else fills registers.
pub const USES_REGISTERS: u32 = 1 << 12;
/// [`Settings::uses`]: some rule asks for the connection's mark or sets it.
pub const USES_CT_MARK: u32 = 1 << 13;
/// [`Settings::uses`]: some rule asks for the packet's mark or priority, or sets one.
pub const USES_MARK: u32 = 1 << 14;
/// [`Settings::uses`]: some rule says `notrack`.
pub const USES_NOTRACK: u32 = 1 << 8;
/// [`Settings::uses`]: some rule asks for something beside the packet's words: [`Op::Fetch`].
pub const USES_FETCH: u32 = 1 << 15;
/// [`Settings::uses`]: some rule has a limit or a quota.
pub const USES_CELLS: u32 = 1 << 21;
/// [`Settings::uses`]: some rule rejects.
pub const USES_REJECT: u32 = 1 << 22;
/// Some rule has handshakes made in a server's place.
pub const USES_SYNPROXY: u32 = 1 << 23;
/// [`Settings::uses`]: some rule reads bytes: [`Op::Read`].
pub const USES_READINGS: u32 = 1 << 16;
/// [`Settings::uses`]: some rule asks the routing table: [`Op::Fib`].
pub const USES_FIB: u32 = 1 << 17;
/// [`Settings::uses`]: some rule asks what an address is: [`crate::fetch::Fetch::AddressType`].
pub const USES_ADDRESSES: u32 = 1 << 4;
/// [`Settings::uses`]: some rule writes into TCP options: [`Op::Option`].
pub const USES_OPTIONS: u32 = 1 << 30;
/// [`Settings::uses`]: some rule asks for the largest segment: [`Op::Mtu`].
pub const USES_MTU: u32 = 1 << 31;
/// [`Settings::uses`]: addresses are translated.
pub const USES_NAT: u32 = 1 << 9;
/// [`Settings::uses`]: beside routed packets, the destination of packets made here is, or the source of packets for this host.
pub const USES_LOCAL_NAT: u32 = 1 << 10;
/// [`Settings::uses`]: connections are given the fast path, by a rule or by the settings ([`crate::fast`]).
pub const USES_FAST: u32 = 1 << 7;

/// [`Settings::uses`]: some rule looks into a named set.
pub const USES_NAMED: u32 = 1 << 18;
/// [`Settings::uses`]: some rule changes one.
pub const USES_CHANGES: u32 = 1 << 19;
/// [`Settings::uses`]: some named set has shapes.
pub const USES_SHAPES: u32 = 1 << 20;
/// [`Settings::uses`]: elements of some named set keep statements: [`Op::Meter`].
pub const USES_METERS: u32 = 1 << 25;
/// [`Settings::uses`]: connections are counted: [`Op::Connections`].
pub const USES_CONNECTIONS: u32 = 1 << 26;

impl Settings {
    /// A ruleset without chains: everything passes.
    pub const EMPTY: Self = Self { entry: [Target::ACCEPT; PARTS], uses: 0 };
}
