//! What is read from bytes: the form in which each reading is kept.

use super::{Checked, context::Context};
use crate::language::{
    ast::{Binary, Element, Expr, ExprKind, Left},
    diagnostic::Diagnostic,
    names,
    reading::{Fib, FibResult, Place, Reading},
    ruleset::{Comparison, Form, Match, Network, Operand, Selector, Subject, Transport, Values},
    source::Span,
    types::Type,
};

/// The two sides of a match as they are kept, where they are written otherwise.
pub(super) fn kept(left: &Left, right: &Expr) -> Checked<Option<(Left, Expr)>> {
    match left.selector {
        Selector::Reading(Reading::Fib(fib)) => Ok(asks_whether(fib, left, right)),
        Selector::Reading(Reading::Raw(base, offset, bits)) if !is_whole(offset, bits) => {
            let (whole, shift) = around(offset, bits);
            let selector = Selector::Reading(Reading::Raw(base, offset / 8 * 8, whole));
            whole_bytes(left, (selector, shift, bits), right).map(Some)
        }
        _ => Ok(None),
    }
}

/// What is not looked at in this way, because nft 1.0.6 does not find back what it was.
pub(super) fn may_be_looked_at(left: &Left) -> Checked<()> {
    let Selector::Reading(reading) = left.selector else { return Ok(()) };
    match reading {
        Reading::Raw(_, offset, bits) if !is_whole(offset, bits) => {
            let error = Diagnostic::error(left.span, "only whole bytes can be looked at here");
            Err(error.help("`@th,0,8 & 0xf0 == 0x50` looks at bits of a byte"))
        }
        _ if matches!(reading.place(), Some(Place::Extension(_))) && !left.operations.is_empty() => {
            let error = Diagnostic::error(left.span, "fields of extension headers cannot be masked");
            Err(error
                .help("nft 1.0.6 lists such a rule as one of an unknown field; a range or a set says it without bits"))
        }
        _ => Ok(()),
    }
}

/// A prefix alone is a shorter value to nft, of a field that it then has no name for.
pub(super) fn no_prefix(selector: Selector, values: Values, span: Span) -> Checked<()> {
    let Selector::Reading(reading) = selector else { return Ok(()) };
    let is_header = matches!(reading.place(), Some(Place::Arp | Place::Ip | Place::Upper(_) | Place::Message(..)));
    if !matches!(values.form, Form::Prefix(_)) || is_header || matches!(reading, Reading::AnyPort(_)) {
        return Ok(());
    }
    Err(Diagnostic::error(span, format!("`{reading}` is not compared with a prefix")).help("write a range, or a set"))
}

/// What an IPv6 address is of these, the copy of the local table says; whether a route leads to another one, it does not.
const TOLD: [u128; 4] = [2, 3, 4, 5];

/// Does a subject ask what an address is, which may be one of IPv6?
fn asks_type6(subject: &Subject) -> bool {
    matches!(subject.selector, Selector::Reading(Reading::Fib(Fib { result: FibResult::Type, v6: true, .. })))
}

/// Of IPv6 addresses only some types can be asked for.
pub(super) fn types_told<'a>(
    subject: &Subject,
    (values, comparison): (impl IntoIterator<Item = &'a Values>, Comparison),
    span: Span,
) -> Checked<()> {
    if subject.selector.value_type() != Type::FibType {
        return Ok(());
    }
    let is_equal = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let mut are_told = subject.mask.is_none();
    for values in values {
        if !is_equal || values.low != values.high {
            let error = Diagnostic::error(span, "types of addresses have no order");
            return Err(error.help("write a set: `{ local, broadcast }`"));
        }
        are_told &= TOLD.contains(&values.low);
    }
    if are_told || !asks_type6(subject) { Ok(()) } else { Err(not_told(span)) }
}

/// The same of a match.
pub(super) fn match_told(held: &Match, span: Span) -> Checked<()> {
    let Match { subject, comparison, operand } = held;
    match operand {
        Operand::One(values) => types_told(subject, ([values], *comparison), span),
        Operand::Set(values) => types_told(subject, (values, *comparison), span),
        Operand::Named(_) => any_type_told(subject, span),
    }
}

/// Where any type can be asked for, the packet must be one of IPv4.
pub(super) fn any_type_told(subject: &Subject, span: Span) -> Checked<()> {
    if asks_type6(subject) { Err(not_told(span)) } else { Ok(()) }
}

fn not_told(span: Span) -> Diagnostic {
    let message =
        "of an IPv6 address it can be asked here whether it is one of local, broadcast, anycast, multicast, no more";
    Diagnostic::error(span, message).help(
        "programs are told nothing of routes to other addresses: write `!= { local, broadcast, anycast, multicast }`, or \
         `meta nfproto ipv4` in front of it",
    )
}

/// `fib .. oif exists` asks something else than `fib .. oif "eth0"`.
fn asks_whether(fib: Fib, left: &Left, right: &Expr) -> Option<(Left, Expr)> {
    let ExprKind::Word(word) = &right.resolved().kind else { return None };
    if fib.result != FibResult::Oif || !names::PRESENCES.iter().any(|(name, _)| *name == &**word) {
        return None;
    }
    let selector = Selector::Reading(Reading::Fib(Fib { result: FibResult::Exists, ..fib }));
    Some((Left { selector, ..left.clone() }, right.clone()))
}

fn is_whole(offset: u16, bits: u8) -> bool {
    offset.is_multiple_of(8) && bits.is_multiple_of(8)
}

/// The bits of the bytes around some bits, and how many bits of them stand behind.
fn around(offset: u16, bits: u8) -> (u8, u8) {
    let before = (offset % 8) as u8;
    let whole = (before + bits).next_multiple_of(8);
    (whole, whole - before - bits)
}

/// Bits as a mask of whole bytes, the other side moved to where they are: so nftables keeps and prints them.
fn whole_bytes(left: &Left, (selector, shift, bits): (Selector, u8, u8), right: &Expr) -> Checked<(Left, Expr)> {
    if !left.operations.is_empty() {
        return Err(Diagnostic::error(left.span, "bits of raw payload cannot be masked once more"));
    }
    let max = Type::Raw(bits).max();
    let mask = Expr { kind: ExprKind::Number(max << shift), span: left.span };
    let left = Left { selector, operations: vec![(Binary::And, mask)], ..left.clone() };
    Ok((left, moved(right, shift, max)?))
}

fn moved(value: &Expr, shift: u8, max: u128) -> Checked<Expr> {
    let again = |value: &Expr| moved(value, shift, max);
    let kind = match &value.resolved().kind {
        ExprKind::Number(number) if *number <= max => ExprKind::Number(number << shift),
        ExprKind::Range(low, high) => ExprKind::Range(Box::new(again(low)?), Box::new(again(high)?)),
        ExprKind::Set(elements) => {
            let keys = elements.iter().map(|element| Ok(Element { key: again(&element.key)?, ..element.clone() }));
            ExprKind::Set(keys.collect::<Checked<_>>()?)
        }
        ExprKind::Number(number) => {
            let message = format!("{number} is out of range: these bits go from 0 to {max}");
            return Err(Diagnostic::error(value.span, message));
        }
        _ => return Err(Diagnostic::error(value.span, "bits of raw payload are compared with numbers")),
    };
    Ok(Expr { kind, span: value.span })
}

/// What the routing table is asked depends on the family that the rule has come down to.
pub(super) fn fib_of(selector: Selector, context: &Context) -> Selector {
    let Selector::Reading(Reading::Fib(fib)) = selector else { return selector };
    let known = context.known_network();
    // An address may be one of IPv6 unless the rule has said otherwise.
    let v6 = if fib.result == FibResult::Type { known != Some(Network::Ip) } else { known == Some(Network::Ip6) };
    Selector::Reading(Reading::Fib(Fib { v6, ..fib }))
}

/// `th dport` is a port where the rule knows that the protocol has ports; else the two bytes that stand there.
pub(super) fn port_of(selector: Selector, context: &Context) -> Selector {
    match (selector, context.knows_ports()) {
        (Selector::SourcePort(Transport::Any), false) => Selector::Reading(Reading::AnyPort(false)),
        (Selector::DestinationPort(Transport::Any), false) => Selector::Reading(Reading::AnyPort(true)),
        (selector, _) => selector,
    }
}
