//! What was written, with where it was written. Nothing is known here to make sense.

mod command;
mod sets;
mod stateful;

use std::{net::Ipv4Addr, net::Ipv6Addr, rc::Rc};

pub(super) use self::{
    command::{Command, Part, RulePlace},
    stateful::{Log, Object, RejectWith},
};
use super::{
    ruleset::{Family, NatKind, Selector},
    source::Span,
    stateful::{Limit, ObjectKind, Quota, Synproxy},
};
pub(super) use sets::{Element, ElementOptions, Given, KeyPart, MapData, Set, SetBody, SetKey, Time, Update};

/// A name or a text with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned {
    /// The text, without quotes.
    pub(super) text: Rc<str>,
    /// Where.
    pub(super) span: Span,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    /// What.
    pub(super) kind: ExprKind,
    /// Where.
    pub(super) span: Span,
}

/// The kinds of values.
#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    /// A word: a name of a port, an interface, a state.
    Word(Rc<str>),
    /// A word ending in `*`, or a quoted text: an interface name.
    Text(Rc<str>),
    /// A number.
    Number(u128),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A hardware address.
    Mac(u64),
    /// `a - b`.
    Range(Box<Expr>, Box<Expr>),
    /// `a / length`.
    Prefix(Box<Expr>, u128),
    /// `a, b, c`.
    List(Vec<Expr>),
    /// `a . b . c`.
    Concat(Vec<Expr>),
    /// `a | b` and the like.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `{ a, b : verdict }`.
    Set(Vec<Element>),
    /// `@name`.
    Named(Rc<str>),
    /// `*` as an element.
    Any,
    /// `1h30m`, in milliseconds.
    Time(u64),
    /// `ct mark` where a value stands.
    Selector(Box<Left>),
    /// `ip saddr map { .. }` where a value stands.
    Map(Box<Left>, Box<Expr>),
    /// `$name`: the value and where it is used.
    Variable(Rc<Variable>),
}

/// The value of a variable, with what using it costs: a few lines of `define` can stand for more than memory holds.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// The value.
    pub(super) value: Expr,
    /// How deep it is nested.
    pub(super) depth: usize,
    /// How many values it holds.
    pub(super) size: usize,
}

impl Expr {
    /// How deep a value is nested and how many it holds. Ends at variables, which know.
    pub(super) fn measure(&self) -> (usize, usize) {
        let inner = |parts: &mut dyn Iterator<Item = (usize, usize)>| {
            parts.fold((1, 1), |(depth, size): (usize, usize), (d, s)| (depth.max(d + 1), size.saturating_add(s)))
        };
        match &self.kind {
            ExprKind::Range(a, b) | ExprKind::Binary(_, a, b) => inner(&mut [a.measure(), b.measure()].into_iter()),
            ExprKind::Prefix(a, _) => inner(&mut [a.measure()].into_iter()),
            ExprKind::List(values) | ExprKind::Concat(values) => inner(&mut values.iter().map(Self::measure)),
            ExprKind::Set(elements) => inner(&mut elements.iter().map(|element| element.key.measure())),
            ExprKind::Variable(variable) => (variable.depth + 1, variable.size),
            ExprKind::Word(_)
            | ExprKind::Text(_)
            | ExprKind::Number(_)
            | ExprKind::Ipv4(_)
            | ExprKind::Ipv6(_)
            | ExprKind::Mac(_)
            | ExprKind::Named(_)
            | ExprKind::Selector(_)
            | ExprKind::Map(..)
            | ExprKind::Time(_)
            | ExprKind::Any => (1, 1),
        }
    }

    /// The value behind variables.
    pub(super) fn resolved(&self) -> &Self {
        let mut at = self;
        while let ExprKind::Variable(variable) = &at.kind {
            at = &variable.value;
        }
        at
    }
}

/// Operators between values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

/// A verdict as written.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// What.
    pub(super) kind: VerdictKind,
    /// Where.
    pub(super) span: Span,
}

/// The kinds of verdicts.
#[derive(Clone, Debug)]
pub(super) enum VerdictKind {
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `return`
    Return,
    /// `continue`
    Continue,
    /// `jump chain`
    Jump(Spanned),
    /// `goto chain`
    Goto(Spanned),
}

/// A comparison as written; none is `Implicit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Nothing between the two sides.
    Implicit,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `!`: none of these bits.
    NoneOf,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

/// A hash as written.
#[derive(Clone, Debug)]
pub(super) struct Hash {
    /// Of this.
    pub(super) key: Left,
    /// `mod N`
    pub(super) modulus: u32,
    /// `seed N`
    pub(super) seed: Option<u32>,
    /// `offset N`
    pub(super) offset: u32,
}

/// The left side of a match.
#[derive(Clone, Debug)]
pub(super) struct Left {
    /// What is looked at.
    pub(super) selector: Selector,
    /// `jhash ..`: what is looked at is a hash of this, and the selector says nothing.
    pub(super) hash: Option<Box<Hash>>,
    /// `& mask`, `| bits`: what is done with it first, in order.
    pub(super) operations: Vec<(Binary, Expr)>,
    /// `. tcp dport`: what is looked at together with it.
    pub(super) more: Vec<Left>,
    /// Where.
    pub(super) span: Span,
}

/// A statement of a rule.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// What.
    pub(super) kind: StatementKind,
    /// Where.
    pub(super) span: Span,
}

/// The kinds of statements.
#[derive(Clone, Debug)]
pub(super) enum StatementKind {
    /// `tcp dport 22`
    Match(Left, Relation, Expr),
    /// `tcp flags syn / syn,ack`: with the mask behind the value.
    Flags(Left, Relation, Expr, Expr),
    /// `tcp dport vmap { .. }`
    Map(Left, Expr),
    /// `update @set { ip saddr timeout 5m }`
    Update(Box<Update>),
    /// `meta mark set 1`
    Assign(Left, Expr),
    /// `counter packets N bytes N`
    Counter(u64, u64),
    /// `log ...`
    Log(Log),
    /// `notrack`
    NoTrack,
    /// `limit rate ...`
    Limit(Limit),
    /// `quota ...`
    Quota(Quota),
    /// `ct count over 5`
    Connections {
        /// `over`
        over: bool,
        /// How many.
        count: u32,
    },
    /// `counter name "x"`
    Object(ObjectKind, Spanned),
    /// `counter name ip saddr map { .. }`
    ObjectMap(ObjectKind, Left, Expr),
    /// `synproxy ...`
    Synproxy(Synproxy),
    /// `flow add @f`
    Flow(Spanned),
    /// `reject ...`
    Reject(RejectWith),
    /// `dnat to ..` and the like
    Nat(Box<Nat>),
    /// `accept` and the like
    Verdict(Verdict),
}

/// A translation as written.
#[derive(Clone, Debug)]
pub(super) struct Nat {
    /// Which.
    pub(super) kind: NatKind,
    /// `ip` or `ip6`
    pub(super) network: Option<Spanned>,
    /// `prefix`
    pub(super) prefix: Option<Span>,
    /// To which addresses.
    pub(super) address: Option<Expr>,
    /// To which ports.
    pub(super) port: Option<Expr>,
    /// `random` and the like
    pub(super) flags: Vec<Spanned>,
}

/// A rule as written.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Its statements, left to right.
    pub(super) statements: Vec<Statement>,
    /// `comment "..."` at its end.
    pub(super) comment: Option<Spanned>,
    /// Where.
    pub(super) span: Span,
}

/// `type filter hook input priority 0`.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    /// `filter`
    pub(super) kind: Spanned,
    /// `input`
    pub(super) name: Spanned,
    /// `device eth0`, `devices = { eth0, eth1 }`
    pub(super) devices: Vec<Spanned>,
    /// The priority's name, if it has one.
    pub(super) priority: Option<Spanned>,
    /// Its number, or what is added to the name.
    pub(super) offset: i128,
    /// Where the priority is.
    pub(super) priority_span: Span,
}

/// What stands in a chain's braces.
#[derive(Clone, Debug, Default)]
pub(super) struct ChainBody {
    /// Makes it a base chain.
    pub(super) hook: Option<Hook>,
    /// `policy drop`
    pub(super) policy: Option<Spanned>,
    /// `comment "..."`
    pub(super) comment: Option<Spanned>,
    /// Its rules.
    pub(super) rules: Vec<Rule>,
}

/// A chain as written.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Its name.
    pub(super) name: Spanned,
    /// What stands in its braces.
    pub(super) body: ChainBody,
}

/// A flowtable as written.
#[derive(Clone, Debug)]
pub(super) struct Flowtable {
    /// Its name.
    pub(super) name: Spanned,
    /// Where it hangs: its kind is empty, and its devices are those of the flowtable.
    pub(super) hook: Option<Hook>,
    /// `devices = { .. }`
    pub(super) devices: Vec<Spanned>,
    /// `counter`
    pub(super) counter: bool,
}

/// What stands in a table's braces.
#[derive(Clone, Debug, Default)]
pub(super) struct TableBody {
    /// `comment "..."`
    pub(super) comment: Option<Spanned>,
    /// `flags dormant`
    pub(super) flags: Vec<Spanned>,
    /// Its chains.
    pub(super) chains: Vec<Chain>,
    /// Its sets and maps.
    pub(super) sets: Vec<Set>,
    /// Its counters, quotas and the like.
    pub(super) objects: Vec<Object>,
    /// Its flowtables.
    pub(super) flowtables: Vec<Flowtable>,
}

/// Which table is meant.
#[derive(Clone, Debug)]
pub(super) struct TableName {
    /// Its family.
    pub(super) family: Family,
    /// Its name.
    pub(super) name: Spanned,
}
