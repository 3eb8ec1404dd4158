//! Values that are computed from the packet: what statements get.

use super::{Parsed, Parser};
use crate::language::{
    ast::{Expr, ExprKind, Left, StatementKind},
    diagnostic::Diagnostic,
};

impl Parser<'_> {
    /// `set VALUE` behind a selector: a statement.
    pub(super) fn assignment(&mut self, target: Left) -> Parsed<StatementKind> {
        self.bump();
        Ok(StatementKind::Assign(target, self.data()?))
    }

    /// A value, in which selectors can stand: `ct mark & 0xff`.
    pub(super) fn data(&mut self) -> Parsed<Expr> {
        let outside = std::mem::replace(&mut self.selectors, true);
        let data = self.list();
        self.selectors = false;
        let data = data.and_then(|key| if self.at_word("map") { self.map_of(key) } else { Ok(key) });
        self.selectors = outside;
        data
    }

    /// `map { key : value }` behind a key.
    fn map_of(&mut self, key: Expr) -> Parsed<Expr> {
        let span = key.span;
        let Some(key) = as_left(key) else {
            let error = Diagnostic::error(span, "the key of a map is something that a packet has, such as `ip saddr`");
            return Err(error);
        };
        self.bump();
        let map = self.primary()?;
        Ok(Expr { span: span.to(map.span), kind: ExprKind::Map(Box::new(key), Box::new(map)) })
    }

    /// A selector where a value stands.
    pub(super) fn selector_value(&mut self) -> Parsed<Option<Expr>> {
        if !self.selectors {
            return Ok(None);
        }
        let left = self.selector()?;
        Ok(left.map(|left| Expr { span: left.span, kind: ExprKind::Selector(Box::new(left)) }))
    }
}

/// A value as the left side of a match, if it begins with selectors.
fn as_left(key: Expr) -> Option<Left> {
    match key.kind {
        ExprKind::Selector(left) => Some(*left),
        ExprKind::Binary(operator, left, right) => {
            let mut left = as_left(*left)?;
            left.operations.push((operator, *right));
            Some(left)
        }
        ExprKind::Concat(parts) => {
            let mut parts = parts.into_iter().map(as_left);
            let mut first = parts.next()??;
            first.more = parts.collect::<Option<_>>()?;
            first.span = key.span;
            Some(first)
        }
        _ => None,
    }
}
