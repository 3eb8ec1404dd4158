//! Comparisons with one value, prefix or range, each meaning in one form only.

use super::Checked;
use crate::language::{
    ast::Relation,
    diagnostic::Diagnostic,
    ruleset::{Comparison, Form, Match, Operand, Subject, Values},
    source::Span,
    types::Type,
};

/// The comparison with one value, prefix or range.
pub(super) fn finish(subject: Subject, relation: Relation, values: Values, span: Span) -> Checked<Match> {
    let ty = subject.selector.value_type();
    let comparison = comparison(relation, ty, subject.mask.is_some(), values, span)?;
    if subject.mask.is_some() && ty.bits() > 32 && values.form != Form::Single {
        return Err(Diagnostic::error(span, "a masked address of this length can only be compared with one value"));
    }
    let plain = Match { subject, comparison, operand: Operand::One(values) };
    Ok(simplify(plain))
}

fn comparison(relation: Relation, ty: Type, masked: bool, values: Values, span: Span) -> Checked<Comparison> {
    let ordered = match relation {
        Relation::Implicit if ty.is_flags() && !masked => return Ok(Comparison::AnyBit),
        Relation::Implicit if ty.is_flags() => {
            return Err(Diagnostic::error(span, "expected `==` or `!=` between a mask of flags and the value"));
        }
        Relation::Implicit | Relation::Equal => return Ok(Comparison::Equal),
        Relation::NotEqual => return Ok(Comparison::NotEqual),
        Relation::NoneOf if ty.is_flags() && !masked => return Ok(Comparison::NoBit),
        Relation::NoneOf => {
            let error = Diagnostic::error(span, "`!` alone is for flags");
            return Err(error.help("write `!=`"));
        }
        Relation::Less => Comparison::Less,
        Relation::LessEqual => Comparison::LessEqual,
        Relation::Greater => Comparison::Greater,
        Relation::GreaterEqual => Comparison::GreaterEqual,
    };
    if ty == Type::Boolean {
        return Err(Diagnostic::error(span, "`exists` and `missing` can only be compared by `==` and `!=`"));
    }
    if ty == Type::IfName {
        return Err(Diagnostic::error(span, "names can only be compared by `==` and `!=`"));
    }
    if ty.bits() > 32 && masked {
        return Err(Diagnostic::error(span, "a masked address of this length can only be compared by `==` and `!=`"));
    }
    if values.form != Form::Single {
        return Err(Diagnostic::error(span, "only one value can be larger or smaller, not several"));
    }
    Ok(ordered)
}

/// `flags & x == 0` is `flags ! x`, `flags & x != 0` is `flags x`; an address under a mask of leading ones is a
/// prefix: nftables prints them so.
fn simplify(plain: Match) -> Match {
    let Match { subject, comparison, operand } = unaligned(plain);
    let (Some(mask), Operand::One(values)) = (subject.mask, &operand) else {
        return Match { subject, comparison, operand };
    };
    let ty = subject.selector.value_type();
    let unmasked = Subject { mask: None, ..subject };
    if ty.is_flags() && values.form == Form::Single && values.low == 0 && mask != 0 {
        let operand = Operand::One(Values::single(mask));
        match comparison {
            Comparison::Equal => return Match { subject: unmasked, comparison: Comparison::NoBit, operand },
            Comparison::NotEqual => return Match { subject: unmasked, comparison: Comparison::AnyBit, operand },
            Comparison::Less
            | Comparison::LessEqual
            | Comparison::Greater
            | Comparison::GreaterEqual
            | Comparison::AnyBit
            | Comparison::NoBit => {}
        }
    }
    match address_prefix(ty, mask, *values).filter(|_| subject.or == 0) {
        Some(prefix) if matches!(comparison, Comparison::Equal | Comparison::NotEqual) => {
            Match { subject: unmasked, comparison, operand: Operand::One(prefix) }
        }
        Some(_) | None => Match { subject, comparison, operand },
    }
}

/// A prefix that does not end at a byte is a mask: so nftables prints it where it does not take the bytes before it.
fn unaligned(plain: Match) -> Match {
    let Match { subject, comparison, operand } = plain;
    let ty = subject.selector.value_type();
    let masks = matches!(ty, Type::Integer(_) | Type::Raw(_) | Type::InetService | Type::EtherAddr);
    let aligned = |length: u8| length.is_multiple_of(8) && subject.selector.words().0 != "meta";
    match operand {
        Operand::One(Values { low, high, form: Form::Prefix(length) })
            if masks && subject.mask.is_none() && subject.or == 0 && !aligned(length) =>
        {
            let mask = Some(ty.max() & !(low ^ high));
            Match { subject: Subject { mask, ..subject }, comparison, operand: Operand::One(Values::single(low)) }
        }
        operand => Match { subject, comparison, operand },
    }
}

fn address_prefix(ty: Type, mask: u128, values: Values) -> Option<Values> {
    let address = matches!(ty, Type::Ipv4Addr | Type::Ipv6Addr);
    let host = !mask & ty.max();
    let leading = host & host.wrapping_add(1) == 0;
    if !address || !leading || values.form != Form::Single || values.low & host != 0 {
        return None;
    }
    let length = ty.bits() - host.count_ones() as u8;
    let form = if host == 0 { Form::Single } else { Form::Prefix(length) };
    Some(Values { low: values.low, high: values.low | host, form })
}
