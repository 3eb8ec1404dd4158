//! Commands at the top of a file.

use super::{Chain, Expr, Flowtable, Object, Rule, Set, Spanned, TableBody, TableName};
use crate::language::{
    ruleset::{Family, ObjectKind},
    source::Span,
};

/// Where a lone rule goes in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::language) enum RulePlace {
    /// At its end.
    Last,
    /// At its start.
    First,
    /// Behind the rule of this number, which is written here.
    Behind(usize, Span),
    /// In front of it.
    Before(usize, Span),
}

/// A part of a table that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::language) enum Part {
    /// A chain.
    Chain,
    /// A set or map.
    Set,
    /// A counter, quota and the like.
    Object(ObjectKind),
    /// A flowtable.
    Flowtable,
}

/// A top-level command.
#[derive(Clone, Debug)]
pub(in crate::language) enum Command {
    /// `table inet filter { .. }`, `add table ..`
    Table(TableName, TableBody),
    /// `create ..`: like `add`, but what it makes must not be there
    Create(Box<Command>),
    /// `destroy ..`: like `delete`, but what it takes away may be missing
    Destroy(Box<Command>),
    /// `add chain ..`
    Chain(TableName, Chain),
    /// `add set ..`
    Set(TableName, Set),
    /// `add counter ..`
    Object(TableName, Object),
    /// `add flowtable ..`
    Flowtable(TableName, Flowtable),
    /// `add element ..`
    Elements(TableName, Spanned, Expr),
    /// `add rule ..` or `insert rule ..`
    Rule {
        /// In this table.
        table: TableName,
        /// In this chain.
        chain: Spanned,
        /// This rule.
        rule: Box<Rule>,
        /// Where in it?
        place: RulePlace,
    },
    /// `flush ruleset`, for one family or all
    FlushRuleset(Option<Family>),
    /// `flush table ..`
    FlushTable(TableName),
    /// `flush chain ..`, `flush set ..`
    Flush(Part, TableName, Spanned),
    /// `delete table ..`
    DeleteTable(TableName),
    /// `delete chain ..`, `delete set ..`, `delete counter ..`
    Delete(Part, TableName, Spanned),
    /// `delete element ..`
    DeleteElements(TableName, Spanned, Expr),
}

impl Command {
    /// The table it is about, if it is about one.
    pub(in crate::language) fn table(&self) -> Option<&TableName> {
        match self {
            Self::Create(command) | Self::Destroy(command) => command.table(),
            Self::FlushRuleset(_) => None,
            Self::Table(table, _)
            | Self::Chain(table, _)
            | Self::Set(table, _)
            | Self::Object(table, _)
            | Self::Flowtable(table, _)
            | Self::Elements(table, ..)
            | Self::Rule { table, .. }
            | Self::FlushTable(table)
            | Self::Flush(_, table, _)
            | Self::DeleteTable(table)
            | Self::Delete(_, table, _)
            | Self::DeleteElements(table, ..) => Some(table),
        }
    }
}
