//! Types of sets, and other members that are written in a way of their own.

use super::{
    Made, Translator, leaf,
    value::{Kind, Node},
};
use crate::language::diagnostic::Diagnostic;

impl Translator {
    /// `type a . b` or `typeof x . y`; behind the `:` of a map without the word in front.
    pub(super) fn set_key(&mut self, node: &Node, with_word: bool) -> Made<()> {
        let type_of = node.get("typeof");
        if with_word {
            self.out.glued(if type_of.is_some() { "typeof " } else { "type " }, node.span);
        }
        if let Some(width) = leaf::each(node).find(|part| part.text() == Some("integer")) {
            let error = Diagnostic::error(width.span, "`integer` does not say how wide it is");
            return Err(error.help(
                "nft 1.0.6 leaves out what `typeof` says, and does not read this either: take its text instead",
            ));
        }
        match type_of {
            Some(expression) => match expression.items() {
                Some(parts) => self.parts(parts),
                None => self.expression(expression),
            },
            None => leaf::words(&mut self.out, node, "type", " . "),
        }
    }

    fn parts(&mut self, parts: &[Node]) -> Made<()> {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.out.glued(" . ", part.span);
            }
            self.expression(part)?;
        }
        Ok(())
    }

    /// `{ established : 100, close : 5 }`
    pub(super) fn timeout_policy(&mut self, node: &Node) -> Made<()> {
        let Some(states) = node.members() else {
            return Err(Diagnostic::error(node.span, format!("`policy` is an object, not {}", node.what())));
        };
        self.out.glued("{ ", node.span);
        for (at, state) in states.iter().enumerate() {
            let Kind::Number(seconds) = &state.value.kind else {
                return Err(Diagnostic::error(state.value.span, "a timeout is a number of seconds"));
            };
            if at > 0 {
                self.out.glued(", ", state.span);
            }
            let name = Node { kind: Kind::Text(state.name.clone()), span: state.span };
            leaf::words(&mut self.out, &name, "policy", " ")?;
            self.out.glued(&format!(" : {seconds}"), state.value.span);
        }
        self.out.glued(" }", node.span);
        Ok(())
    }
}
