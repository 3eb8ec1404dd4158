//! `log`, with all that can be said about it.

use super::{Parsed, Parser};
use crate::language::{
    ast::{ExprKind, Log, Spanned, StatementKind},
    diagnostic::Diagnostic,
    lexer::Mark,
    stateful::{ALL_LOG_FLAGS, LOG_FLAGS},
};

impl Parser<'_> {
    pub(super) fn log(&mut self) -> Parsed<StatementKind> {
        self.bump();
        let mut log = Log::default();
        while self.log_part(&mut log)? {}
        Ok(StatementKind::Log(log))
    }

    /// One thing about it, if one stands here. What is said twice counts as said last.
    fn log_part(&mut self, log: &mut Log) -> Parsed<bool> {
        let start = self.here();
        let Some(word) = self.word().map(str::to_owned) else { return Ok(false) };
        match word.as_str() {
            "prefix" => {
                self.bump();
                let text = self.string("a text after `prefix`")?;
                log.prefix = Some(self.filled_in(text)?);
            }
            "level" => {
                self.bump();
                log.level = Some(self.string("a log level such as `info`")?);
            }
            "flags" => {
                self.bump();
                log.flags |= self.log_flags()?;
            }
            "group" => {
                self.bump();
                log.group = Some(self.number_below(0xffff, "a number after `group`")?.0 as u16);
            }
            "snaplen" => {
                self.bump();
                log.snaplen = Some(self.number_below(u64::from(u32::MAX), "a number after `snaplen`")?.0 as u32);
            }
            "queue-threshold" => {
                self.bump();
                log.threshold = Some(self.number_below(0xffff, "a number after `queue-threshold`")?.0 as u16);
            }
            _ => return Ok(false),
        }
        let end = self.previous();
        match word.as_str() {
            "flags" => log.flags_span = Some(start.to(end)),
            "group" | "snaplen" | "queue-threshold" => log.group_span = Some(start.to(end)),
            _ => {}
        }
        Ok(true)
    }

    fn log_flags(&mut self) -> Parsed<u8> {
        let expected = "`tcp sequence`, `tcp options`, `ip options`, `skuid`, `ether` or `all` after `flags`";
        let bit = |name: &str| LOG_FLAGS.iter().find(|(known, _)| *known == name).map_or(0, |(_, bit)| *bit);
        match self.word() {
            Some("all") => {
                self.bump();
                Ok(ALL_LOG_FLAGS)
            }
            Some(word @ ("skuid" | "ether")) => {
                let bit = bit(word);
                self.bump();
                Ok(bit)
            }
            Some("ip") if self.word_at(1) == Some("options") => {
                self.bump();
                self.bump();
                Ok(bit("ip options"))
            }
            Some("tcp") => {
                self.bump();
                let mut flags = 0;
                loop {
                    let Some(word @ ("sequence" | "options")) = self.word() else {
                        return Err(self.unexpected("`sequence` or `options` after `tcp`"));
                    };
                    flags |= bit(&format!("tcp {word}"));
                    self.bump();
                    if self.take_mark(Mark::Comma).is_none() {
                        return Ok(flags);
                    }
                }
            }
            Some(_) | None => Err(self.unexpected(expected)),
        }
    }

    /// A text with its variables replaced.
    fn filled_in(&self, text: Spanned) -> Parsed<Spanned> {
        let Some((first, rest)) = text.text.split_once('$') else { return Ok(text) };
        let mut out = first.to_owned();
        for part in rest.split('$') {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
            let (name, behind) = part.split_at(end);
            let Some(variable) = self.scopes.get(name) else {
                let error = Diagnostic::error(text.span, format!("`${name}` in this text is not defined"));
                return Err(error.help("behind a `$` in a log prefix stands the name of a variable"));
            };
            match &variable.value.resolved().kind {
                ExprKind::Word(value) | ExprKind::Text(value) => out.push_str(value),
                ExprKind::Number(value) => out.push_str(&value.to_string()),
                _ => {
                    let message = format!("`${name}` is no text: it cannot be part of one");
                    return Err(Diagnostic::error(text.span, message));
                }
            }
            out.push_str(behind);
        }
        Ok(Spanned { text: out.into(), span: text.span })
    }
}
