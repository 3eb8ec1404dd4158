//! Matches: what may be compared with what, and the one form in which each meaning is kept.

use super::{Checked, Checker, context::Context, sets};
use crate::language::{
    ast::{Expr, ExprKind, Left, Relation},
    diagnostic::Diagnostic,
    ruleset::{Comparison, Form, Match, Operand, Subject, Values},
    source::Span,
    types::Type,
};

impl Checker<'_> {
    /// The left side: its mask, and what must be tested first.
    pub(super) fn subject(&mut self, left: &Left, context: &mut Context) -> Checked<Subject> {
        let network = context.require(left.selector, left.span)?;
        let ty = left.selector.value_type();
        let mask = match &left.mask {
            Some(_) if ty == Type::IfName || ty == Type::IfIndex => {
                return Err(Diagnostic::error(left.span, "interfaces cannot be masked"));
            }
            Some(mask) => Some(self.single(mask, ty)?),
            None => None,
        };
        Ok(Subject { selector: left.selector, mask, network })
    }

    pub(super) fn a_match(
        &mut self,
        table: usize,
        (left, relation, right): (&Left, Relation, &Expr),
        context: &mut Context,
    ) -> Checked<Match> {
        let subject = self.subject(left, context)?;
        let resolved = right.resolved();
        let held = match &resolved.kind {
            ExprKind::Named(name) => {
                let set = self.tables[table].set(name, resolved.span)?;
                self.set_type_fits(table, set, subject, right.span)?;
                let comparison = membership(relation, left.span)?;
                Match { subject, comparison, operand: Operand::Named(set) }
            }
            ExprKind::Set(elements) => match &elements[..] {
                // A variable that holds `syn, ack`, alone in a set, is what it would be without the set.
                [only] if matches!(only.key.resolved().kind, ExprKind::List(_)) && only.verdict.is_none() => {
                    self.value_match(subject, relation, &only.key)?
                }
                _ => self.set_match(subject, relation, right, left.span)?,
            },
            ExprKind::Prefix(value, length) if subject.selector.value_type().is_flags() => {
                let mask = Expr { kind: ExprKind::Number(*length), span: resolved.span };
                return self.flag_match((left, relation, value, &mask), context);
            }
            ExprKind::Word(_)
            | ExprKind::Text(_)
            | ExprKind::Number(_)
            | ExprKind::Ipv4(_)
            | ExprKind::Ipv6(_)
            | ExprKind::Mac
            | ExprKind::Range(..)
            | ExprKind::Prefix(..)
            | ExprKind::List(_)
            | ExprKind::Binary(..)
            | ExprKind::Any
            | ExprKind::Variable(_) => self.value_match(subject, relation, right)?,
        };
        context.learn(&held);
        Ok(held)
    }

    fn set_type_fits(&self, table: usize, set: usize, subject: Subject, span: Span) -> Checked<()> {
        let (expected, found) = (subject.selector.value_type(), self.tables[table].sets[set].set.element_type);
        let wide_mask = subject.mask.is_some() && expected.bits() > 32;
        if wide_mask {
            return Err(Diagnostic::error(span, "a masked IPv6 address can only be compared with one value"));
        }
        if expected == found || (expected, found) == (Type::Integer, Type::Mark) {
            return Ok(());
        }
        let message = format!("expected a set of type {}, this one holds {}", expected.name(), found.name());
        Err(Diagnostic::error(span, message))
    }

    fn set_match(&mut self, subject: Subject, relation: Relation, right: &Expr, span: Span) -> Checked<Match> {
        let ty = subject.selector.value_type();
        let (values, written) = self.anonymous(right, ty)?;
        if let [only] = values[..] {
            // A set of one element is that element, as nftables has it: so flags in it mean "any of". A set where
            // several came to be one stays a set to nftables: its element is compared as a whole.
            let relation = if written > 1 && relation == Relation::Implicit { Relation::Equal } else { relation };
            return finish(subject, relation, only, span);
        }
        if subject.mask.is_some() && ty.bits() > 32 {
            return Err(Diagnostic::error(right.span, "a masked IPv6 address can only be compared with one value"));
        }
        let comparison = membership(relation, span)?;
        Ok(Match { subject, comparison, operand: Operand::Set(values) })
    }

    /// The elements of an anonymous set: sorted, disjoint, neighbours joined; and how many were written.
    fn anonymous(&mut self, set: &Expr, ty: Type) -> Checked<(Vec<Values>, usize)> {
        let mut values = Vec::new();
        self.collect(set, ty, &mut values)?;
        if values.is_empty() {
            return Err(Diagnostic::error(set.span, "an empty set matches nothing"));
        }
        let written = values.len();
        Ok((sets::joined(values, ty), written))
    }

    /// Adds a set's elements, those of the sets in it included.
    fn collect(&mut self, set: &Expr, ty: Type, values: &mut Vec<Values>) -> Checked<()> {
        let ExprKind::Set(elements) = &set.resolved().kind else {
            self.budget.spend(1, set.span)?;
            values.push(self.values(set, ty)?);
            return Ok(());
        };
        for element in elements {
            if let Some(verdict) = &element.verdict {
                let error = Diagnostic::error(verdict.span, "verdicts in a set: only a map has them");
                return Err(error.help("write `vmap` in front of the `{`"));
            }
            self.collect(&element.key, ty, values)?;
        }
        Ok(())
    }

    fn value_match(&mut self, subject: Subject, relation: Relation, right: &Expr) -> Checked<Match> {
        let ty = subject.selector.value_type();
        let values = self.values(right, ty)?;
        finish(subject, relation, values, right.span)
    }

    /// `tcp flags syn / fin,syn,rst,ack`
    pub(super) fn flag_match(
        &mut self,
        (left, relation, value, mask): (&Left, Relation, &Expr, &Expr),
        context: &mut Context,
    ) -> Checked<Match> {
        let ty = left.selector.value_type();
        if !ty.is_flags() || left.mask.is_some() {
            let error = Diagnostic::error(
                value.span.to(mask.span),
                format!("expected {}, found a value with a mask", ty.meaning()),
            );
            return Err(error.help("only flags are written `value / mask`"));
        }
        let subject = self.subject(left, context)?;
        let subject = Subject { mask: Some(self.single(mask, ty)?), ..subject };
        let value = Values::single(self.single(value, ty)?);
        let relation = if relation == Relation::Implicit { Relation::Equal } else { relation };
        finish(subject, relation, value, left.span)
    }
}

/// The comparison with a set: in it or not.
fn membership(relation: Relation, span: Span) -> Checked<Comparison> {
    match relation {
        Relation::Implicit | Relation::Equal => Ok(Comparison::Equal),
        Relation::NotEqual => Ok(Comparison::NotEqual),
        Relation::NoneOf | Relation::Less | Relation::LessEqual | Relation::Greater | Relation::GreaterEqual => {
            Err(Diagnostic::error(span, "a set can only be compared by `==` and `!=`"))
        }
    }
}

/// The comparison with one value, prefix or range.
fn finish(subject: Subject, relation: Relation, values: Values, span: Span) -> Checked<Match> {
    let ty = subject.selector.value_type();
    let comparison = comparison(relation, ty, subject.mask.is_some(), values, span)?;
    if subject.mask.is_some() && ty.bits() > 32 && values.form != Form::Single {
        return Err(Diagnostic::error(span, "a masked IPv6 address can only be compared with one value"));
    }
    let plain = Match { subject, comparison, operand: Operand::One(values) };
    Ok(simplify(plain))
}

fn comparison(relation: Relation, ty: Type, masked: bool, values: Values, span: Span) -> Checked<Comparison> {
    let ordered = match relation {
        Relation::Implicit if ty.is_flags() && !masked => return Ok(Comparison::AnyBit),
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
    if ty == Type::IfName {
        return Err(Diagnostic::error(span, "names can only be compared by `==` and `!=`"));
    }
    if ty == Type::Ipv6Addr && masked {
        return Err(Diagnostic::error(span, "a masked IPv6 address can only be compared by `==` and `!=`"));
    }
    if values.form != Form::Single {
        return Err(Diagnostic::error(span, "only one value can be larger or smaller, not several"));
    }
    Ok(ordered)
}

/// `flags & x == 0` is `flags ! x`, `flags & x != 0` is `flags x`; an address under a mask of leading ones is a
/// prefix: nftables prints them so.
fn simplify(plain: Match) -> Match {
    let Match { subject, comparison, operand } = plain;
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
    match address_prefix(ty, mask, *values) {
        Some(prefix) if matches!(comparison, Comparison::Equal | Comparison::NotEqual) => {
            Match { subject: unmasked, comparison, operand: Operand::One(prefix) }
        }
        Some(_) | None => Match { subject, comparison, operand },
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
