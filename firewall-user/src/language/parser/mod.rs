//! Tokens to the syntax tree. One file a concern; all of them are methods of [`Parser`].
//!
//! Errors do not end the parse: the parser goes on behind the next `;`, line end or `}`, so one run reports what is
//! wrong in many rules. Variables are replaced where they are used, as nftables does, so their order matters.

mod chain;
mod command;
mod data;
mod expression;
mod flowtable;
mod generated;
mod hints;
mod include;
mod log;
mod nat;
mod object;
mod operators;
mod reading;
mod rule;
mod scope;
mod selector;
mod set;
mod stateful;
mod statement;
mod table;
mod time;
mod unsupported;
mod update;

pub(super) use self::{time::milliseconds, update::DYNAMIC_SIZE};

use std::{path::PathBuf, rc::Rc};

use self::scope::Scopes;
use super::{
    ast::{Command, Spanned},
    diagnostic::{Diagnostic, Diagnostics},
    lexer::{self, Kind, Mark, Token},
    source::Span,
};

/// What a parsing function gives: its part of the tree, or the message that stands for it.
type Parsed<T> = Result<T, Diagnostic>;

/// Tokens of one text, and how far they are read.
struct Frame {
    source: u32,
    tokens: Vec<Token>,
    at: usize,
}

/// The parser.
pub(super) struct Parser<'a> {
    diagnostics: &'a mut Diagnostics,
    include_directories: &'a [PathBuf],
    /// The text being read, on top of those that include it.
    frames: Vec<Frame>,
    /// Braces open at this point.
    depth: usize,
    /// Expressions being parsed inside one another.
    nesting: usize,
    /// May a selector stand where a value does?
    selectors: bool,
    scopes: Scopes,
}

/// Parses source `number` of the diagnostics, and what it includes.
pub(super) fn parse(diagnostics: &mut Diagnostics, number: u32, include_directories: &[PathBuf]) -> Vec<Command> {
    let scopes = Scopes::default();
    let mut parser =
        Parser { diagnostics, include_directories, frames: Vec::new(), depth: 0, nesting: 0, selectors: false, scopes };
    parser.open(number);
    parser.commands()
}

impl Parser<'_> {
    /// Goes on with another text; the present one waits.
    fn open(&mut self, source: u32) {
        let mut tokens =
            self.diagnostics.sources.get(source).map_or_else(Vec::new, |source| lexer::tokens(&source.text));
        if let Some(end) = tokens.last().copied().filter(|_| !self.frames.is_empty()) {
            // The last word of an included text ends there, with or without a line end.
            tokens.insert(tokens.len() - 1, Token { kind: Kind::Newline, ..end });
        }
        self.frames.push(Frame { source, tokens, at: 0 });
        self.leave_finished();
    }

    /// Goes back to the including text when the included one is read.
    fn leave_finished(&mut self) {
        while self.frames.len() > 1 && self.peek().kind == Kind::End {
            self.frames.pop();
        }
    }

    fn peek(&self) -> Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Token {
        let end = Token { kind: Kind::End, start: 0, end: 0 };
        let Some(frame) = self.frames.last() else { return end };
        frame.tokens.get(frame.at + ahead).or(frame.tokens.last()).copied().unwrap_or(end)
    }

    fn bump(&mut self) -> Span {
        let token = self.peek();
        let span = self.span(token);
        match token.kind {
            Kind::End => return span,
            Kind::Mark(Mark::BraceOpen) => self.depth += 1,
            Kind::Mark(Mark::BraceClose) => self.depth = self.depth.saturating_sub(1),
            Kind::Word
            | Kind::Wildcard
            | Kind::Number
            | Kind::Ipv4
            | Kind::Ipv6
            | Kind::Mac
            | Kind::Text
            | Kind::OpenText
            | Kind::Mark(_)
            | Kind::Newline
            | Kind::Stray => {}
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.at += 1;
        }
        self.leave_finished();
        span
    }

    fn span(&self, token: Token) -> Span {
        let source = self.frames.last().map_or(0, |frame| frame.source);
        Span { source, start: token.start, end: token.end }
    }

    /// Where the next token is. A line end is shown as the place behind the last word.
    fn here(&self) -> Span {
        let token = self.peek();
        let span = self.span(token);
        if token.kind == Kind::Newline { Span { end: span.start, ..span } } else { span }
    }

    fn text(&self, span: Span) -> &str {
        self.diagnostics.sources.text(span)
    }

    /// The next token's text when it is a word.
    fn word(&self) -> Option<&str> {
        self.word_at(0)
    }

    fn word_at(&self, ahead: usize) -> Option<&str> {
        let token = self.peek_at(ahead);
        (token.kind == Kind::Word).then(|| self.text(self.span(token)))
    }

    fn at_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    fn take_word(&mut self, word: &str) -> Option<Span> {
        self.at_word(word).then(|| self.bump())
    }

    fn at_mark(&self, mark: Mark) -> bool {
        self.peek().kind == Kind::Mark(mark)
    }

    fn take_mark(&mut self, mark: Mark) -> Option<Span> {
        self.at_mark(mark).then(|| self.bump())
    }

    fn expect_mark(&mut self, mark: Mark, what: &str) -> Parsed<Span> {
        self.take_mark(mark).ok_or_else(|| self.unexpected(what))
    }

    fn spanned(&mut self) -> Spanned {
        let span = self.here();
        self.bump();
        Spanned { text: Rc::from(self.text(span)), span }
    }

    /// A message that the next token is not what should stand here.
    fn unexpected(&self, expected: &str) -> Diagnostic {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the file".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            Kind::OpenText => "a text whose quotes are not closed on its line".to_owned(),
            Kind::Stray if self.text(self.span(token)) == "\\" => "a backslash that does not end its line".to_owned(),
            Kind::Stray if self.text(self.span(token)) == "\r" => {
                let error = Diagnostic::error(self.here(), "a carriage return: this file has the line ends of Windows");
                return error.help("`sed -i 's/\\r$//' FILE` makes them plain");
            }
            Kind::Word
            | Kind::Wildcard
            | Kind::Number
            | Kind::Ipv4
            | Kind::Ipv6
            | Kind::Mac
            | Kind::Text
            | Kind::Mark(_)
            | Kind::Stray => format!("`{}`", shorten(self.text(self.span(token)))),
        };
        Diagnostic::error(self.here(), format!("expected {expected}, found {found}"))
    }

    fn at_separator(&self) -> bool {
        matches!(self.peek().kind, Kind::Newline | Kind::Mark(Mark::Semicolon))
    }

    fn skip_separators(&mut self) {
        while self.at_separator() {
            self.bump();
        }
    }

    fn skip_newlines(&mut self) {
        while self.peek().kind == Kind::Newline {
            self.bump();
        }
    }

    /// The `;` or line end that ends a statement.
    fn end_statement(&mut self, after: &str) -> Parsed<()> {
        if self.at_separator() || (self.peek().kind == Kind::End && self.depth == 0) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`;` or the end of the line after {after}")))
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Skips to the end of the statement that went wrong: behind it things make sense again.
    fn recover(&mut self, depth: usize) {
        loop {
            match self.peek().kind {
                Kind::End => return,
                Kind::Newline | Kind::Mark(Mark::Semicolon | Mark::BraceClose) if self.depth <= depth => return,
                Kind::Word
                | Kind::Wildcard
                | Kind::Number
                | Kind::Ipv4
                | Kind::Ipv6
                | Kind::Mac
                | Kind::Text
                | Kind::OpenText
                | Kind::Mark(_)
                | Kind::Newline
                | Kind::Stray => self.bump(),
            };
        }
    }

    /// Parses the statements of a block up to and with its `}`: `statement` one at a time.
    fn block(&mut self, what: &str, statement: &mut dyn FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        let open = self.expect_mark(Mark::BraceOpen, &format!("`{{` after the {what}'s name"))?;
        let depth = self.depth;
        self.scopes.open();
        let closed = self.block_body(depth, statement);
        self.scopes.close();
        if closed {
            return Ok(());
        }
        Err(Diagnostic::error(open, format!("the {what} that starts here is not closed: `}}` is missing")))
    }

    fn block_body(&mut self, depth: usize, statement: &mut dyn FnMut(&mut Self) -> Parsed<()>) -> bool {
        loop {
            self.skip_separators();
            if self.take_mark(Mark::BraceClose).is_some() {
                return true;
            }
            if self.peek().kind == Kind::End || self.diagnostics.is_full() {
                return self.diagnostics.is_full();
            }
            if let Err(diagnostic) = statement(self) {
                self.report(diagnostic);
                self.recover(depth);
            }
        }
    }

    /// `comment "..."`, of which a table, chain, set or rule has one.
    fn comment(&mut self, slot: &mut Option<Spanned>) -> Parsed<()> {
        let keyword = self.bump();
        let text = self.string("a text after `comment`")?;
        if text.text.len() > 128 {
            return Err(Diagnostic::error(text.span, "a comment has at most 128 bytes"));
        }
        if slot.is_some() {
            return Err(Diagnostic::error(keyword.to(text.span), "a second comment: there can be only one"));
        }
        *slot = Some(text);
        Ok(())
    }

    /// A quoted text or a word.
    fn string(&mut self, expected: &str) -> Parsed<Spanned> {
        match self.peek().kind {
            Kind::Text => {
                let span = self.bump();
                let quoted = self.text(span);
                Ok(Spanned { text: Rc::from(&quoted[1..quoted.len() - 1]), span })
            }
            Kind::Word | Kind::Wildcard => Ok(self.spanned()),
            Kind::Number
            | Kind::Ipv4
            | Kind::Ipv6
            | Kind::Mac
            | Kind::OpenText
            | Kind::Mark(_)
            | Kind::Newline
            | Kind::Stray
            | Kind::End => Err(self.unexpected(expected)),
        }
    }

    /// The name of a table, chain or set.
    fn name(&mut self, what: &str) -> Parsed<Spanned> {
        let Some(word) = self.word() else { return Err(self.unexpected(&format!("the name of a {what}"))) };
        if unsupported::RESERVED.contains(&word) {
            let message = format!("`{word}` is a word of the language and cannot be the name of a {what}");
            return Err(Diagnostic::error(self.here(), message));
        }
        Ok(self.spanned())
    }
}

/// The start of a text, for a message.
fn shorten(text: &str) -> String {
    const MAX: usize = 40;
    if text.chars().count() <= MAX {
        return text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text.chars().take(MAX).chain("...".chars()).collect()
}
