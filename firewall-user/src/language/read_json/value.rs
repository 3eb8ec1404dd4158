//! JSON with the place of every value: messages point at the byte that is wrong.

use std::rc::Rc;

use crate::language::{diagnostic::Diagnostic, source::Span};

/// Arrays and objects inside one another. What nft prints is about ten deep.
const MAX_DEPTH: usize = 64;
/// Members of one object. No object that nft prints has twenty.
const MAX_MEMBERS: usize = 256;
/// Values in one document.
const MAX_VALUES: usize = 16 << 20;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// The kinds of values. A number is kept as it was written.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Rc<str>),
    Text(Rc<str>),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A name and its value.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: Rc<str>,
    pub(super) span: Span,
    pub(super) value: Node,
}

impl Node {
    /// What it is, for messages.
    pub(super) const fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "`null`",
            Kind::Bool(_) => "`true` or `false`",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::Array(_) => "an array",
            Kind::Object(_) => "an object",
        }
    }

    pub(super) fn members(&self) -> Option<&[Member]> {
        if let Kind::Object(members) = &self.kind { Some(members) } else { None }
    }

    pub(super) fn items(&self) -> Option<&[Node]> {
        if let Kind::Array(items) = &self.kind { Some(items) } else { None }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|member| &*member.name == name).map(|member| &member.value)
    }

    /// The one member of an object that has one: `{"match": ..}`.
    pub(super) fn only(&self) -> Option<&Member> {
        match self.members()? {
            [only] => Some(only),
            _ => None,
        }
    }

    /// How one gets from here to the value at a byte: `.nftables[3].rule`.
    pub(super) fn path_to(&self, offset: u32) -> String {
        let mut path = String::new();
        let mut at = self;
        while let Some((step, inner)) = at.step_to(offset) {
            path.push_str(&step);
            at = inner;
        }
        path
    }

    fn step_to(&self, offset: u32) -> Option<(String, &Self)> {
        let within = |from: u32, span: Span| (from..span.end.max(from + 1)).contains(&offset);
        match &self.kind {
            Kind::Array(items) => {
                let (at, item) = items.iter().enumerate().find(|(_, item)| within(item.span.start, item.span))?;
                Some((format!("[{at}]"), item))
            }
            Kind::Object(members) => {
                let member = members.iter().find(|member| within(member.span.start, member.value.span))?;
                Some((format!(".{}", member.name), &member.value))
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
        }
    }
}

/// Reads a document: one value and nothing behind it.
pub(super) fn read(text: &str, source: u32) -> Result<Node, Diagnostic> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, source, depth: 0, values: 0 };
    let value = reader.value()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.wrong("something behind the end of the JSON document"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    source: u32,
    depth: usize,
    values: usize,
}

type Read<T> = Result<T, Diagnostic>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn span(&self, start: usize) -> Span {
        Span { source: self.source, start: start as u32, end: self.at as u32 }
    }

    /// A message about the next character.
    fn wrong(&self, message: impl Into<String>) -> Diagnostic {
        let length = self.text.get(self.at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let span = Span { source: self.source, start: self.at as u32, end: (self.at + length) as u32 };
        Diagnostic::error(span, message)
    }

    fn unexpected(&self, expected: &str) -> Diagnostic {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "the end of the document".to_owned(),
            Some(found) if found.is_control() => "a control character".to_owned(),
            Some(found) => format!("`{found}`"),
        };
        self.wrong(format!("expected {expected}, found {found}: this is no JSON"))
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn value(&mut self) -> Read<Node> {
        self.blanks();
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.wrong(format!("more than {MAX_VALUES} values in one document")));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { kind, span: self.span(start) })
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Read<Kind>) -> Read<Kind> {
        if self.depth == MAX_DEPTH {
            return Err(self.wrong(format!("more than {MAX_DEPTH} arrays and objects inside one another")));
        }
        self.depth += 1;
        self.at += 1;
        let kind = inside(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn array(&mut self) -> Read<Kind> {
        let mut items = Vec::new();
        self.blanks();
        if self.take(b']') {
            return Ok(Kind::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            if self.take(b']') {
                return Ok(Kind::Array(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]` in the array"));
            }
        }
    }

    fn object(&mut self) -> Read<Kind> {
        let mut members: Vec<Member> = Vec::new();
        self.blanks();
        if self.take(b'}') {
            return Ok(Kind::Object(members));
        }
        loop {
            let member = self.member()?;
            if members.iter().any(|known| known.name == member.name) {
                return Err(Diagnostic::error(member.span, format!("a second `{}` in this object", member.name)));
            }
            if members.len() == MAX_MEMBERS {
                return Err(Diagnostic::error(member.span, format!("more than {MAX_MEMBERS} members in one object")));
            }
            members.push(member);
            self.blanks();
            if self.take(b'}') {
                return Ok(Kind::Object(members));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}` in the object"));
            }
        }
    }

    fn member(&mut self) -> Read<Member> {
        self.blanks();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a name in quotes"));
        }
        let name = self.string()?;
        let span = self.span(start);
        self.blanks();
        if !self.take(b':') {
            return Err(self.unexpected("`:` after the name"));
        }
        Ok(Member { name, span, value: self.value()? })
    }

    fn number(&mut self) -> Read<Kind> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || (digits.len() > 1 && digits.starts_with('0')) {
            let message = format!("`{}` is not a whole number", super::shorten(text));
            return Err(Diagnostic::error(self.span(start), message));
        }
        Ok(Kind::Number(text.into()))
    }

    fn word(&mut self) -> Read<Kind> {
        let start = self.at;
        while matches!(self.peek(), Some(b'a'..=b'z')) {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            other => {
                let message = format!("`{}` is not JSON: a text needs quotes", super::shorten(other));
                Err(Diagnostic::error(self.span(start), message))
            }
        }
    }

    fn string(&mut self) -> Read<Rc<str>> {
        let start = self.at;
        self.at += 1;
        let from = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let run = self.bytes[self.at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
            let text = &self.text[self.at..self.at + run];
            if let Some(out) = &mut unescaped {
                out.push_str(text);
            }
            self.at += run;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(unescaped.map_or_else(|| self.text[from..self.at - 1].into(), Rc::from));
                }
                Some(b'\\') => {
                    let before = &self.text[from..self.at];
                    let mut out = unescaped.take().unwrap_or_else(|| before.to_owned());
                    out.push(self.escape()?);
                    unescaped = Some(out);
                }
                Some(_) => return Err(self.wrong("a control character in a string")),
                None => {
                    return Err(Diagnostic::error(
                        Span { end: start as u32 + 1, ..self.span(start) },
                        "this string is not closed",
                    ));
                }
            }
        }
    }

    /// The character that a `\` and what follows it stand for.
    fn escape(&mut self) -> Read<char> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        let plain = match letter {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(byte @ (b'"' | b'\\' | b'/')) => byte as char,
            Some(b'u') => return self.unicode(start),
            _ => return Err(self.bad_escape(start)),
        };
        Ok(plain)
    }

    fn unicode(&mut self, start: usize) -> Read<char> {
        let high = self.four_digits(start)?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).filter(|found| *found != '\0').ok_or_else(|| self.bad_escape(start));
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return Err(self.bad_escape(start));
        }
        let low = self.four_digits(start)?;
        let both = (0xdc00..0xe000).contains(&low).then(|| 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        both.and_then(char::from_u32).ok_or_else(|| self.bad_escape(start))
    }

    fn four_digits(&mut self, start: usize) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(value) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return Err(self.bad_escape(start));
        };
        self.at += 4;
        Ok(value)
    }

    fn bad_escape(&self, start: usize) -> Diagnostic {
        let span = Span { source: self.source, start: start as u32, end: start as u32 + 1 };
        Diagnostic::error(span, "this `\\` starts no character that JSON has")
    }
}
