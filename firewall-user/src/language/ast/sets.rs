//! Sets, maps and their elements, as written.

use super::{Expr, Left, Spanned, Verdict};
use crate::language::{
    ruleset::{OfElement, Selector, UpdateOperation},
    source::Span,
};

/// An element of a set or map.
#[derive(Clone, Debug)]
pub(in crate::language) struct Element {
    /// The key.
    pub(in crate::language) key: Expr,
    /// What a map gives for it.
    pub(in crate::language) given: Option<Given>,
    /// What stands between the two.
    pub(in crate::language) options: ElementOptions,
}

/// What a map gives, as written.
#[derive(Clone, Debug)]
pub(in crate::language) enum Given {
    /// A verdict.
    Verdict(Verdict),
    /// Data.
    Value(Expr),
}

impl Given {
    /// Where.
    pub(in crate::language) const fn span(&self) -> Span {
        match self {
            Self::Verdict(verdict) => verdict.span,
            Self::Value(value) => value.span,
        }
    }
}

/// A time in milliseconds and where it is written.
pub(in crate::language) type Time = (u64, Span);

/// What an element has behind its key.
#[derive(Clone, Debug, Default)]
pub(in crate::language) struct ElementOptions {
    /// `counter`, `limit rate 5/second`: what the element keeps for itself.
    pub(in crate::language) statements: Vec<(OfElement, Span)>,
    /// `timeout 5m`
    pub(in crate::language) timeout: Option<Time>,
    /// `expires 3m`
    pub(in crate::language) expires: Option<Time>,
    /// `comment "..."`
    pub(in crate::language) comment: Option<Spanned>,
}

impl ElementOptions {
    /// Where the first of them is that an anonymous set cannot have.
    pub(in crate::language) fn of_named(&self) -> Option<Span> {
        let statement = self.statements.first().map(|(_, span)| *span);
        statement.or(self.timeout.map(|(_, span)| span)).or(self.expires.map(|(_, span)| span))
    }
}

/// `update @set { ip saddr timeout 5m counter : 7 }` as written.
#[derive(Clone, Debug)]
pub(in crate::language) struct Update {
    /// `meter m size 100`: the set is made by the rule itself, of this size.
    pub(in crate::language) meter: Option<u32>,
    /// `update`
    pub(in crate::language) operation: UpdateOperation,
    /// `@set`
    pub(in crate::language) set: Spanned,
    /// `ip saddr . 22`: its parts.
    pub(in crate::language) key: Vec<KeyPart>,
    /// What stands behind it.
    pub(in crate::language) options: ElementOptions,
    /// What stands behind `:`.
    pub(in crate::language) data: Option<Vec<KeyPart>>,
}

/// A part of what a rule puts into a set.
#[derive(Clone, Debug)]
pub(in crate::language) enum KeyPart {
    /// What the packet has.
    Of(Left),
    /// A constant.
    Value(Expr),
}

impl KeyPart {
    /// Where.
    pub(in crate::language) const fn span(&self) -> Span {
        match self {
            Self::Of(left) => left.span,
            Self::Value(value) => value.span,
        }
    }
}

/// What a set is keyed by.
#[derive(Clone, Debug)]
pub(in crate::language) enum SetKey {
    /// `type ipv4_addr . inet_service`
    Type(Vec<Spanned>),
    /// `typeof ip saddr . tcp dport`
    TypeOf(Vec<Selector>),
}

/// What a map is to.
#[derive(Clone, Debug)]
pub(in crate::language) enum MapData {
    /// `: verdict`
    Verdicts,
    /// `: mark`, with `interval` in front?
    Values(SetKey, bool),
}

/// What stands in the braces of a set or map.
#[derive(Clone, Debug, Default)]
pub(in crate::language) struct SetBody {
    /// `type` or `typeof`.
    pub(in crate::language) key: Option<SetKey>,
    /// What stands behind `:` in a map.
    pub(in crate::language) data: Option<MapData>,
    /// `timeout 5m`
    pub(in crate::language) timeout: Option<Time>,
    /// `gc-interval 10s`
    pub(in crate::language) gc_interval: Option<Time>,
    /// `counter`, `limit rate 5/second`: what each element keeps for itself.
    pub(in crate::language) statements: Vec<(OfElement, Span)>,
    /// `flags ...`
    pub(in crate::language) flags: Vec<Spanned>,
    /// `auto-merge`
    pub(in crate::language) auto_merge: bool,
    /// `size N`
    pub(in crate::language) size: Option<(u128, Span)>,
    /// `policy memory`
    pub(in crate::language) policy: Option<Spanned>,
    /// `comment "..."`
    pub(in crate::language) comment: Option<Spanned>,
    /// `elements = ...`
    pub(in crate::language) elements: Option<Expr>,
}

/// A set as written.
#[derive(Clone, Debug)]
pub(in crate::language) struct Set {
    /// Its name.
    pub(in crate::language) name: Spanned,
    /// What stands in its braces.
    pub(in crate::language) body: SetBody,
}
