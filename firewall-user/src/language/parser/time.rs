//! Times: `1d2h3m4s5ms`.

use super::{Parsed, Parser, shorten};
use crate::language::{ast::Time, diagnostic::Diagnostic, lexer::Kind};

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
}

/// Milliseconds of a time; `None` when it is none, or longer than 64 bits of them.
fn milliseconds(text: &str) -> Option<u64> {
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
