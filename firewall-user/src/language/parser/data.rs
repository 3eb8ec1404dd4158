//! Values that are computed from the packet: what statements get.

use super::{Parsed, Parser};
use crate::language::ast::{Expr, ExprKind, Left, StatementKind};

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
        self.selectors = outside;
        data
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
