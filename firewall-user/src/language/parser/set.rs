//! Named sets and maps: `set NAME { type ..; flags ..; elements = { .. } }`.

use super::{Parsed, Parser, expression::MAX_CONCATENATED, unsupported};
use crate::language::{
    ast::{MapData, Set, SetBody, SetKey},
    diagnostic::Diagnostic,
    lexer::Mark,
    names,
    source::Span,
};

/// Words that start a part of a set.
const PARTS: &[&str] = &[
    "type",
    "typeof",
    "flags",
    "elements",
    "auto-merge",
    "size",
    "policy",
    "comment",
    "timeout",
    "gc-interval",
    "counter",
    "limit",
    "quota",
    "ct",
];

/// What is declared.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Declared {
    Set,
    Map,
}

impl Declared {
    const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Map => "map",
        }
    }
}

impl Parser<'_> {
    /// The name and the braces.
    pub(super) fn set_declaration(&mut self, declared: Declared) -> Parsed<Set> {
        let name = self.name(declared.name())?;
        let mut body = SetBody::default();
        self.block(declared.name(), &mut |parser| parser.set_part(declared, &mut body))?;
        Ok(Set { name, body })
    }

    fn set_part(&mut self, declared: Declared, body: &mut SetBody) -> Parsed<()> {
        let Some(word) = self.word().map(str::to_owned) else {
            return Err(self.unexpected(&format!("`type`, `flags` or `elements` in the {}", declared.name())));
        };
        match word.as_str() {
            "type" | "typeof" => {
                self.bump();
                let by_example = word == "typeof";
                body.key = Some(self.set_key(by_example)?);
                self.set_data(declared, by_example, body)?;
            }
            "flags" => self.set_flags(body)?,
            "elements" => {
                self.bump();
                self.expect_mark(Mark::Equals, "`=` after `elements`")?;
                body.elements = Some(self.primary()?);
                return Ok(());
            }
            "auto-merge" if declared == Declared::Map => {
                return Err(Diagnostic::error(self.here(), "a map has no `auto-merge`: what would the verdict be?"));
            }
            "auto-merge" => {
                self.bump();
                body.auto_merge = true;
                return Ok(());
            }
            "policy" => {
                self.bump();
                body.policy = Some(self.required_word("`performance` or `memory` after `policy`")?);
            }
            "size" => {
                self.bump();
                body.size = Some(self.number("a number after `size`")?);
            }
            "comment" => self.comment(&mut body.comment)?,
            "timeout" => {
                self.bump();
                body.timeout = Some(self.time()?);
            }
            "gc-interval" => {
                self.bump();
                body.gc_interval = Some(self.time()?);
            }
            "counter" | "limit" | "quota" | "last" | "ct" => self.element_statements(&mut body.statements)?,
            _ => return Err(unknown(&word, self.here())),
        }
        self.end_statement(&format!("this part of the {}", declared.name()))
    }

    /// `: verdict` or `: mark` behind the key of a map.
    fn set_data(&mut self, declared: Declared, by_example: bool, body: &mut SetBody) -> Parsed<()> {
        if declared == Declared::Set {
            if self.at_mark(Mark::Colon) {
                let error = Diagnostic::error(self.here(), "a set has no data");
                return Err(error.help("write `map` instead of `set`"));
            }
            return Ok(());
        }
        self.expect_mark(Mark::Colon, "`: verdict` or another type after the type of the map's keys")?;
        if self.take_word("verdict").is_some() {
            body.data = Some(MapData::Verdicts);
            return Ok(());
        }
        if let Some(word @ ("counter" | "quota" | "limit" | "secmark" | "synproxy")) = self.word() {
            let what = format!("a map to objects (`{word}`) by name");
            let reason = "its elements stand in the rule: `counter name ip saddr map { 192.0.2.1 : \"a\" }`";
            return Err(unsupported::refusal(self.here(), &what, reason));
        }
        let interval = self.take_word("interval").is_some();
        body.data = Some(MapData::Values(self.set_key(by_example)?, interval));
        Ok(())
    }

    /// Types, or with `typeof` selectors, with dots between them.
    fn set_key(&mut self, by_example: bool) -> Parsed<SetKey> {
        if by_example { self.set_type_of() } else { self.set_type() }
    }

    fn set_type(&mut self) -> Parsed<SetKey> {
        let mut names = vec![self.required_word("a type such as `ipv4_addr`")?];
        while self.take_mark(Mark::Dot).is_some() && names.len() < MAX_CONCATENATED {
            names.push(self.required_word("a type such as `ipv4_addr`")?);
        }
        Ok(SetKey::Type(names))
    }

    fn set_type_of(&mut self) -> Parsed<SetKey> {
        let mut selectors = Vec::new();
        loop {
            let Some(left) = self.selector()? else {
                let refused = self.word().and_then(|word| unsupported::statement(word, self.here()));
                return Err(refused.unwrap_or_else(|| self.unexpected("a selector such as `ip saddr`")));
            };
            selectors.push(left.selector);
            if selectors.len() >= MAX_CONCATENATED || self.take_mark(Mark::Dot).is_none() {
                break;
            }
        }
        Ok(SetKey::TypeOf(selectors))
    }

    fn set_flags(&mut self, body: &mut SetBody) -> Parsed<()> {
        self.bump();
        loop {
            let flag = self.required_word("a flag such as `interval`")?;
            match &*flag.text {
                "constant" | "interval" | "dynamic" | "timeout" => body.flags.push(flag),
                _ => return Err(Diagnostic::error(flag.span, format!("unknown set flag `{}`", flag.text))),
            }
            if self.take_mark(Mark::Comma).is_none() {
                return Ok(());
            }
        }
    }
}

fn unknown(word: &str, span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, format!("unknown word `{word}` in a set"));
    match names::nearest(word, PARTS.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("a set knows: {}", PARTS.join(", "))),
    }
}
