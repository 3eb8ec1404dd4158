//! Named sets: `set NAME { type ..; flags ..; elements = { .. } }`.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::{Set, SetBody, SetKey},
    diagnostic::Diagnostic,
    lexer::Mark,
    names,
    source::Span,
};

/// Words that start a part of a set.
const PARTS: &[&str] = &["type", "typeof", "flags", "elements", "auto-merge", "size", "comment"];

impl Parser<'_> {
    /// `add set TABLE NAME { .. }`.
    pub(super) fn set_declaration(&mut self) -> Parsed<Set> {
        let name = self.name("set")?;
        Ok(Set { name, body: self.set_body()? })
    }

    pub(super) fn set_body(&mut self) -> Parsed<SetBody> {
        let mut body = SetBody::default();
        self.block("set", &mut |parser| parser.set_part(&mut body))?;
        Ok(body)
    }

    fn set_part(&mut self, body: &mut SetBody) -> Parsed<()> {
        let Some(word) = self.word().map(str::to_owned) else {
            return Err(self.unexpected("`type`, `flags` or `elements` in the set"));
        };
        match word.as_str() {
            "type" => self.set_type(body)?,
            "typeof" => self.set_type_of(body)?,
            "flags" => self.set_flags(body)?,
            "elements" => {
                self.bump();
                self.expect_mark(Mark::Equals, "`=` after `elements`")?;
                body.elements = Some(self.primary()?);
            }
            "auto-merge" => {
                self.bump();
                body.auto_merge = true;
            }
            "size" => {
                self.bump();
                body.size = Some(self.number("a number after `size`")?);
            }
            "comment" => self.comment(&mut body.comment)?,
            "timeout" | "gc-interval" | "counter" | "policy" | "limit" | "quota" | "last" => {
                return Err(unsupported::feature(self.here(), &format!("`{word}` in a set")));
            }
            _ => return Err(unknown(&word, self.here())),
        }
        self.end_statement("this part of the set")
    }

    fn set_type(&mut self, body: &mut SetBody) -> Parsed<()> {
        self.bump();
        let name = self.required_word("a type such as `ipv4_addr`")?;
        if self.at_mark(Mark::Dot) {
            return Err(self.concatenation());
        }
        body.key = Some(SetKey::Type(name));
        Ok(())
    }

    fn set_type_of(&mut self, body: &mut SetBody) -> Parsed<()> {
        self.bump();
        let Some(left) = self.selector()? else { return Err(self.unexpected("a selector such as `ip saddr`")) };
        if self.at_mark(Mark::Dot) {
            return Err(self.concatenation());
        }
        body.key = Some(SetKey::TypeOf(left.selector));
        Ok(())
    }

    fn set_flags(&mut self, body: &mut SetBody) -> Parsed<()> {
        self.bump();
        loop {
            let flag = self.required_word("a flag such as `interval`")?;
            match &*flag.text {
                "constant" | "interval" => body.flags.push(flag),
                "dynamic" | "timeout" => {
                    return Err(unsupported::feature(flag.span, &format!("`flags {}`", flag.text)));
                }
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
