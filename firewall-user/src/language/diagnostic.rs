//! Messages about a ruleset, and the one place that renders them.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Source, Sources, Span};

/// Messages kept: one mistake can be on every line of a generated file.
const MAX_KEPT: usize = 50;
/// Characters of a source line shown around the error.
const MAX_LINE: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The ruleset is refused.
    Error,
    /// The ruleset is fine, but probably not what was meant.
    Warning,
}

impl Severity {
    /// The word in front of the message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do about it, a sentence each.
    pub help: Vec<String>,
    /// May it be the mere consequence of an earlier one?
    pub follows: bool,
}

impl Diagnostic {
    /// A refusal.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), help: Vec::new(), follows: false }
    }

    /// A doubt.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Marks it as a possible consequence of an earlier one.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follows = true;
        self
    }

    /// Adds a sentence of help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// All messages about one ruleset, with the texts they are about.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The texts.
    pub sources: Sources,
    /// Something about a file as a whole, before there was a text.
    pub unread: Option<String>,
    list: Vec<Diagnostic>,
    dropped: usize,
}

impl Diagnostics {
    /// A file that could not be read.
    pub fn unread(message: String) -> Self {
        Self { unread: Some(message), ..Self::default() }
    }

    /// Adds a message.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        diagnostic.span = self.sources.written(diagnostic.span);
        if self.list.len() < MAX_KEPT || (diagnostic.severity == Severity::Error && !self.has_errors()) {
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Is the ruleset refused?
    pub fn has_errors(&self) -> bool {
        self.unread.is_some() || self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Puts the messages in the order of the text they are about.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.span);
    }

    /// Is there room for more? A parser may stop when there is not.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_KEPT
    }

    /// Takes all messages out.
    pub(super) fn take_list(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.list)
    }

    /// Puts messages in the place of those there are.
    pub(super) fn put_list(&mut self, list: Vec<Diagnostic>) {
        self.list = list;
    }

    /// Adds a sentence of help to each, out of its place.
    pub(super) fn explain(&mut self, help: impl Fn(Span) -> Option<String>) {
        for diagnostic in &mut self.list {
            diagnostic.help.extend(help(diagnostic.span));
        }
    }

    /// The messages, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Everything as text for a person; `colour` on a terminal.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        if let Some(message) = &self.unread {
            let _ = writeln!(text, "error: {message}");
        }
        for diagnostic in &self.list {
            text.push_str(&self.render_one(diagnostic, colour));
        }
        if self.dropped > 0 {
            let _ = writeln!(text, "and {} more like these", self.dropped);
        }
        text
    }

    /// One message: `file:line:column: error: message`, the line with a caret, help.
    pub fn render_one(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let Diagnostic { severity, span, message, help, follows: _ } = diagnostic;
        let Some(source) = self.sources.get(span.source) else {
            return format!("{}: {message}\n", severity.name());
        };
        let place = source.place(span.start);
        let mut text = format!("{}:{}:{}: {}: {message}\n", source.name, place.line, place.column, severity.name());
        text.push_str(&snippet(source, diagnostic, place.line, colour));
        for line in help {
            let _ = writeln!(text, "  help: {line}");
        }
        text.push_str(&self.include_stack(source));
        text
    }

    fn include_stack(&self, source: &Source) -> String {
        let mut text = String::new();
        let mut at = source.included_from;
        while let Some(span) = at {
            let Some(outer) = self.sources.get(span.source) else { break };
            let _ = writeln!(text, "  included from {}:{}", outer.name, outer.line(span.start));
            at = outer.included_from;
        }
        text
    }
}

/// The source line with its number and a caret under the span.
fn snippet(source: &Source, diagnostic: &Diagnostic, line: u32, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (text, start, end) = window(source, diagnostic.span);
    let shown =
        Snippet::source(text).line_start(line as usize).annotation(AnnotationKind::Primary.span(start..end.max(start)));
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut rendered = renderer.render(&[Group::with_level(level).element(shown)]);
    rendered.push('\n');
    rendered
}

/// The line under a span, cut around it when long, and the span inside what is left. Control characters are shown as
/// blanks, so that a file cannot write to the terminal through its error messages.
fn window(source: &Source, span: Span) -> (String, usize, usize) {
    let (line_start, line_end) = source.line_span(span.start);
    let line = &source.text[line_start..line_end];
    let start = (span.start as usize).saturating_sub(line_start).min(line.len());
    let end = (span.end as usize).saturating_sub(line_start).clamp(start, line.len());
    let from = if line.len() <= MAX_LINE { 0 } else { floor(line, start.saturating_sub(MAX_LINE / 2)) };
    let to = if line.len() <= MAX_LINE { line.len() } else { floor(line, (from + MAX_LINE).min(line.len())) };
    let end = floor(line, end.min(to)).max(start);
    let (head, tail) = (if from > 0 { "... " } else { "" }, if to < line.len() { " ..." } else { "" });
    let body: String = line[from..to].chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    // Blanks of several bytes became one byte: only the C1 controls, which are two bytes.
    let shrink =
        |upto: usize| line[from..upto].chars().filter(|c| c.is_control()).map(|c| c.len_utf8() - 1).sum::<usize>();
    let (start, end) = (start - shrink(start), end - shrink(end));
    (format!("{head}{body}{tail}"), start - from + head.len(), end - from + head.len())
}

/// The largest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
