//! Chains: `type filter hook input priority 0; policy drop;` and rules.

use super::{Parsed, Parser};
use crate::language::{
    ast::{Chain, ChainBody, Hook, Spanned},
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
            Some("flags" | "devices") => {
                Err(super::unsupported::feature(self.here(), "chain flags (hardware offload)"))
            }
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
        if self.at_word("device") || self.at_word("devices") {
            return Err(super::unsupported::feature(self.here(), "a chain bound to devices"));
        }
        self.keyword("priority", "`priority` after the hook")?;
        let (priority, offset, priority_span) = self.priority()?;
        let span = start.to(priority_span);
        if body.hook.is_some() {
            return Err(Diagnostic::error(span, "a second `type`: a chain hangs at one hook"));
        }
        body.hook = Some(Hook { kind, name: hook, priority, offset, priority_span });
        self.end_statement("the priority")
    }

    fn keyword(&mut self, word: &str, expected: &str) -> Parsed<Span> {
        self.take_word(word).ok_or_else(|| self.unexpected(expected))
    }

    fn priority(&mut self) -> Parsed<(Option<Spanned>, i128, Span)> {
        if self.at_mark(Mark::Dollar) {
            return Err(super::unsupported::feature(self.here(), "a variable as priority"));
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
        if self.at_mark(Mark::Dollar) {
            return Err(super::unsupported::feature(self.here(), "a variable as policy"));
        }
        let policy = self.required_word("`accept` or `drop` after `policy`")?;
        if body.policy.is_some() {
            return Err(Diagnostic::error(keyword.to(policy.span), "a second `policy`: a chain has one"));
        }
        body.policy = Some(policy);
        self.end_statement("the policy")
    }
}
