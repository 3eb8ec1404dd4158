//! Matches: what may be compared with what, and the one form in which each meaning is kept.

use super::{
    Checked, Checker, arrange,
    compare::finish,
    context::{Context, Required},
    reading,
};
use crate::language::{
    ast::{Binary, Element, Expr, ExprKind, Left, Relation},
    diagnostic::Diagnostic,
    ruleset::{Comparison, Form, Match, Operand, Subject, Values},
    source::Span,
    types::Type,
};

impl Checker<'_> {
    /// The left side: what is done with its value, and what must be tested first. With the bits that are turned over
    /// before the comparison: the right side is turned over instead.
    pub(super) fn subject(&mut self, left: &Left, context: &mut Context) -> Checked<(Subject, u128)> {
        reading::may_be_looked_at(left)?;
        let selector = match &left.hash {
            Some(hash) => self.hash(hash, left.span, context)?,
            None => context.known(left.selector, left.span)?,
        };
        let Required { network, tagged } = context.require(selector, left.span)?;
        let selector = reading::fib_of(reading::port_of(selector, context), context);
        let ty = selector.value_type();
        let (mut mask, mut turned) = (ty.max(), 0);
        for (operator, operand) in &left.operations {
            may_be_changed(*operator, ty, operand.span)?;
            let bits = self.single(operand, ty)?;
            (mask, turned) = match operator {
                Binary::And => (mask & bits, turned & bits),
                Binary::Or => (mask & !bits, turned | bits),
                Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight => (mask, turned ^ bits),
            };
        }
        let or = turned & !mask;
        let mask = (!left.operations.is_empty() && mask | or != ty.max()).then_some(mask | or);
        Ok((Subject { selector, mask, or, tagged, network }, turned & !or))
    }

    pub(super) fn a_match(
        &mut self,
        table: usize,
        (left, relation, right): (&Left, Relation, &Expr),
        context: &mut Context,
    ) -> Checked<Match> {
        if let Some((left, right)) = reading::kept(left, right)? {
            return self.a_match(table, (&left, relation, &right), context);
        }
        let (subject, turned) = self.subject(left, context)?;
        let resolved = right.resolved();
        let held = match &resolved.kind {
            ExprKind::Named(name) => {
                only_values(subject, turned, false, resolved.span)?;
                let set = self.tables[table].set(name, resolved.span)?;
                self.set_type_fits(table, set, subject, right.span)?;
                let found = &self.tables[table].sets[set].set;
                if found.data.is_some() {
                    let error = Diagnostic::error(resolved.span, format!("`{name}` is a map, not a set"));
                    let word = if found.gives_verdicts() { "vmap" } else { "map" };
                    return Err(error.help(format!("write `{word} @{name}`")));
                }
                let comparison = membership(relation, left.span)?;
                Match { subject, comparison, operand: Operand::Named(set) }
            }
            ExprKind::Set(elements) => match &elements[..] {
                // A variable that holds `syn, ack`, alone in a set, is what it would be without the set.
                [only] if matches!(only.key.resolved().kind, ExprKind::List(_)) && only.given.is_none() => {
                    self.value_match((subject, turned), relation, &only.key)?
                }
                _ => self.set_match((subject, turned), relation, right, left.span)?,
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
            | ExprKind::Mac(_)
            | ExprKind::Time(_)
            | ExprKind::Range(..)
            | ExprKind::Prefix(..)
            | ExprKind::List(_)
            | ExprKind::Concat(_)
            | ExprKind::Binary(..)
            | ExprKind::Any
            | ExprKind::Selector(_)
            | ExprKind::Map(..)
            | ExprKind::Variable(_) => self.value_match((subject, turned), relation, right)?,
        };
        reading::match_told(&held, right.span)?;
        context.learn(&held);
        Ok(held)
    }

    pub(super) fn set_type_fits(&self, table: usize, set: usize, subject: Subject, span: Span) -> Checked<()> {
        if self.tables[table].sets[set].set.concat.is_some() {
            return Err(Diagnostic::error(span, "this set holds concatenations: write ` . ` on the left side too"));
        }
        let (expected, found) = (subject.selector.value_type(), self.tables[table].sets[set].set.element_type);
        let wide_mask = subject.mask.is_some() && expected.bits() > 32;
        if wide_mask {
            return Err(Diagnostic::error(span, "a masked address of this length can only be compared with one value"));
        }
        if expected == found || (expected, found) == (Type::Integer(32), Type::Mark) {
            return Ok(());
        }
        let message = match (expected, found) {
            (Type::Integer(expected), Type::Integer(found)) => {
                format!("expected a set of numbers of {expected} bits, this one holds such of {found}")
            }
            _ => format!("expected a set of type {}, this one holds {}", expected.name(), found.name()),
        };
        Err(Diagnostic::error(span, message))
    }

    fn set_match(
        &mut self,
        (subject, turned): (Subject, u128),
        relation: Relation,
        right: &Expr,
        span: Span,
    ) -> Checked<Match> {
        let ty = subject.selector.value_type();
        let (mut values, written) = self.anonymous(right, ty)?;
        only_values(subject, turned, values.iter().all(|one| one.form == Form::Single), right.span)?;
        if turned != 0 {
            values = arrange::joined(values.iter().map(|one| Values::single(one.low ^ turned)).collect(), ty);
        }
        if ty == Type::Boolean && values.len() > 1 {
            return Err(Diagnostic::error(right.span, "everything exists or is missing: leave the match out"));
        }
        if let [only] = values[..] {
            // A set of one element is that element, as nftables has it: so flags in it mean "any of". A set where
            // several came to be one stays a set to nftables: its element is compared as a whole.
            let relation = if written > 1 && relation == Relation::Implicit { Relation::Equal } else { relation };
            return finish(subject, relation, only, span);
        }
        if subject.mask.is_some() && ty.bits() > 32 {
            return Err(Diagnostic::error(
                right.span,
                "a masked address of this length can only be compared with one value",
            ));
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
        Ok((arrange::joined(values, ty), written))
    }

    /// Adds a set's elements, those of the sets in it included.
    fn collect(&mut self, set: &Expr, ty: Type, values: &mut Vec<Values>) -> Checked<()> {
        let ExprKind::Set(elements) = &set.resolved().kind else {
            self.budget.spend(1, set.span)?;
            values.push(self.values(set, ty)?);
            return Ok(());
        };
        for element in elements {
            if let Some(given) = &element.given {
                let error = Diagnostic::error(given.span(), "verdicts in a set: only a map has them");
                return Err(error.help("write `vmap` in front of the `{`"));
            }
            no_options(element)?;
            self.collect(&element.key, ty, values)?;
        }
        Ok(())
    }

    fn value_match(&mut self, (subject, turned): (Subject, u128), relation: Relation, right: &Expr) -> Checked<Match> {
        let ty = subject.selector.value_type();
        let turned_around = if ty == Type::Hour { self.over_midnight(right, relation)? } else { None };
        let (right, relation) =
            turned_around.as_ref().map_or((right, relation), |(right, relation)| (right, *relation));
        let mut values = self.values(right, ty)?;
        reading::no_prefix(subject.selector, values, right.span)?;
        let equal = matches!(relation, Relation::Implicit | Relation::Equal | Relation::NotEqual);
        only_values(subject, turned, equal && values.form == Form::Single, right.span)?;
        if turned != 0 {
            values = Values::single(values.low ^ turned);
        }
        finish(subject, relation, values, right.span)
    }

    /// `"22:00"-"06:00"` is what is not from six to twenty-two: nftables turns it around so.
    fn over_midnight(&mut self, right: &Expr, relation: Relation) -> Checked<Option<(Expr, Relation)>> {
        let ExprKind::Range(low, high) = &right.resolved().kind else { return Ok(None) };
        if self.single(low, Type::Hour)? <= self.single(high, Type::Hour)? {
            return Ok(None);
        }
        let relation = match relation {
            Relation::Implicit | Relation::Equal => Relation::NotEqual,
            Relation::NotEqual => Relation::Equal,
            other => other,
        };
        Ok(Some((Expr { kind: ExprKind::Range(high.clone(), low.clone()), span: right.span }, relation)))
    }

    /// `tcp flags syn / fin,syn,rst,ack`
    pub(super) fn flag_match(
        &mut self,
        (left, relation, value, mask): (&Left, Relation, &Expr, &Expr),
        context: &mut Context,
    ) -> Checked<Match> {
        let ty = left.selector.value_type();
        if !ty.is_flags() || !left.operations.is_empty() {
            let error = Diagnostic::error(
                value.span.to(mask.span),
                format!("expected {}, found a value with a mask", ty.meaning()),
            );
            return Err(error.help("only flags are written `value / mask`"));
        }
        if !matches!(relation, Relation::Implicit | Relation::Equal | Relation::NotEqual) {
            return Err(Diagnostic::error(left.span, "a value with a mask can only be compared by `==` and `!=`"));
        }
        let (subject, _) = self.subject(left, context)?;
        let subject = Subject { mask: Some(self.single(mask, ty)?), ..subject };
        let value = Values::single(self.single(value, ty)?);
        let relation = if relation == Relation::Implicit { Relation::Equal } else { relation };
        finish(subject, relation, value, left.span)
    }
}

/// Which operators nftables gives a meaning that it keeps: what it shifts, or masks in part of a byte, it reads wrongly.
fn may_be_changed(operator: Binary, ty: Type, span: Span) -> Checked<()> {
    if ty == Type::IfName || ty == Type::IfIndex {
        return Err(Diagnostic::error(span, "interfaces cannot be masked"));
    }
    if matches!(operator, Binary::ShiftLeft | Binary::ShiftRight) {
        let error = Diagnostic::error(span, "what is matched cannot be shifted");
        return Err(error.help("shift the other side: `meta mark & 0xff00 == 0x500`"));
    }
    if ty.is_bit_field() {
        let message = format!("{} here is less than whole bytes: it cannot be masked", ty.meaning());
        return Err(Diagnostic::error(span, message).help("compare with a range or a set: `{ 8, 10-14 }`"));
    }
    if ty.is_flags() && operator != Binary::And {
        let error = Diagnostic::error(span, "only `&` makes sense with flags");
        return Err(error.help("`& (syn | ack)` looks at these bits and no others"));
    }
    Ok(())
}

/// Behind `|` and `^` values have no order any more: only single ones can be compared with.
pub(super) fn only_values(subject: Subject, turned: u128, are_values: bool, span: Span) -> Checked<()> {
    if are_values || (subject.or == 0 && turned == 0) {
        return Ok(());
    }
    let error = Diagnostic::error(span, "behind `|` and `^` only `==` and `!=` with single values are supported");
    Err(error.help("`&` with a mask can also be compared with ranges and named sets"))
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

/// The set of a rule has elements that only are there.
pub(super) fn no_options(element: &Element) -> Checked<()> {
    match element.options.of_named() {
        None => Ok(()),
        Some(span) => {
            let error = Diagnostic::error(span, "an element of a rule's own set has neither counter nor timeout");
            Err(error.help("give the set a name: `set NAME { type ..; flags timeout; }`"))
        }
    }
}
