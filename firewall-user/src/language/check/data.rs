//! Computed values: what fits where, and the one form in which each is kept.

use super::{
    Checked, Checker,
    context::Context,
    values::{in_range, mismatch},
};
use crate::language::{
    ast::{Binary, Expr, ExprKind, Left},
    diagnostic::Diagnostic,
    ruleset::{Computed, Data, Selector, Statement, Step},
    source::Span,
    types::Type,
};

/// Steps that a value may go through. The kernel bounds a rule's expressions.
const MAX_STEPS: usize = 16;

impl Checker<'_> {
    /// `meta mark set VALUE`
    pub(super) fn assignment(&mut self, target: &Left, value: &Expr, context: &mut Context) -> Checked<Statement> {
        may_be_set(target)?;
        let ty = target.selector.value_type();
        let (target, _) = self.subject(target, context)?;
        let value = self.packet_data(value, ty, context)?;
        Ok(Statement::Assign { target, value })
    }

    /// A value of this type.
    pub(super) fn packet_data(&mut self, expr: &Expr, ty: Type, context: &mut Context) -> Checked<Data> {
        match self.computed(expr, context)? {
            Some(computed) => {
                fits(computed.subject.selector, ty, expr.span)?;
                Ok(Data::Computed(computed))
            }
            None => Ok(Data::Constant(self.single(expr, ty)?)),
        }
    }

    /// What a packet has and what is done to it; `None` for what is the same for every packet.
    fn computed(&mut self, expr: &Expr, context: &mut Context) -> Checked<Option<Computed>> {
        match &expr.kind {
            ExprKind::Variable(variable) => self.computed(&variable.value, context),
            ExprKind::Selector(left) => {
                let (subject, _) = self.subject(left, context)?;
                Ok(Some(Computed { subject, steps: Vec::new() }))
            }
            ExprKind::Binary(operator, left, right) => {
                let left = self.computed(left, context)?;
                if let Some(span) = first_selector(right) {
                    let error = Diagnostic::error(span, "only the first of several values can be what the packet has");
                    return Err(error.help("the kernel masks and shifts by constants"));
                }
                left.map(|left| self.step(left, *operator, right)).transpose()
            }
            _ => match first_selector(expr) {
                Some(span) => Err(Diagnostic::error(span, "this value cannot be computed from the packet")),
                None => Ok(None),
            },
        }
    }

    /// A value after one more operator. Masks in a row are one.
    fn step(&mut self, mut value: Computed, operator: Binary, right: &Expr) -> Checked<Computed> {
        let ty = value.subject.selector.value_type();
        may_be_computed(ty, right.span)?;
        if let Binary::ShiftLeft | Binary::ShiftRight = operator {
            let by = self.single(right, Type::Integer(32))?;
            let by = u8::try_from(by).ok().filter(|by| *by < ty.bits()).ok_or_else(|| too_far(ty, right.span))?;
            value.steps.push(if operator == Binary::ShiftLeft { Step::Left(by) } else { Step::Right(by) });
        } else {
            let bits = in_range(self.single(right, ty)?, ty, right.span)?;
            let (before, xor_before) = match value.steps.last() {
                Some(Step::Bits { mask, xor }) => (*mask, *xor),
                Some(_) | None => (ty.max(), 0),
            };
            let (mask, xor) = match operator {
                Binary::And => (before & bits, xor_before & bits),
                Binary::Or => (before & !bits, xor_before & !bits | bits),
                Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight => (before, xor_before ^ bits),
            };
            if matches!(value.steps.last(), Some(Step::Bits { .. })) {
                value.steps.pop();
            }
            value.steps.push(Step::Bits { mask, xor });
        }
        if value.steps.len() > MAX_STEPS {
            return Err(Diagnostic::error(right.span, format!("more than {MAX_STEPS} operations on one value")));
        }
        Ok(value)
    }
}

fn too_far(ty: Type, span: Span) -> Diagnostic {
    Diagnostic::error(span, format!("{} here has {} bits: nothing is left behind this shift", ty.meaning(), ty.bits()))
}

/// The first selector in a value.
fn first_selector(expr: &Expr) -> Option<Span> {
    match &expr.kind {
        ExprKind::Selector(_) => Some(expr.span),
        ExprKind::Variable(variable) => first_selector(&variable.value),
        ExprKind::Binary(_, left, right) | ExprKind::Range(left, right) => {
            first_selector(left).or_else(|| first_selector(right))
        }
        ExprKind::Prefix(base, _) => first_selector(base),
        ExprKind::List(values) | ExprKind::Concat(values) => values.iter().find_map(first_selector),
        ExprKind::Set(_)
        | ExprKind::Word(_)
        | ExprKind::Text(_)
        | ExprKind::Number(_)
        | ExprKind::Ipv4(_)
        | ExprKind::Ipv6(_)
        | ExprKind::Mac(_)
        | ExprKind::Time(_)
        | ExprKind::Named(_)
        | ExprKind::Any => None,
    }
}

/// Which values can be computed with: those of the kernel's own, in its byte order.
fn may_be_computed(ty: Type, span: Span) -> Checked<()> {
    if matches!(ty, Type::Mark | Type::Integer(32)) {
        return Ok(());
    }
    Err(Diagnostic::error(span, format!("{} cannot be computed with yet", ty.meaning())))
}

/// May what this selector has be given to something of this type? As nftables has it: only numbers fit elsewhere.
fn fits(selector: Selector, ty: Type, span: Span) -> Checked<()> {
    let found = selector.value_type();
    match found {
        _ if found == ty => Ok(()),
        Type::Integer(bits) if bits == ty.bits() => Ok(()),
        _ => Err(mismatch(ty, found.meaning(), span)),
    }
}

/// What statements can give a value.
fn may_be_set(target: &Left) -> Checked<()> {
    match target.selector {
        Selector::Mark | Selector::CtMark => Ok(()),
        selector => {
            let (group, field) = selector.words();
            Err(Diagnostic::error(target.span, format!("`{group} {field} set` is not supported yet")))
        }
    }
}
