//! What logs, refuses and is shared by name, as written.

use super::Spanned;
use crate::language::{
    source::Span,
    stateful::{Content, Unreachable},
};

/// A log statement as written.
#[derive(Clone, Debug, Default)]
pub(in crate::language) struct Log {
    /// `prefix "..."`
    pub(in crate::language) prefix: Option<Spanned>,
    /// `level ...`
    pub(in crate::language) level: Option<Spanned>,
    /// `flags ...`
    pub(in crate::language) flags: u8,
    /// Where the last flags are.
    pub(in crate::language) flags_span: Option<Span>,
    /// `group N`
    pub(in crate::language) group: Option<u16>,
    /// `snaplen N`
    pub(in crate::language) snaplen: Option<u32>,
    /// `queue-threshold N`
    pub(in crate::language) threshold: Option<u16>,
    /// Where the last one of these three is.
    pub(in crate::language) group_span: Option<Span>,
}

/// What stands behind `reject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::language) enum RejectWith {
    /// Nothing.
    Default,
    /// `with tcp reset`
    Reset,
    /// `with icmp CODE`
    Icmp(u8),
    /// `with icmpv6 CODE`
    Icmp6(u8),
    /// `with icmpx CODE`
    Either(Unreachable),
}

/// An object of a table as written.
#[derive(Clone, Debug)]
pub(in crate::language) struct Object {
    /// Its name.
    pub(in crate::language) name: Spanned,
    /// `comment "..."`
    pub(in crate::language) comment: Option<Spanned>,
    /// What it is.
    pub(in crate::language) content: Content,
}
