//! Chains: `type filter hook input priority 0; policy drop;` and rules.

use super::{Parsed, Parser};
use crate::language::{
    ast::{Chain, ChainBody, Expr, ExprKind, Hook, Spanned},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    source::Span,
};

impl Parser<'_> {
    /// A chain in a table: name and braces.
    pub(super) fn chain(&mut self) -> Parsed<Chain> {
        let name = self.name("chain")?;
        let mut body = ChainBody::default();
        self.block("chain", &mut |parser| parser.chain_part(&mut body))?;
        Ok(Chain { name, body })
    }

    /// `add chain TABLE NAME`, with or without braces.
    pub(super) fn chain_declaration(&mut self) -> Parsed<Chain> {
        let name = self.name("chain")?;
        let mut body = ChainBody::default();
        if self.at_mark(Mark::BraceOpen) {
            self.block("chain", &mut |parser| parser.chain_part(&mut body))?;
        }
        Ok(Chain { name, body })
    }

    fn chain_part(&mut self, body: &mut ChainBody) -> Parsed<()> {
        if self.at_include() {
            return self.include();
        }
        if let Some(parsed) = self.definition() {
            return parsed;
        }
        match self.word() {
            Some("type") => self.hook(body),
            Some("policy") => self.policy(body),
            // At the end of a rule it is the rule's, alone it is the chain's.
            Some("comment") => {
                self.comment(&mut body.comment)?;
                self.end_statement("the comment")
            }
            Some("flags") => Err(super::unsupported::refusal(
                self.here(),
                "`flags offload`",
                "rules are carried out by the kernel, before its receive path, and not by a network card: leave it out",
            )),
            _ => {
                body.rules.push(self.rule()?);
                self.end_statement("the rule")
            }
        }
    }

    /// `type filter hook input priority filter - 5; policy drop`: the policy may follow a `;` or a line end.
    fn hook(&mut self, body: &mut ChainBody) -> Parsed<()> {
        let start = self.bump();
        let kind = self.required_word("`filter` after `type`")?;
        self.keyword("hook", "`hook` after the chain's type")?;
        let hook = self.required_word("a hook such as `input`")?;
        let devices = self.devices()?;
        self.keyword("priority", "`priority` after the hook")?;
        let (priority, offset, priority_span) = self.priority()?;
        let span = start.to(priority_span);
        if body.hook.is_some() {
            return Err(Diagnostic::error(span, "a second `type`: a chain hangs at one hook"));
        }
        body.hook = Some(Hook { kind, name: hook, devices, priority, offset, priority_span });
        self.end_statement("the priority")
    }

    /// `device eth0` or `devices = { eth0, eth1 }`, if one stands here.
    pub(super) fn devices(&mut self) -> Parsed<Vec<Spanned>> {
        if self.take_word("device").is_some() {
            return Ok(vec![self.device()?]);
        }
        if self.take_word("devices").is_none() {
            return Ok(Vec::new());
        }
        self.expect_mark(Mark::Equals, "`=` after `devices`")?;
        if self.at_mark(Mark::Dollar) {
            let value = self.variable()?;
            let ExprKind::Set(elements) = &value.resolved().kind else {
                return Err(Diagnostic::error(value.span, "expected a set of interfaces in this variable"));
            };
            return elements.iter().map(|element| named_device(&element.key, value.span)).collect();
        }
        self.expect_mark(Mark::BraceOpen, "`{` after `devices =`")?;
        let mut devices = Vec::new();
        loop {
            self.skip_newlines();
            if !devices.is_empty() && self.at_mark(Mark::BraceClose) {
                break;
            }
            devices.push(self.device()?);
            self.skip_newlines();
            if self.take_mark(Mark::Comma).is_none() {
                break;
            }
        }
        self.expect_mark(Mark::BraceClose, "`,` or `}` after an interface")?;
        Ok(devices)
    }

    fn device(&mut self) -> Parsed<Spanned> {
        if self.at_mark(Mark::Dollar) {
            let value = self.variable()?;
            return named_device(&value, value.span);
        }
        if self.peek().kind == Kind::Wildcard {
            return Err(Diagnostic::error(self.here(), "a device is named in full, without `*`"));
        }
        self.string("the name of an interface")
    }

    fn keyword(&mut self, word: &str, expected: &str) -> Parsed<Span> {
        self.take_word(word).ok_or_else(|| self.unexpected(expected))
    }

    pub(super) fn priority(&mut self) -> Parsed<(Option<Spanned>, i128, Span)> {
        if self.at_mark(Mark::Dollar) {
            let value = self.variable()?;
            let (name, offset) = priority_of(&value).ok_or_else(|| no_priority(value.span))?;
            return Ok((name, offset, value.span));
        }
        let start = self.here();
        let name = if self.word().is_some() { Some(self.spanned()) } else { None };
        let mut end = start;
        let mut offset = 0;
        if name.is_none() && self.at_mark(Mark::Plus) {
            return Err(self.unexpected("a priority: a number, or a name such as `filter`"));
        }
        if let Some(sign) = self.sign() {
            let (value, span) = self.number("a number in the priority")?;
            (offset, end) = (sign * value.min(1 << 40) as i128, span);
        } else if name.is_none() {
            let (value, span) = self.number("a priority: a number, or a name such as `filter`")?;
            (offset, end) = (value.min(1 << 40) as i128, span);
        }
        Ok((name, offset, start.to(end)))
    }

    fn sign(&mut self) -> Option<i128> {
        let sign = match self.peek().kind {
            Kind::Mark(Mark::Minus) => -1,
            Kind::Mark(Mark::Plus) => 1,
            _ => return None,
        };
        self.bump();
        Some(sign)
    }

    fn policy(&mut self, body: &mut ChainBody) -> Parsed<()> {
        let keyword = self.bump();
        let policy = if self.at_mark(Mark::Dollar) {
            let value = self.variable()?;
            named(&value, value.span, "`accept` or `drop`")?
        } else {
            self.required_word("`accept` or `drop` after `policy`")?
        };
        if body.policy.is_some() {
            return Err(Diagnostic::error(keyword.to(policy.span), "a second `policy`: a chain has one"));
        }
        body.policy = Some(policy);
        self.end_statement("the policy")
    }
}

/// What a variable stands for where a priority is wanted: a number, a name, or text such as `filter - 5`.
fn priority_of(value: &Expr) -> Option<(Option<Spanned>, i128)> {
    let text = match &value.resolved().kind {
        ExprKind::Number(number) => return Some((None, i128::try_from(*number).ok()?.min(1 << 40))),
        ExprKind::Word(text) | ExprKind::Text(text) => text,
        _ => return None,
    };
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(at);
    let (name, offset) = (name.trim(), offset.replace(' ', ""));
    let digits = |digits: &str| digits.parse::<i32>().ok().map(i128::from);
    if let Some(number) = digits(name).filter(|_| offset.is_empty()) {
        return Some((None, number));
    }
    let name = (!name.is_empty()).then(|| Spanned { text: name.into(), span: value.span });
    Some((name, if offset.is_empty() { 0 } else { digits(&offset)? }))
}

fn no_priority(span: Span) -> Diagnostic {
    Diagnostic::error(span, "expected a priority in this variable: a number, or a text such as \"filter - 5\"")
}

/// The interface that a variable names.
fn named_device(value: &Expr, span: Span) -> Parsed<Spanned> {
    named(value, span, "the name of an interface")
}

fn named(value: &Expr, span: Span, what: &str) -> Parsed<Spanned> {
    match &value.resolved().kind {
        ExprKind::Word(name) | ExprKind::Text(name) => Ok(Spanned { text: name.clone(), span }),
        _ => Err(Diagnostic::error(span, format!("expected {what} in this variable"))),
    }
}
