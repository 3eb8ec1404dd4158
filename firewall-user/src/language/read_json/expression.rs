//! Expressions and statements: those that no form can write.

use super::{
    Made, Translator,
    forms::{EXPRESSIONS, STATEMENTS},
    leaf,
    value::{Kind, Member, Node},
};
use crate::language::{diagnostic::Diagnostic, names};

/// Expressions inside one another: each is a step of recursion here and in the parser.
const MAX_NESTING: usize = 48;

/// Operators between values by strength, weakest first.
const OPERATORS: &[(&str, u8)] = &[("|", 0), ("^", 1), ("&", 2), ("<<", 3), (">>", 3)];

/// Comparisons, and what stands for them in a text.
const COMPARISONS: &[(&str, &str)] =
    &[("==", "== "), ("!=", "!= "), ("<", "< "), (">", "> "), ("<=", "<= "), (">=", ">= "), ("in", ""), ("!", "! ")];

fn strength(name: &str) -> Option<u8> {
    OPERATORS.iter().find(|(operator, _)| *operator == name).map(|(_, strength)| *strength)
}

impl Translator {
    /// A value or expression.
    pub(super) fn expression(&mut self, node: &Node) -> Made<()> {
        if self.nesting == MAX_NESTING {
            return Err(Diagnostic::error(
                node.span,
                format!("more than {MAX_NESTING} expressions inside one another"),
            ));
        }
        self.nesting += 1;
        let made = self.expression_inside(node);
        self.nesting -= 1;
        made
    }

    fn expression_inside(&mut self, node: &Node) -> Made<()> {
        match &node.kind {
            Kind::Text(text) if self.interfaces && !text.starts_with(['@', '*']) => {
                leaf::quoted(&mut self.out, text, node.span)
            }
            Kind::Text(text) => leaf::value(&mut self.out, text, node.span),
            Kind::Number(digits) => {
                self.out.glued(digits, node.span);
                Ok(())
            }
            Kind::Bool(there) => {
                self.out.glued(if *there { "exists" } else { "missing" }, node.span);
                Ok(())
            }
            Kind::Array(items) => self.joined(items, ", "),
            Kind::Object(_) => match node.only() {
                Some(member) => self.operation(member),
                None => Err(Diagnostic::error(node.span, "an expression is an object of one member, its kind")),
            },
            Kind::Null => Err(Diagnostic::error(node.span, "expected an expression, found `null`")),
        }
    }

    /// Expressions with something between them.
    fn joined(&mut self, items: &[Node], between: &str) -> Made<()> {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.glued(between, item.span);
            }
            self.expression(item)?;
        }
        Ok(())
    }

    fn operation(&mut self, member: &Member) -> Made<()> {
        let Member { name, span, value } = member;
        match (&**name, value.items()) {
            ("concat", Some(parts)) => self.joined(parts, " . "),
            ("range", Some([low, high])) => {
                self.expression(low)?;
                self.out.glued(" - ", *span);
                self.expression(high)
            }
            ("set", _) => self.elements(value),
            (operator, Some(operands)) if strength(operator).is_some() => self.binary(member, operands),
            _ => match self.by_form(EXPRESSIONS, member, &[]) {
                Some(made) => made,
                None => Err(unknown("expression", member, EXPRESSIONS.iter().map(|form| form.0))),
            },
        }
    }

    /// `a & b`, with parentheses where the text needs them.
    fn binary(&mut self, operator: &Member, operands: &[Node]) -> Made<()> {
        let own = strength(&operator.name).unwrap_or_default();
        if operands.len() < 2 {
            let message = format!("`{}` stands between two values", operator.name);
            return Err(Diagnostic::error(operator.span, message));
        }
        for (at, operand) in operands.iter().enumerate() {
            if at > 0 {
                self.out.glued(&format!(" {} ", operator.name), operator.span);
            }
            let inner = operand.only().and_then(|inner| strength(&inner.name));
            let weaker = inner.is_some_and(|inner| inner < own || (inner == own && at > 0));
            match operand.items() {
                Some(flags) if flags.len() > 1 => self.in_parentheses(operand, |made| made.joined(flags, " | "))?,
                _ if weaker => self.in_parentheses(operand, |made| made.expression(operand))?,
                _ => self.expression(operand)?,
            }
        }
        Ok(())
    }

    fn in_parentheses(&mut self, node: &Node, inside: impl FnOnce(&mut Self) -> Made<()>) -> Made<()> {
        self.out.glued("(", node.span);
        inside(self)?;
        self.out.glued(")", node.span);
        Ok(())
    }

    /// `{ a, b : c }`
    pub(super) fn elements(&mut self, node: &Node) -> Made<()> {
        self.out.glued("{ ", node.span);
        for (at, element) in leaf::each(node).enumerate() {
            if at > 0 {
                self.out.glued(", ", element.span);
            }
            match element.items() {
                Some([key, data]) => {
                    self.expression(key)?;
                    self.out.glued(" : ", element.span);
                    self.expression(data)?;
                }
                _ => self.expression(element)?,
            }
        }
        self.out.glued(" }", node.span);
        Ok(())
    }

    /// Statements one after the other, each with a blank in front.
    pub(super) fn statements(&mut self, nodes: &[Node]) -> Made<()> {
        for node in nodes {
            self.out.blank();
            self.statement(node)?;
        }
        Ok(())
    }

    pub(super) fn statement_or_statements(&mut self, node: &Node) -> Made<()> {
        match node.items() {
            Some(statements) => self.statements(statements),
            None => self.statement(node),
        }
    }

    /// The state of a set's element, which looks like a statement: `counter packets 1 bytes 60`.
    pub(super) fn state(&mut self, node: &Node, name: &str) -> Made<()> {
        let statement = Member { name: name.into(), span: node.span, value: node.clone() };
        self.by_form(STATEMENTS, &statement, &[]).unwrap_or(Ok(()))
    }

    fn statement(&mut self, node: &Node) -> Made<()> {
        let Some(member) = node.only() else {
            return Err(Diagnostic::error(node.span, "a statement is an object of one member, its kind"));
        };
        if &*member.name == "match" {
            return self.a_match(&member.value);
        }
        match self.by_form(STATEMENTS, member, &[]) {
            Some(made) => made,
            None => Err(unknown("statement", member, STATEMENTS.iter().map(|form| form.0).chain(["match"]))),
        }
    }

    fn a_match(&mut self, node: &Node) -> Made<()> {
        let part = |name: &str| {
            let missing = || Diagnostic::error(node.span, format!("`{name}` is missing in this match"));
            node.get(name).ok_or_else(missing)
        };
        let (operator, left, right) = (part("op")?, part("left")?, part("right")?);
        let Some((_, sign)) = COMPARISONS.iter().find(|(name, _)| Some(*name) == operator.text()) else {
            let known = COMPARISONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
            return Err(Diagnostic::error(operator.span, format!("no comparison: known are {known}")));
        };
        match unnamed_option(left).filter(|_| matches!(right.kind, Kind::Bool(_))) {
            Some(number) => {
                self.out.glued("tcp option ", left.span);
                self.expression(number)?;
            }
            None => self.expression(left)?,
        }
        self.out.blank();
        // A set and `exists` say themselves that they are compared.
        let is_set = right.get("set").is_some() || right.text().is_some_and(|text| text.starts_with('@'));
        if *sign != "== " || !(is_set || matches!(right.kind, Kind::Bool(_))) {
            self.out.glued(sign, operator.span);
        }
        self.interfaces = names_interfaces(left);
        let made = match right.items() {
            Some(flags) if !matches!(operator.text(), Some("in" | "!")) => self.joined(flags, " | "),
            _ => self.expression(right),
        };
        self.interfaces = false;
        made
    }
}

/// Is the left side the name of an interface?
fn names_interfaces(left: &Node) -> bool {
    left.get("meta").and_then(|meta| meta.get("key")?.text()).is_some_and(|key| key.ends_with("ifname"))
}

/// The number of a TCP option that has no name, where nft says its first byte instead: `tcp option 254 exists`.
fn unnamed_option(left: &Node) -> Option<&Node> {
    let option = left.get("tcp option")?;
    let is = |name: &str, digits: &str| {
        matches!(option.get(name)?.kind, Kind::Number(ref found) if **found == *digits).then_some(())
    };
    is("offset", "0")?;
    is("len", "8")?;
    option.get("base")
}

pub(super) fn unknown(what: &str, member: &Member, known: impl Iterator<Item = &'static str> + Clone) -> Diagnostic {
    let error = Diagnostic::error(member.span, format!("unknown {what} `{}`", leaf::shown(&member.name)));
    match names::nearest(&member.name, known) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
}
