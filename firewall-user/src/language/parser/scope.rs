//! Variables: `define`, `redefine`, `undefine`, and which of them a block sees.

use std::{collections::HashMap, rc::Rc};

use super::{Parsed, Parser};
use crate::language::{
    ast::{Expr, ExprKind, Spanned, Variable},
    diagnostic::Diagnostic,
    lexer::Mark,
    names,
};

/// Values that a variable may hold, with those of the variables it is made of.
const MAX_SIZE: usize = 4 << 20;
/// Variables and sets inside one another.
const MAX_DEPTH: usize = 64;

/// The variables of the open blocks, innermost last.
pub(super) struct Scopes(Vec<HashMap<Rc<str>, Rc<Variable>>>);

impl Default for Scopes {
    fn default() -> Self {
        Self(vec![HashMap::new()])
    }
}

impl Scopes {
    pub(super) fn open(&mut self) {
        self.0.push(HashMap::new());
    }

    pub(super) fn close(&mut self) {
        if self.0.len() > 1 {
            self.0.pop();
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Rc<Variable>> {
        self.0.iter().rev().find_map(|scope| scope.get(name))
    }

    fn define(&mut self, name: Rc<str>, value: Rc<Variable>) {
        if let Some(scope) = self.0.last_mut() {
            scope.insert(name, value);
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(HashMap::keys).map(AsRef::as_ref)
    }
}

impl Parser<'_> {
    /// `define`, `redefine` or `undefine`, if one stands here.
    pub(super) fn definition(&mut self) -> Option<Parsed<()>> {
        let parsed = match self.word()? {
            "define" => self.define(false),
            "redefine" => self.define(true),
            "undefine" => self.undefine(),
            _ => return None,
        };
        Some(parsed)
    }

    fn define(&mut self, again: bool) -> Parsed<()> {
        self.bump();
        let name = self.name("variable")?;
        if !again && self.scopes.get(&name.text).is_some() {
            let message = format!("`{}` is already defined", name.text);
            let help = format!("`redefine {} = ...` changes it", name.text);
            return Err(Diagnostic::error(name.span, message).help(help));
        }
        self.expect_mark(Mark::Equals, "`=` after the variable's name")?;
        let value = self.initializer()?;
        self.end_statement("the variable's value")?;
        let (depth, size) = value.measure();
        if depth > MAX_DEPTH || size > MAX_SIZE {
            let message = format!("`{}` is too large: at most {MAX_SIZE} values, {MAX_DEPTH} deep", name.text);
            return Err(Diagnostic::error(name.span, message));
        }
        self.scopes.define(name.text, Rc::new(Variable { value, depth, size }));
        Ok(())
    }

    fn undefine(&mut self) -> Parsed<()> {
        self.bump();
        let name = self.name("variable")?;
        match self.scopes.0.last_mut().and_then(|scope| scope.remove(&name.text)) {
            Some(_) => self.end_statement("the variable's name"),
            None => Err(Diagnostic::error(name.span, format!("`{}` is not defined in this block", name.text))),
        }
    }

    /// `$name`: its value.
    pub(super) fn variable(&mut self) -> Parsed<Expr> {
        let dollar = self.bump();
        let name = self.name("variable")?;
        let span = dollar.to(name.span);
        match self.scopes.get(&name.text) {
            Some(value) => Ok(Expr { kind: ExprKind::Variable(Rc::clone(value)), span }),
            None => Err(self.undefined(&name)),
        }
    }

    fn undefined(&self, name: &Spanned) -> Diagnostic {
        let error = Diagnostic::error(name.span, format!("`${}` is not defined", name.text));
        // A variable's name may contain `/` and `-`, so these must be kept apart from it by a blank or braces.
        if let Some((stem, _)) =
            name.text.split_once(['/', '-', '.']).filter(|(stem, _)| self.scopes.get(stem).is_some())
        {
            let help = format!("a name may contain `/`, `-` and `.`: put a blank behind `${stem}`");
            return error.help(help);
        }
        match names::nearest(&name.text, self.scopes.names()) {
            Some(near) => error.help(format!("did you mean `${near}`?")),
            None => error,
        }
    }
}
