//! Values as written to values of a type.

use super::{Checked, Checker};
use crate::language::{
    ast::{Binary, Expr, ExprKind},
    clock,
    diagnostic::Diagnostic,
    names,
    parser::milliseconds,
    ruleset::{Form, Values},
    source::Span,
    types::{self, Type},
};

/// Set elements of a whole ruleset. Variables can be used again and again: a small text could ask for any number.
const MAX_ELEMENTS: usize = 16 << 20;
/// Bytes of an interface name (`IFNAMSIZ` less its terminating zero).
const MAX_INTERFACE_NAME: usize = 15;
/// Saturday.
const LAST_DAY: u128 = 6;

/// How many elements may still come.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_ELEMENTS)
    }
}

impl Budget {
    pub(super) fn spend(&mut self, elements: usize, span: Span) -> Checked<()> {
        let Some(left) = self.0.checked_sub(elements) else {
            return Err(Diagnostic::error(span, format!("more than {MAX_ELEMENTS} set elements in all")));
        };
        self.0 = left;
        Ok(())
    }
}

impl Checker<'_> {
    /// A value, prefix or range.
    pub(super) fn values(&mut self, expr: &Expr, ty: Type) -> Checked<Values> {
        match &expr.kind {
            ExprKind::Variable(variable) => self.values(&variable.value, ty),
            ExprKind::Prefix(base, length) => self.prefix(base, *length, ty, expr.span),
            ExprKind::Range(low, high) => self.range(low, high, ty, expr.span),
            ExprKind::Word(text) | ExprKind::Text(text) if ty == Type::IfName => interface_pattern(text, expr.span),
            ExprKind::Word(_)
            | ExprKind::Text(_)
            | ExprKind::Number(_)
            | ExprKind::Ipv4(_)
            | ExprKind::Ipv6(_)
            | ExprKind::Mac(_)
            | ExprKind::Time(_)
            | ExprKind::List(_)
            | ExprKind::Concat(_)
            | ExprKind::Binary(..)
            | ExprKind::Set(_)
            | ExprKind::Named(_)
            | ExprKind::Selector(_)
            | ExprKind::Map(..)
            | ExprKind::Any => self.single(expr, ty).map(Values::single),
        }
    }

    fn prefix(&mut self, base: &Expr, length: u128, ty: Type, span: Span) -> Checked<Values> {
        if ty.is_flags() || ty == Type::IfName || ty == Type::IfIndex {
            return Err(mismatch(ty, "a prefix", span));
        }
        if ty.is_bit_field() {
            let message = format!("{} here is less than whole bytes: it has no prefixes", ty.meaning());
            return Err(Diagnostic::error(span, message).help("write a range: `8-15`"));
        }
        let value = self.single(base, ty)?;
        let bits = ty.bits();
        if length > u128::from(bits) {
            let message = format!("{} has {bits} bits: a prefix of {length} is too long", ty.meaning());
            return Err(Diagnostic::error(span, message));
        }
        let host = (ty.max() >> (length as u32).min(127)) & if length == 128 { 0 } else { u128::MAX };
        let form = if length == u128::from(bits) { Form::Single } else { Form::Prefix(length as u8) };
        let host = if length == u128::from(bits) { 0 } else { host };
        Ok(Values { low: value & !host, high: value | host, form })
    }

    fn range(&mut self, low: &Expr, high: &Expr, ty: Type, span: Span) -> Checked<Values> {
        if ty.is_flags() || ty == Type::IfName || ty == Type::Boolean {
            return Err(mismatch(ty, "a range", span));
        }
        let (low, high) = (self.single(low, ty)?, self.single(high, ty)?);
        if low > high && ty == Type::Hour {
            return Err(
                Diagnostic::error(span, "a time over midnight stands alone, not in a set").help("write two ranges")
            );
        }
        if low > high {
            let error = Diagnostic::error(span, "this range ends before it starts");
            return Err(error.help("write the lower end first"));
        }
        Ok(Values { low, high, form: Form::Range })
    }

    /// One value.
    pub(super) fn single(&mut self, expr: &Expr, ty: Type) -> Checked<u128> {
        match &expr.kind {
            ExprKind::Variable(variable) => self.single(&variable.value, ty),
            ExprKind::Number(number) => self.number(*number, ty, expr.span),
            ExprKind::Word(text) => self.named(text, ty, expr.span),
            ExprKind::Text(text) => self.quoted(text, ty, expr.span),
            ExprKind::Ipv4(address) if ty == Type::Ipv4Addr => Ok(u128::from(address.to_bits())),
            ExprKind::Ipv6(address) if ty == Type::Ipv6Addr => Ok(address.to_bits()),
            ExprKind::Mac(address) if ty == Type::EtherAddr => Ok(u128::from(*address)),
            ExprKind::List(values) => self.flags(values, ty, expr.span),
            ExprKind::Binary(operator, left, right) => self.binary(*operator, left, right, ty),
            ExprKind::Ipv4(_) => Err(mismatch(ty, "an IPv4 address", expr.span)),
            ExprKind::Ipv6(_) => Err(mismatch(ty, "an IPv6 address", expr.span)),
            ExprKind::Mac(_) => Err(mismatch(ty, "a hardware address", expr.span)),
            ExprKind::Time(time) if ty == Type::Time => in_range(u128::from(*time), ty, expr.span),
            ExprKind::Time(_) => Err(mismatch(ty, "a time", expr.span)),
            ExprKind::Range(..) => Err(mismatch(ty, "a range", expr.span)),
            ExprKind::Prefix(..) => Err(mismatch(ty, "a prefix", expr.span)),
            ExprKind::Concat(_) => Err(mismatch(ty, "a concatenation", expr.span)),
            ExprKind::Set(_) => Err(mismatch(ty, "a set", expr.span)),
            ExprKind::Named(_) => Err(mismatch(ty, "a named set", expr.span)),
            ExprKind::Any => Err(mismatch(ty, "`*`", expr.span)),
            ExprKind::Selector(_) | ExprKind::Map(..) => Err(mismatch(ty, "what the packet has", expr.span)),
        }
    }

    fn number(&mut self, number: u128, ty: Type, span: Span) -> Checked<u128> {
        match ty {
            Type::Ipv6Addr => Err(mismatch(ty, "a number", span)),
            Type::IfName => {
                let text = self.diagnostics.sources.text(span).to_owned();
                interface_pattern(&text, span).map(|values| values.low)
            }
            // Without a unit these are seconds.
            Type::Time => in_range(number.saturating_mul(1000), ty, span),
            Type::Date => in_range(number.saturating_mul(1_000_000_000), ty, span),
            Type::Hour => hour(number, span),
            Type::Day if number > LAST_DAY => {
                Err(Diagnostic::error(span, "a week has days 0 to 6").help("0 is Sunday, 6 is Saturday"))
            }
            _ => in_range(number, ty, span),
        }
    }

    fn quoted(&mut self, text: &str, ty: Type, span: Span) -> Checked<u128> {
        match ty {
            Type::Ipv4Addr => match text.parse::<std::net::Ipv4Addr>() {
                Ok(address) => Ok(u128::from(address.to_bits())),
                Err(_) => Err(mismatch(ty, &format!("\"{text}\""), span)),
            },
            Type::Ipv6Addr => match text.parse::<std::net::Ipv6Addr>() {
                Ok(address) => Ok(address.to_bits()),
                Err(_) => Err(mismatch(ty, &format!("\"{text}\""), span)),
            },
            Type::Hour => clock::hour(text).map(u128::from).ok_or_else(|| mismatch(ty, &format!("\"{text}\""), span)),
            Type::Time => match quoted_time(text) {
                Some(time) => in_range(time, ty, span),
                None => Err(mismatch(ty, &format!("\"{text}\""), span)),
            },
            Type::Date => clock::date(text).map(u128::from).ok_or_else(|| mismatch(ty, &format!("\"{text}\""), span)),
            _ => self.named(text, ty, span),
        }
    }

    fn named(&mut self, text: &str, ty: Type, span: Span) -> Checked<u128> {
        match ty {
            Type::IfName => interface_pattern(text, span).and_then(|values| match values.form {
                Form::Single => Ok(values.low),
                Form::Prefix(_) | Form::Range => Err(mismatch(ty, "a name with `*`", span)),
            }),
            Type::IfIndex => self.interface(text, span),
            Type::ClassId => class(text, span),
            Type::Hour if clock::hour(text).is_some() => self.quoted(text, ty, span),
            Type::Ipv4Addr | Type::Ipv6Addr => {
                let error = mismatch(ty, &format!("`{text}`"), span);
                Err(error.help("host names are not looked up: what they stand for can change"))
            }
            _ => match names::number(ty.names(), text) {
                Some(number) => Ok(u128::from(number)),
                None => Err(unknown_name(text, ty, span)),
            },
        }
    }

    fn interface(&mut self, name: &str, span: Span) -> Checked<u128> {
        let Some(index) = (self.interfaces)(name) else {
            let error = Diagnostic::error(span, format!("there is no interface `{name}`"));
            return Err(error.help("`iifname` and `oifname` match by name, and so also an interface that comes later"));
        };
        self.found.insert(index, name.to_owned());
        Ok(u128::from(index))
    }

    /// `syn, ack`: several bits.
    fn flags(&mut self, values: &[Expr], ty: Type, span: Span) -> Checked<u128> {
        if !ty.is_flags() {
            let error = mismatch(ty, "several values", span);
            return Err(error.help("a set matches any of its elements: `{ a, b }`"));
        }
        let mut bits = 0;
        for value in values {
            bits |= self.single(value, ty)?;
        }
        Ok(bits)
    }

    fn binary(&mut self, operator: Binary, left: &Expr, right: &Expr, ty: Type) -> Checked<u128> {
        let (a, b) = (self.single(left, ty)?, self.single(right, ty)?);
        let value = match operator {
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Xor => a ^ b,
            Binary::ShiftLeft => a.checked_shl(b.min(128) as u32).unwrap_or(0),
            Binary::ShiftRight => a.checked_shr(b.min(128) as u32).unwrap_or(0),
        };
        in_range(value, ty, left.span.to(right.span))
    }
}

/// `"1h30m"`, or seconds without a unit; in milliseconds.
fn quoted_time(text: &str) -> Option<u128> {
    let seconds = || text.parse::<u64>().ok().map(|seconds| u128::from(seconds) * 1000);
    milliseconds(text).map(u128::from).or_else(seconds)
}

/// A traffic class: `1:2`, `none`, `root`.
fn class(text: &str, span: Span) -> Checked<u128> {
    let number = |digits| u128::from_str_radix(digits, 16).ok();
    let value = match (text, text.split_once(':')) {
        ("none", _) => Some(0),
        ("root", _) => Some(types::CLASS_ROOT),
        (_, Some((major, minor))) => number(major).zip(number(minor)).map(|(major, minor)| major << 16 | minor),
        _ => None,
    };
    value.ok_or_else(|| {
        mismatch(Type::ClassId, &format!("`{text}`"), span)
            .help("write two hexadecimal numbers: `1:a`, or `none`, `root`")
    })
}

/// Seconds since midnight, UTC.
fn hour(number: u128, span: Span) -> Checked<u128> {
    let day = i64::from(clock::DAY);
    match i64::try_from(number) {
        Ok(seconds) if seconds < day => Ok((seconds + clock::offset_now()).rem_euclid(day) as u128),
        Ok(_) | Err(_) => Err(Diagnostic::error(span, "a day has 86400 seconds")),
    }
}

pub(super) fn in_range(number: u128, ty: Type, span: Span) -> Checked<u128> {
    if number <= ty.max() {
        return Ok(number);
    }
    let message = format!("{number} is out of range: {} goes from 0 to {}", ty.meaning(), ty.max());
    Err(Diagnostic::error(span, message))
}

pub(super) fn mismatch(ty: Type, found: &str, span: Span) -> Diagnostic {
    Diagnostic::error(span, format!("expected {}, found {found}", ty.meaning()))
}

fn unknown_name(text: &str, ty: Type, span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, format!("`{text}` is not the name of {}", ty.meaning()));
    if let Some((low, high)) = text.split_once('-') {
        let both = [low, high].iter().all(|part| names::number(ty.names(), part).is_some());
        if both {
            return error.help(format!("a range of names needs blanks: `{low} - {high}`"));
        }
    }
    let near = names::nearest(text, ty.names().iter().map(|(name, _)| *name));
    match near {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if ty.names().is_empty() => error,
        None if ty.names().len() > 20 => error.help("a number always works"),
        None => {
            let known = ty.names().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            error.help(format!("known names: {known}"))
        }
    }
}

/// An interface name; with `*` at its end all that start so.
fn interface_pattern(text: &str, span: Span) -> Checked<Values> {
    let refuse = |message: &str| Err(Diagnostic::error(span, message));
    let (stem, wild) = match text.strip_suffix('*') {
        Some(stem) => match stem.strip_suffix('\\') {
            // An escaped star is a star.
            Some(literal) => (format!("{literal}*"), false),
            None => (stem.to_owned(), true),
        },
        None => (text.to_owned(), false),
    };
    if stem.is_empty() {
        let message =
            if wild { "`*` alone matches every name: leave the match out" } else { "an empty interface name" };
        return refuse(message);
    }
    if stem.len() + usize::from(wild) > MAX_INTERFACE_NAME {
        return refuse("an interface name has at most 15 bytes, its `*` included");
    }
    let low = types::interface_value(&stem);
    if !wild {
        return Ok(Values::single(low));
    }
    let bits = stem.len() as u8 * 8;
    Ok(Values { low, high: low | (u128::MAX >> bits), form: Form::Prefix(bits) })
}
