//! Carries out the [forms](super::forms): members of a JSON object into the places of a text.

use super::{
    Made, Translator,
    forms::{Form, Shape},
    leaf,
    value::{Kind, Member, Node},
};
use crate::language::{diagnostic::Diagnostic, names, source::Span};

/// A piece of a form.
enum Piece<'f> {
    Text(&'f str),
    Open,
    Close,
    /// A member, and how it is written.
    Member(&'f str, How<'f>),
}

/// How a member is written.
#[derive(Clone, Copy)]
enum How<'f> {
    /// As the modifier behind `:` says; empty for a plain value.
    As(&'f str),
    /// This word, when it is `true`.
    Flag(&'f str),
    /// Not at all: it must be this word.
    Must(&'f str),
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-')
}

/// The pieces of a form.
fn pieces(form: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = form;
    std::iter::from_fn(move || {
        let piece = match rest.bytes().next()? {
            b'[' => (Piece::Open, 1),
            b']' => (Piece::Close, 1),
            b'$' => member(rest),
            _ => {
                let length = rest.find(['[', ']', '$']).unwrap_or(rest.len());
                (Piece::Text(&rest[..length]), length)
            }
        };
        rest = &rest[piece.1..];
        Some(piece.0)
    })
}

fn run(text: &str) -> usize {
    text.bytes().take_while(|byte| is_name(*byte)).count()
}

fn member(text: &str) -> (Piece<'_>, usize) {
    let end = 1 + run(&text[1..]);
    let (name, behind) = (&text[1..end], &text[end..]);
    let sign = behind.bytes().next().unwrap_or(b' ');
    let length = match behind.as_bytes() {
        [b':', b',' | b'.', ..] => 1,
        [b':' | b'?' | b'=', ..] => run(&behind[1..]),
        _ => 0,
    };
    if length == 0 {
        return (Piece::Member(name, How::As("")), end);
    }
    let word = &behind[1..=length];
    let how = match sign {
        b'?' => How::Flag(word),
        b'=' => How::Must(word),
        _ => How::As(word),
    };
    (Piece::Member(name, how), end + 1 + length)
}

fn find<'n>(members: &'n [Member], name: &str) -> Option<&'n Node> {
    let member = members.iter().find(|member| &*member.name == name)?;
    (!matches!(member.value.kind, Kind::Null)).then_some(&member.value)
}

/// What of an object does not fit a form, if anything.
fn misfit(form: &str, members: &[Member], ignored: &[&str], whole: Span) -> Option<Diagnostic> {
    let mut optional = false;
    let mut known = Vec::new();
    for piece in pieces(form) {
        match piece {
            Piece::Text(_) => {}
            Piece::Open => optional = true,
            Piece::Close => optional = false,
            Piece::Member(name, how) => {
                known.push(name);
                let there = find(members, name);
                match (how, there) {
                    (How::Must(word), Some(node)) if node.text() != Some(word) => {
                        return Some(Diagnostic::error(node.span, format!("expected \"{word}\" for `{name}`")));
                    }
                    (How::As(_), None) if !optional => {
                        return Some(Diagnostic::error(whole, format!("`{name}` is missing in this object")));
                    }
                    (How::As(_) | How::Flag(_) | How::Must(_), _) => {}
                }
            }
        }
    }
    let strange = members.iter().find(|member| {
        let name = &&*member.name;
        !matches!(member.value.kind, Kind::Null) && !known.contains(name) && !ignored.contains(name)
    })?;
    let error =
        Diagnostic::error(strange.span, format!("unknown member `{}` in this object", leaf::shown(&strange.name)));
    Some(match names::nearest(&strange.name, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("known: {}", known.join(", "))),
    })
}

/// The shape of a value.
fn shape(node: &Node) -> Shape {
    match &node.kind {
        Kind::Null => Shape::Null,
        Kind::Object(_) => Shape::Object,
        Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Array(_) => Shape::Value,
    }
}

impl Translator {
    /// Writes the first form of this name that fits; `None` when there is no form of this name.
    pub(super) fn by_form(&mut self, forms: &'static [Form], object: &Member, ignored: &[&str]) -> Option<Made<()>> {
        let Member { name, span, value } = object;
        let named = || forms.iter().filter(|form| form.0 == &**name);
        named().next()?;
        let mut complaint = None;
        for (_, wanted, form) in named().filter(|form| form.1 == shape(value)) {
            let members = value.members().unwrap_or_default();
            let misfit = if *wanted == Shape::Object { misfit(form, members, ignored, value.span) } else { None };
            match misfit {
                None => return Some(self.fill(form, value, *span)),
                Some(diagnostic) => complaint = complaint.or(Some(diagnostic)),
            }
        }
        // A name may come out of a map: `{"counter": {"map": ..}}`.
        let from_map = value.only().is_some_and(|only| &*only.name == "map");
        if let Some((_, _, form)) = named().find(|form| from_map && form.1 == Shape::Value) {
            return Some(self.fill(form, value, *span));
        }
        let wrong = || Diagnostic::error(value.span, format!("`{name}` cannot be {}", value.what()));
        Some(Err(complaint.unwrap_or_else(wrong)))
    }

    fn fill(&mut self, form: &str, value: &Node, from: Span) -> Made<()> {
        let members = value.members().unwrap_or_default();
        let mut left_out = false;
        let mut group: Vec<Piece<'_>> = Vec::new();
        let mut in_group = false;
        for piece in pieces(form) {
            match piece {
                Piece::Open => {
                    (in_group, left_out) = (true, false);
                    group.clear();
                }
                Piece::Close => {
                    in_group = false;
                    if !left_out {
                        for piece in group.drain(..) {
                            self.piece(&piece, members, value, from)?;
                        }
                    }
                }
                piece if in_group => {
                    left_out |= is_left_out(&piece, members);
                    group.push(piece);
                }
                piece => self.piece(&piece, members, value, from)?,
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece<'_>, members: &[Member], value: &Node, from: Span) -> Made<()> {
        match piece {
            Piece::Text(text) => self.out.glued(text, from),
            Piece::Member(_, How::Flag(word)) => self.out.glued(word, from),
            Piece::Member(_, How::Must(_)) | Piece::Open | Piece::Close => {}
            Piece::Member("", How::As(_)) => return self.named_value(value),
            Piece::Member(name, How::As(how)) => {
                if let Some(node) = find(members, name) {
                    return self.written(node, how, name);
                }
            }
        }
        Ok(())
    }

    /// The value itself: the name of an object in quotes, or an expression.
    fn named_value(&mut self, value: &Node) -> Made<()> {
        match value.text() {
            Some(text) => leaf::quoted(&mut self.out, text, value.span),
            None => self.expression(value),
        }
    }

    /// A member, written as its modifier says.
    fn written(&mut self, node: &Node, how: &str, name: &str) -> Made<()> {
        match how {
            "" => self.expression(node),
            "q" => leaf::quoted(&mut self.out, leaf::text(node, name)?, node.span),
            "n" => leaf::name(&mut self.out, node, name),
            "w" => leaf::words(&mut self.out, node, name, " "),
            "," => leaf::words(&mut self.out, node, name, ","),
            "." => leaf::words(&mut self.out, node, name, " . "),
            "s" => self.time(node, name, "s"),
            "ms" => self.time(node, name, "ms"),
            "host" => self.host(node),
            "log" => leaf::log_flags(&mut self.out, node),
            "prefix" => leaf::nat_type(&mut self.out, node),
            "nat" => leaf::nat_flags(&mut self.out, node),
            "dev" => leaf::device(&mut self.out, node),
            "devices" => leaf::devices(&mut self.out, node),
            "do" => self.statement_or_statements(node),
            "state" => self.state(node, name),
            "key" => self.set_key(node, name == "type"),
            "elements" => self.elements(node),
            "policy" => self.timeout_policy(node),
            _ => unreachable!("a modifier that no form has: {how}"),
        }
    }

    fn time(&mut self, node: &Node, name: &str, unit: &str) -> Made<()> {
        match &node.kind {
            Kind::Number(digits) => self.out.glued(&format!("{digits}{unit}"), node.span),
            // `"last": {"used": "never"}`
            Kind::Text(_) => return leaf::words(&mut self.out, node, name, " "),
            Kind::Null | Kind::Bool(_) | Kind::Array(_) | Kind::Object(_) => {
                return Err(Diagnostic::error(node.span, format!("`{name}` is a number of seconds")));
            }
        }
        Ok(())
    }

    fn host(&mut self, node: &Node) -> Made<()> {
        let is_ipv6 = node.text().is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if is_ipv6 {
            self.out.glued("[", node.span);
        }
        self.expression(node)?;
        if is_ipv6 {
            self.out.glued("]", node.span);
        }
        Ok(())
    }
}

/// Does this piece make its group be left out?
fn is_left_out(piece: &Piece<'_>, members: &[Member]) -> bool {
    match piece {
        Piece::Text(_) | Piece::Open | Piece::Close => false,
        Piece::Member(name, How::Flag(_)) => !matches!(find(members, name), Some(Node { kind: Kind::Bool(true), .. })),
        Piece::Member(name, How::As(_) | How::Must(_)) => find(members, name).is_none(),
    }
}

/// Every modifier of every form is one that `written` knows; groups are closed and not nested.
#[cfg(test)]
pub(super) fn check_forms() {
    use super::forms::{EXPRESSIONS, OBJECTS, STATEMENTS};
    const KNOWN: &[&str] = &[
        "", "q", "n", "w", ",", ".", "s", "ms", "host", "log", "prefix", "nat", "dev", "devices", "do", "state", "key",
        "elements", "policy",
    ];
    for (name, _, form) in EXPRESSIONS.iter().chain(STATEMENTS).chain(OBJECTS) {
        let mut open = false;
        for piece in pieces(form) {
            match piece {
                Piece::Open => assert!(!std::mem::replace(&mut open, true), "{name}: {form}"),
                Piece::Close => assert!(std::mem::replace(&mut open, false), "{name}: {form}"),
                Piece::Member(_, How::As(how)) => assert!(KNOWN.contains(&how), "{name}: {how}"),
                Piece::Member(..) | Piece::Text(_) => {}
            }
        }
        assert!(!open, "{name}: {form}");
    }
}
