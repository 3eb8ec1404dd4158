//! Text to tokens, cut where nftables' own scanner cuts.
//!
//! A word may contain `/`, `-` and `.` (`echo-request`), so `$port/8` asks for a variable called `port/8`, exactly as
//! in nftables.

use std::net::Ipv6Addr;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword.
    Word,
    /// A name that ends in `*`.
    Wildcard,
    /// Digits, or `0x` and hexadecimal digits.
    Number,
    /// Four numbers with dots.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// Six pairs of hexadecimal digits.
    Mac,
    /// Text in double quotes.
    Text,
    /// Double quotes that are not closed on their line.
    OpenText,
    /// A mark: one of [`MARKS`].
    Mark(Mark),
    /// The end of a line.
    Newline,
    /// A character that starts nothing.
    Stray,
    /// The end of the text.
    End,
}

/// Marks with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is spelled out in MARKS")]
pub enum Mark {
    BraceOpen,
    BraceClose,
    ParenOpen,
    ParenClose,
    BracketOpen,
    BracketClose,
    Comma,
    Semicolon,
    Colon,
    Dot,
    At,
    Dollar,
    Equals,
    EqualsEquals,
    NotEquals,
    Not,
    Less,
    LessEquals,
    Greater,
    GreaterEquals,
    ShiftLeft,
    ShiftRight,
    And,
    Or,
    Xor,
    Slash,
    Plus,
    Minus,
    Star,
}

/// Spelling of the marks, longer ones before those that they start with.
pub const MARKS: &[(&str, Mark)] = &[
    ("<<", Mark::ShiftLeft),
    (">>", Mark::ShiftRight),
    ("==", Mark::EqualsEquals),
    ("!=", Mark::NotEquals),
    ("<=", Mark::LessEquals),
    (">=", Mark::GreaterEquals),
    ("{", Mark::BraceOpen),
    ("}", Mark::BraceClose),
    ("(", Mark::ParenOpen),
    (")", Mark::ParenClose),
    ("[", Mark::BracketOpen),
    ("]", Mark::BracketClose),
    (",", Mark::Comma),
    (";", Mark::Semicolon),
    (":", Mark::Colon),
    (".", Mark::Dot),
    ("@", Mark::At),
    ("$", Mark::Dollar),
    ("=", Mark::Equals),
    ("!", Mark::Not),
    ("<", Mark::Less),
    (">", Mark::Greater),
    ("&", Mark::And),
    ("|", Mark::Or),
    ("^", Mark::Xor),
    ("/", Mark::Slash),
    ("+", Mark::Plus),
    ("-", Mark::Minus),
    ("*", Mark::Star),
];

/// A token, by byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Offset of its first byte.
    pub start: u32,
    /// Offset after its last byte.
    pub end: u32,
}

/// Cuts a text into tokens; the last one is [`Kind::End`].
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { bytes: text.as_bytes(), text, at: 0 };
    let mut tokens = Vec::with_capacity(text.len() / 5);
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let kind = lexer.next();
        tokens.push(Token { kind, start: start as u32, end: lexer.at as u32 });
        if kind == Kind::End {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/')
}

fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(&self, from: usize, accepts: impl Fn(u8) -> bool) -> usize {
        self.bytes[from..].iter().take_while(|byte| accepts(**byte)).count()
    }

    /// Blanks, comments, and line ends after a backslash.
    fn skip_blank(&mut self) {
        loop {
            match self.peek(0) {
                b' ' | b'\t' => self.at += 1,
                b'#' => self.at += self.run(self.at, |byte| byte != b'\n'),
                b'\\' => match self.continuation() {
                    Some(length) => self.at += length,
                    None => return,
                },
                _ => return,
            }
        }
    }

    fn continuation(&self) -> Option<usize> {
        let blanks = self.run(self.at + 1, |byte| matches!(byte, b' ' | b'\t'));
        (self.bytes.get(self.at + 1 + blanks) == Some(&b'\n')).then_some(blanks + 2)
    }

    fn next(&mut self) -> Kind {
        let Some(byte) = self.bytes.get(self.at).copied() else { return Kind::End };
        if byte == b'\n' {
            self.at += 1;
            return Kind::Newline;
        }
        if byte == b'"' {
            return self.quoted();
        }
        if let Some(kind) = self.address(byte) {
            return kind;
        }
        if byte.is_ascii_digit() {
            return self.number();
        }
        if starts_word(byte) || (byte == b'.' && starts_word(self.peek(1))) {
            return self.word();
        }
        self.mark()
    }

    fn quoted(&mut self) -> Kind {
        let length = self.run(self.at + 1, |byte| byte != b'"' && byte != b'\n');
        self.at += 1 + length;
        if self.peek(0) == b'"' {
            self.at += 1;
            Kind::Text
        } else {
            Kind::OpenText
        }
    }

    fn address(&mut self, first: u8) -> Option<Kind> {
        if !is_address_byte(first) || first == b'.' {
            return None;
        }
        // No address is longer than 45 characters: a longer run must not be looked at again and again.
        let window = &self.bytes[self.at..self.bytes.len().min(self.at + 46)];
        let run = window.iter().take_while(|byte| is_address_byte(**byte)).count();
        let text = self.text.get(self.at..self.at + run)?;
        let (kind, length) = ipv6(text).or_else(|| mac(text)).or_else(|| ipv4(text))?;
        self.at += length;
        Some(kind)
    }

    fn number(&mut self) -> Kind {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2 + self.run(self.at + 2, |byte| byte.is_ascii_hexdigit());
        } else {
            self.at += self.run(self.at, |byte| byte.is_ascii_digit());
        }
        Kind::Number
    }

    fn word(&mut self) -> Kind {
        self.at += 1 + self.run(self.at + 1, continues_word);
        if self.peek(0) == b'*' {
            self.at += 1;
            return Kind::Wildcard;
        }
        Kind::Word
    }

    fn mark(&mut self) -> Kind {
        let rest = &self.bytes[self.at..];
        if let Some((spelling, mark)) = MARKS.iter().find(|(spelling, _)| rest.starts_with(spelling.as_bytes())) {
            self.at += spelling.len();
            return Kind::Mark(*mark);
        }
        self.at += self.text.get(self.at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        Kind::Stray
    }
}

fn ipv6(text: &str) -> Option<(Kind, usize)> {
    if text.bytes().filter(|byte| *byte == b':').count() < 2 {
        return None;
    }
    let shorter = text.trim_end_matches('.');
    let candidates = [shorter, shorter.strip_suffix(':').unwrap_or(shorter)];
    candidates.iter().find(|text| text.parse::<Ipv6Addr>().is_ok()).map(|text| (Kind::Ipv6, text.len()))
}

fn mac(text: &str) -> Option<(Kind, usize)> {
    let pairs = text.split(':').take_while(|pair| (1..=2).contains(&pair.len()) && !pair.contains('.')).count();
    (pairs == 6 && text.split(':').count() == 6).then_some((Kind::Mac, text.len()))
}

fn ipv4(text: &str) -> Option<(Kind, usize)> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let mut end = 0;
    for (index, part) in text[..length].split('.').take(4).enumerate() {
        if part.is_empty() || part.len() > 3 {
            return None;
        }
        end += part.len() + usize::from(index > 0);
        if index == 3 {
            return Some((Kind::Ipv4, end));
        }
    }
    None
}
