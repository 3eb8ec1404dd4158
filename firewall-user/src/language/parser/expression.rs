//! Values: numbers, names, addresses, ranges, prefixes, sets.

use super::{Parsed, Parser, shorten};
use crate::language::{
    ast::{Element, ElementOptions, Expr, ExprKind, Given},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    source::Span,
};

/// Parentheses, sets and variables inside one another: deeper is no ruleset that anybody wrote.
pub(super) const MAX_NESTING: usize = 32;
/// Parts of a concatenation (`NFT_REG32_COUNT`, `include/uapi/linux/netfilter/nf_tables.h`).
pub(super) const MAX_CONCATENATED: usize = 16;

impl Parser<'_> {
    /// What `define` gives a name: a value, a list, or a set (which may be empty).
    pub(super) fn initializer(&mut self) -> Parsed<Expr> {
        if self.at_mark(Mark::Minus) && self.peek_at(1).kind == Kind::Number {
            // For a priority: nowhere else is a number negative.
            let span = self.bump();
            let (number, end) = self.number("a number")?;
            let text = format!("-{number}");
            return Ok(Expr { kind: ExprKind::Text(text.into()), span: span.to(end) });
        }
        self.list()
    }

    /// The right side of a match: a value, or several with commas.
    pub(super) fn list(&mut self) -> Parsed<Expr> {
        let first = self.value()?;
        if !self.at_mark(Mark::Comma) {
            return Ok(first);
        }
        let start = first.span;
        let mut values = vec![first];
        while self.take_mark(Mark::Comma).is_some() {
            self.skip_newlines();
            values.push(self.value()?);
        }
        let span = values.last().map_or(start, |last| start.to(last.span));
        Ok(Expr { kind: ExprKind::List(values), span })
    }

    /// One value, or several with dots between them.
    pub(super) fn value(&mut self) -> Parsed<Expr> {
        let first = self.value_alone()?;
        if !self.at_mark(Mark::Dot) {
            return Ok(first);
        }
        let start = first.span;
        let mut parts = vec![first];
        while self.at_mark(Mark::Dot) {
            self.no_address_cut_short()?;
            self.bump();
            if parts.len() >= MAX_CONCATENATED {
                let message = format!("more than {MAX_CONCATENATED} values in a concatenation");
                return Err(Diagnostic::error(self.here(), message));
            }
            parts.push(self.value_alone()?);
        }
        let span = parts.last().map_or(start, |last| start.to(last.span));
        Ok(Expr { kind: ExprKind::Concat(parts), span })
    }

    /// One value: also a range, a prefix, or bits joined by `|`.
    pub(super) fn value_alone(&mut self) -> Parsed<Expr> {
        let first = self.bits()?;
        Ok(match self.peek().kind {
            Kind::Mark(Mark::Minus) if self.at_option() => return Err(self.iptables_option()),
            Kind::Mark(Mark::Minus) => {
                self.bump();
                let last = self.bits()?;
                let span = first.span.to(last.span);
                Expr { kind: ExprKind::Range(Box::new(first), Box::new(last)), span }
            }
            Kind::Mark(Mark::Slash) if self.peek_at(1).kind == Kind::Number => {
                self.bump();
                let (length, end) = self.number("a prefix length")?;
                let span = first.span.to(end);
                Expr { kind: ExprKind::Prefix(Box::new(first), length), span }
            }
            _ => first,
        })
    }

    pub(super) fn too_deep(&self) -> Diagnostic {
        Diagnostic::error(self.here(), format!("more than {MAX_NESTING} values inside one another"))
    }

    /// A value without operators.
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        self.nesting += 1;
        let parsed = if self.nesting > MAX_NESTING { Err(self.too_deep()) } else { self.primary_inside() };
        self.nesting -= 1;
        parsed
    }

    fn primary_inside(&mut self) -> Parsed<Expr> {
        if let Some(selector) = self.selector_value()? {
            return Ok(selector);
        }
        if let Some(special) = self.time_or_class()? {
            return Ok(special);
        }
        match self.peek().kind {
            Kind::Word => Ok(self.leaf(|text| ExprKind::Word(text.into()))),
            Kind::Wildcard => Ok(self.leaf(|text| ExprKind::Text(text.into()))),
            Kind::Text => Ok(self.leaf(|text| ExprKind::Text(text[1..text.len() - 1].into()))),
            Kind::Mark(Mark::BracketOpen) if self.peek_at(1).kind == Kind::Ipv6 => self.bracketed(),
            Kind::Mac => self.address("a hardware", |text| hardware_address(text).map(ExprKind::Mac)),
            Kind::Number if self.at_tag_name() => {
                let span = self.bump();
                let span = span.to(self.bump());
                Ok(Expr { kind: ExprKind::Word(self.text(span).into()), span })
            }
            Kind::Number => self.number("a number").map(|(value, span)| Expr { kind: ExprKind::Number(value), span }),
            Kind::Ipv4 => self.address("an IPv4", |text| text.parse().map(ExprKind::Ipv4).ok()),
            Kind::Ipv6 => self.address("an IPv6", |text| text.parse().map(ExprKind::Ipv6).ok()),
            Kind::Mark(Mark::ParenOpen) => self.parenthesis(),
            Kind::Mark(Mark::BraceOpen) => self.set_literal(),
            Kind::Mark(Mark::Dollar) => self.variable(),
            Kind::Mark(Mark::At) => self.named_set(),
            Kind::Mark(Mark::Minus) => self.negative(),
            Kind::Mark(_) | Kind::OpenText | Kind::Newline | Kind::Stray | Kind::End => Err(self.unexpected("a value")),
        }
    }

    /// `8021q` and `8021ad`: names that start like numbers.
    fn at_tag_name(&self) -> bool {
        let (number, word) = (self.peek(), self.peek_at(1));
        let text = self.text(self.span(number).to(self.span(word)));
        number.end == word.start && matches!(text, "8021q" | "8021ad")
    }

    fn leaf(&mut self, kind: impl FnOnce(&str) -> ExprKind) -> Expr {
        let span = self.bump();
        Expr { kind: kind(self.text(span)), span }
    }

    fn address(&mut self, what: &str, parse: impl FnOnce(&str) -> Option<ExprKind>) -> Parsed<Expr> {
        let span = self.bump();
        let text = self.text(span);
        match parse(text) {
            Some(kind) => Ok(Expr { kind, span }),
            None => Err(Diagnostic::error(span, format!("`{}` is not {what} address", shorten(text)))),
        }
    }

    /// A number: decimal, hexadecimal with `0x`, octal with a leading zero, as nftables reads it.
    pub(super) fn number(&mut self, expected: &str) -> Parsed<(u128, Span)> {
        if self.peek().kind != Kind::Number {
            return Err(self.unexpected(expected));
        }
        let span = self.bump();
        let text = self.text(span);
        let parsed = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => u128::from_str_radix(&text[2..], 16),
            [b'0', _, ..] => u128::from_str_radix(&text[1..], 8),
            _ => text.parse(),
        };
        let Ok(value) = parsed else {
            return Err(Diagnostic::error(span, format!("`{}` is not a number in range", shorten(text))));
        };
        self.no_word_behind(span)?;
        Ok((value, span))
    }

    /// `80ab` would be the number 80 and the word `ab`: never meant so.
    fn no_word_behind(&self, span: Span) -> Parsed<()> {
        let next = self.peek();
        if !matches!(next.kind, Kind::Word | Kind::Wildcard | Kind::Number) || self.span(next).start != span.end {
            return Ok(());
        }
        let span = span.to(self.span(next));
        Err(Diagnostic::error(span, format!("`{}` is not a number", shorten(self.text(span)))))
    }

    fn negative(&mut self) -> Parsed<Expr> {
        if self.peek_at(1).kind == Kind::Number {
            let message = "negative numbers only occur in priorities";
            return Err(Diagnostic::error(self.here(), message));
        }
        Err(self.iptables_option())
    }

    fn parenthesis(&mut self) -> Parsed<Expr> {
        self.bump();
        let inside = self.list()?;
        self.expect_mark(Mark::ParenClose, "`)`")?;
        Ok(inside)
    }

    fn named_set(&mut self) -> Parsed<Expr> {
        let at = self.bump();
        let next = self.peek_at(1).kind;
        if matches!(self.word(), Some("nh" | "th" | "ll" | "ih")) && next == Kind::Mark(Mark::Comma) {
            return Err(super::unsupported::refusal(
                at.to(self.here()),
                "raw payload (`@nh,..`) as a value",
                "a value is constant here: raw payload stands on the left of a match",
            ));
        }
        let name = self.name("set")?;
        Ok(Expr { span: at.to(name.span), kind: ExprKind::Named(name.text) })
    }

    /// `{ 22, 80-90 }`, or with verdicts `{ 22 : accept }`.
    fn set_literal(&mut self) -> Parsed<Expr> {
        let open = self.bump();
        let mut elements = Vec::new();
        loop {
            self.skip_newlines();
            if let Some(close) = self.take_mark(Mark::BraceClose) {
                return Ok(Expr { kind: ExprKind::Set(elements), span: open.to(close) });
            }
            elements.push(self.element()?);
            self.skip_newlines();
            if self.take_mark(Mark::Comma).is_none() && !self.at_mark(Mark::BraceClose) {
                return Err(self.unexpected("`,` or `}` in the set"));
            }
        }
    }

    fn element(&mut self) -> Parsed<Element> {
        let key = match self.take_mark(Mark::Star) {
            Some(span) => Expr { kind: ExprKind::Any, span },
            None => self.value()?,
        };
        let options = self.element_options()?;
        self.skip_newlines();
        let given = if self.take_mark(Mark::Colon).is_some() { Some(self.given_by_element()?) } else { None };
        Ok(Element { key, given, options })
    }

    /// What a map gives: a verdict or a value.
    fn given_by_element(&mut self) -> Parsed<Given> {
        self.skip_newlines();
        if matches!(self.word(), Some("accept" | "drop" | "return" | "continue" | "jump" | "goto")) {
            return self.verdict().map(Given::Verdict);
        }
        self.value().map(Given::Value)
    }

    /// `counter timeout 5m expires 3m comment "..."`: the counter in front, as nftables wants it.
    pub(super) fn element_options(&mut self) -> Parsed<ElementOptions> {
        let mut options = ElementOptions::default();
        self.element_statements(&mut options.statements)?;
        loop {
            match self.word() {
                Some("comment") => self.comment(&mut options.comment)?,
                Some("timeout") => {
                    self.bump();
                    options.timeout = Some(self.time()?);
                }
                Some("expires") => {
                    self.bump();
                    options.expires = Some(self.time()?);
                }
                Some("counter" | "limit" | "quota" | "last" | "ct") => {
                    let message = "what an element keeps for itself stands in front of its `timeout` and `comment`";
                    return Err(Diagnostic::error(self.here(), message));
                }
                Some(_) | None => return Ok(options),
            }
        }
    }

    fn no_address_cut_short(&self) -> Parsed<()> {
        match self.number_before() {
            Some(number) => {
                let message = "an IPv4 address is four numbers with dots between them";
                Err(Diagnostic::error(number.to(self.here()), message))
            }
            None => Ok(()),
        }
    }

    /// The number that the next token touches: the dot behind it starts no concatenation.
    fn number_before(&self) -> Option<Span> {
        let frame = self.frames.last()?;
        let before = frame.tokens.get(frame.at.checked_sub(1)?)?;
        let number = matches!(before.kind, Kind::Number | Kind::Ipv4) && before.end == self.peek().start;
        number.then(|| self.span(*before))
    }
}

fn hardware_address(text: &str) -> Option<u64> {
    text.split(':').try_fold(0, |address, pair| Some(address << 8 | u64::from(u8::from_str_radix(pair, 16).ok()?)))
}
