//! Times: `1d2h3m4s5ms`.

use std::rc::Rc;

use super::{Parsed, Parser, shorten};
use crate::language::{
    ast::{Expr, ExprKind, Time},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark, Token},
    source::Span,
};

/// Numbers and units that a time is made of.
const MAX_PARTS: usize = 16;

/// Units in the order in which nftables wants them, in milliseconds.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Parser<'_> {
    /// A time, in milliseconds.
    pub(super) fn time(&mut self) -> Parsed<Time> {
        let quoted = self.peek().kind == Kind::Text;
        if !quoted && self.peek().kind != Kind::Number {
            return Err(self.unexpected("a time such as `30s` or `1h30m`"));
        }
        let mut span = self.bump();
        while matches!(self.peek().kind, Kind::Number | Kind::Word) && self.here().start == span.end && !quoted {
            span = span.to(self.bump());
        }
        let text = self.text(span).trim_matches('"');
        let Some(time) = milliseconds(text) else {
            let error = Diagnostic::error(span, format!("`{}` is not a time", shorten(text)));
            return Err(error.help("write days, hours, minutes, seconds, milliseconds in this order: `1d2h3m4s5ms`"));
        };
        Ok((time, span))
    }

    /// `1h30m` and `1:2` where a value stands: they begin as other values do.
    pub(super) fn time_or_class(&mut self) -> Parsed<Option<Expr>> {
        let first = self.peek();
        if !matches!(first.kind, Kind::Number | Kind::Word) {
            return Ok(None);
        }
        let count = self.touching(0);
        let colon = self.peek_at(count);
        let before = self.peek_at(count - 1);
        if colon.kind == Kind::Mark(Mark::Colon) && colon.start == before.end {
            return Ok(self.class(count));
        }
        let span = self.span(first).to(self.span(before));
        let text = self.text(span);
        if let Some(range) = time_range(text, span).filter(|_| first.kind == Kind::Number) {
            for _ in 0..count {
                self.bump();
            }
            return Ok(Some(range));
        }
        if count < 2 || first.kind != Kind::Number || milliseconds(text).is_none() {
            return Ok(None);
        }
        let (time, span) = self.time()?;
        Ok(Some(Expr { kind: ExprKind::Time(time), span }))
    }

    /// How many numbers and words touch each other from a token on.
    fn touching(&self, from: usize) -> usize {
        let is_part = |token: Token| matches!(token.kind, Kind::Number | Kind::Word);
        let goes_on = |at: &usize| *at == 0 || self.peek_at(from + at).start == self.peek_at(from + at - 1).end;
        (0..MAX_PARTS).take_while(|at| is_part(self.peek_at(from + at)) && goes_on(at)).count()
    }

    /// Two hexadecimal numbers of at most four digits with a colon between them, the first of so many tokens.
    fn class(&mut self, major: usize) -> Option<Expr> {
        let minor = self.touching(major + 1);
        let (colon, behind) = (self.peek_at(major), self.peek_at(major + 1));
        if minor == 0 || behind.start != colon.end {
            return None;
        }
        let span = self.span(self.peek()).to(self.span(self.peek_at(major + minor)));
        let text: Rc<str> = self.text(span).into();
        let is_hex = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (first, second) = text.split_once(':')?;
        if !is_hex(first) || !is_hex(second) {
            return None;
        }
        for _ in 0..=major + minor {
            self.bump();
        }
        Some(Expr { kind: ExprKind::Word(text), span })
    }
}

/// `33s-45s`: a word may contain a dash, so this is read as a number and a word.
fn time_range(text: &str, span: Span) -> Option<Expr> {
    let (low, high) = text.split_once('-')?;
    let time = |text| milliseconds(text).map(|time| Box::new(Expr { kind: ExprKind::Time(time), span }));
    Some(Expr { kind: ExprKind::Range(time(low)?, time(high)?), span })
}

/// Milliseconds of a time; `None` when it is none, or longer than 64 bits of them.
pub(in crate::language) fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|at: char| !at.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|at: char| at.is_ascii_digit()).unwrap_or(rest.len());
        let at = units.iter().position(|(unit, _)| *unit == &rest[..length])?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &rest[length..];
    }
    Some(total)
}
