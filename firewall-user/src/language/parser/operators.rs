//! `|`, `&`, `^`, `<<`, `>>`, and the words for them.

use super::{Parsed, Parser, expression::MAX_NESTING};
use crate::language::{
    ast::{Binary, Expr, ExprKind},
    lexer::Mark,
};

/// Operators of the same strength: as sign, as word.
type Level = &'static [(Mark, &'static str, Binary)];

/// Operators between values, in C's order of strength, weakest first.
const LEVELS: &[Level] = &[
    &[(Mark::Or, "or", Binary::Or)],
    &[(Mark::Xor, "xor", Binary::Xor)],
    &[(Mark::And, "and", Binary::And)],
    &[(Mark::ShiftLeft, "lshift", Binary::ShiftLeft), (Mark::ShiftRight, "rshift", Binary::ShiftRight)],
];

impl Parser<'_> {
    /// Values joined by `|`, `&`, `^`, `<<`, `>>`, in C's order of strength.
    pub(super) fn bits(&mut self) -> Parsed<Expr> {
        self.binary(LEVELS)
    }

    fn binary(&mut self, levels: &[Level]) -> Parsed<Expr> {
        let Some((operators, tighter)) = levels.split_first() else { return self.primary() };
        let mut left = self.binary(tighter)?;
        let mut terms = 0;
        while let Some(operator) = self.operator_of(operators) {
            terms += 1;
            if terms > MAX_NESTING {
                return Err(self.too_deep());
            }
            self.bump();
            let right = self.binary(tighter)?;
            let span = left.span.to(right.span);
            left = Expr { kind: ExprKind::Binary(operator, Box::new(left), Box::new(right)), span };
        }
        Ok(left)
    }

    fn operator_of(&self, level: Level) -> Option<Binary> {
        let found = level.iter().find(|(mark, word, _)| self.at_mark(*mark) || self.at_word(word));
        found.map(|(_, _, operator)| *operator)
    }

    /// The operators behind what is looked at, strongest first, each with its right side.
    pub(super) fn operations(&mut self) -> Parsed<Vec<(Binary, Expr)>> {
        let mut operations = Vec::new();
        for at in (0..LEVELS.len()).rev() {
            while let Some(operator) = self.operator_of(LEVELS[at]) {
                if operations.len() >= MAX_NESTING {
                    return Err(self.too_deep());
                }
                self.bump();
                operations.push((operator, self.binary(&LEVELS[at + 1..])?));
            }
        }
        Ok(operations)
    }
}
