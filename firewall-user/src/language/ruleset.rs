//! A checked ruleset: every name resolved, every value in the range of its type, every jump leading somewhere.
//!
//! Only the checker of this module's parent makes a [`Ruleset`], so whoever holds one need not check again.

use firewall_common::image::Hook;

pub use super::{
    connection::{CtField, End, Side},
    data::{Computed, Data, DataMap, Lookup, Step},
    flowtable::Flowtable,
    hash::{Hash as PacketHash, Interned},
    nat::{Nat, NatKind, NatTo},
    selector::{Generator, Selector, Source, Transport},
    sets::{
        CatchAll, Concat, ConcatKeys, Extras, Given, MapData, OfElement, Put, Set, SetElement, Tuple, Update,
        UpdateOperation,
    },
    stateful::{Content, Limit, Log, Object, ObjectKind, Quota, Reject, Synproxy},
};

/// A table's family: which packets its chains see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Whatever crosses a device.
    Netdev,
}

impl Family {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Netdev => "netdev",
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One value.
    Single,
    /// The values that share the first so many bits.
    Prefix(u8),
    /// From one to another.
    Range,
}

/// A run of values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Values {
    /// The lowest.
    pub low: u128,
    /// The highest.
    pub high: u128,
    /// How it is written.
    pub form: Form,
}

impl Values {
    /// One value.
    pub const fn single(value: u128) -> Self {
        Self { low: value, high: value, form: Form::Single }
    }
}

/// What a match does with the value it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// It is (in) the right side.
    Equal,
    /// It is not.
    NotEqual,
    /// It is smaller.
    Less,
    /// It is not larger.
    LessEqual,
    /// It is larger.
    Greater,
    /// It is not smaller.
    GreaterEqual,
    /// Some bit of the right side is set.
    AnyBit,
    /// No bit of the right side is set.
    NoBit,
}

/// The right side of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// One value, prefix or range.
    One(Values),
    /// An anonymous set: sorted and disjoint.
    Set(Vec<Values>),
    /// A named set of the same table, by its index there.
    Named(usize),
}

/// A network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// The left side of a match or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// What is looked at.
    pub selector: Selector,
    /// Which of its bits, when not all.
    pub mask: Option<u128>,
    /// Bits that count as set, whatever they are: `meta mark | 1`. Zero when there are none.
    pub or: u128,
    /// The frame must be tested for an 802.1Q tag first, because nothing before in the rule says so.
    pub tagged: bool,
    /// The network layer that must be tested first, because nothing before in the rule or table says so.
    pub network: Option<Network>,
}

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is looked at.
    pub subject: Subject,
    /// What it must be to the right side.
    pub comparison: Comparison,
    /// The right side.
    pub operand: Operand,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The packet is done with this base chain.
    Accept,
    /// The packet ends here.
    Drop,
    /// Back to the rule after the jump; in a base chain, its policy.
    Return,
    /// The next rule; in a map, the rule goes on.
    Continue,
    /// Through another chain of the table, by its index, and back.
    Jump(usize),
    /// Through another chain of the table, and back to where this chain was jumped from.
    Goto(usize),
}

/// An element of a verdict map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapElement {
    /// The key; `None` for `*`.
    pub key: Option<Values>,
    /// What it gives.
    pub verdict: Verdict,
}

/// A statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Ends the rule when it does not hold.
    Match(Match),
    /// Gives the verdict of the element that the value is in; ends the rule when there is none.
    Map {
        /// What is looked at.
        subject: Subject,
        /// Sorted by key, disjoint, `*` last.
        elements: Vec<MapElement>,
    },
    /// The same with a named map of the table.
    NamedMap {
        /// What is looked at.
        subject: Subject,
        /// The map, by its index in [`Table::sets`].
        map: usize,
    },
    /// Ends the rule when the values together are not in the set, or (`negated`) when they are.
    Concat {
        /// What is looked at.
        subjects: Vec<Subject>,
        /// `!=`
        negated: bool,
        /// The set.
        keys: ConcatKeys,
    },
    /// Gives the verdict of the element that the values together are in; ends the rule when there is none.
    ConcatMap {
        /// What is looked at.
        subjects: Vec<Subject>,
        /// The map.
        keys: ConcatKeys,
    },
    /// Changes a set or map of the table; ends the rule when that cannot be done.
    Update(Update),
    /// Gives something of the packet or its connection a value.
    Assign {
        /// What: a selector as it is.
        target: Subject,
        /// The value.
        value: Data,
    },
    /// Counts, starting from these numbers.
    Counter {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Leaves the packet out of connection tracking.
    NoTrack,
    /// Translates addresses.
    Nat(Nat),
    /// Logs.
    Log(Log),
    /// Ends the rule when there is too much, or (`over`) when there is not.
    Limit(Limit),
    /// Ends the rule when it is used up, or (`over`) when it is not.
    Quota(Quota),
    /// Ends the rule when there are more connections, or (`over`) when there are not.
    Connections {
        /// `over`
        over: bool,
        /// How many.
        count: u32,
    },
    /// What an object of the table does, by its index in [`Table::objects`].
    Object(usize),
    /// What the object does that a map in the rule gives for a key; ends the rule when it gives none. Its data are indexes in
    /// [`Table::objects`].
    ObjectMap(ObjectKind, Lookup),
    /// Answers handshakes in the place of a server.
    Synproxy(Synproxy),
    /// Takes the connection past the rules, by a flowtable's index in [`Table::flowtables`].
    Flow(usize),
    /// Decides: the packet is dropped, and its sender is told.
    Reject(Reject),
    /// Decides.
    Verdict(Verdict),
}

impl Statement {
    /// Does it do what this object of the table does, perhaps?
    pub fn uses_object(&self, number: usize) -> bool {
        match self {
            Self::Object(object) => *object == number,
            Self::ObjectMap(_, Lookup { keys: _, map: DataMap::Listed { tuples, default } }) => {
                let of = |values: &[Values]| values.iter().any(|one| one.low == number as u128);
                let given = |tuple: &Tuple| matches!(&tuple.given, Some(Given::Values(values)) if of(values));
                tuples.iter().any(given) || default.as_ref().is_some_and(|values| of(values))
            }
            _ => false,
        }
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the file in [`Ruleset::files`].
    pub file: u32,
    /// Its line.
    pub line: u32,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its statements, left to right.
    pub statements: Vec<Statement>,
    /// Its comment.
    pub comment: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

impl PartialEq for Rule {
    /// Rules are the same when they say the same, wherever they were written.
    fn eq(&self, other: &Self) -> bool {
        let Self { statements, comment, origin: _ } = self;
        *statements == other.statements && *comment == other.comment
    }
}

/// What a base chain is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Every packet meets it.
    Filter,
    /// The first packet of a connection meets it, to have its addresses translated.
    Nat,
    /// As `Filter`, and what it changes is routed anew.
    Route,
}

impl ChainType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Nat, Self::Route];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// A base chain's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it is there for.
    pub kind: ChainType,
    /// Its hook.
    pub hook: Hook,
    /// Its priority: lower ones see packets first.
    pub priority: i32,
    /// Does it drop what no rule decided?
    pub drops: bool,
}

/// A chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it hangs; `None` for one that is only jumped to.
    pub base: Option<Base>,
    /// The interfaces it hangs at, of a base chain at the hooks of devices.
    pub devices: Vec<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Does it sleep? Then no packet comes to its chains.
    pub dormant: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Its named sets and maps.
    pub sets: Vec<Set>,
    /// Its counters, quotas and the like.
    pub objects: Vec<Object>,
    /// Its flowtables.
    pub flowtables: Vec<Flowtable>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// A text that a ruleset was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it is called.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A whole ruleset that passed every check.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    tables: Vec<Table>,
    files: Vec<File>,
    interfaces: Vec<(u32, String)>,
}

impl Ruleset {
    /// Only the checker may say that a ruleset is one.
    pub(in crate::language) fn checked(tables: Vec<Table>, files: Vec<File>, interfaces: Vec<(u32, String)>) -> Self {
        Self { tables, files, interfaces }
    }

    /// Interfaces that `iif` and `oif` named, with the indexes they had when the ruleset was checked.
    pub fn interfaces(&self) -> &[(u32, String)] {
        &self.interfaces
    }

    /// The tables, in the order in which they were defined.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The texts it was read from.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Is there no chain that packets come to?
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.dormant || table.chains.iter().all(|chain| chain.base.is_none()))
    }
}

impl PartialEq for Ruleset {
    /// Rulesets are the same when they say the same, wherever that was written.
    fn eq(&self, other: &Self) -> bool {
        let Self { tables, files: _, interfaces: _ } = self;
        *tables == other.tables
    }
}
