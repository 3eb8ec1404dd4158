//! What stands in a table's braces: chains, sets, definitions, a comment.

use super::{Parsed, Parser, set::Declared};
use crate::language::{ast::TableBody, diagnostic::Diagnostic, lexer::Mark, names};

/// Words that start a part of a table.
const PARTS: &[&str] = &[
    "chain",
    "set",
    "map",
    "counter",
    "quota",
    "limit",
    "synproxy",
    "flowtable",
    "flags",
    "comment",
    "define",
    "redefine",
    "undefine",
    "include",
];

impl Parser<'_> {
    pub(super) fn table_body(&mut self, body: &mut TableBody) -> Parsed<()> {
        self.block("table", &mut |parser| parser.table_part(body))
    }

    fn table_part(&mut self, body: &mut TableBody) -> Parsed<()> {
        if self.at_include() {
            return self.include();
        }
        if let Some(parsed) = self.definition() {
            return parsed;
        }
        if let Some(kind) = self.object_kind() {
            let object = self.object_in_table(kind?)?;
            body.objects.push(object);
            return self.end_statement("the object's `}`");
        }
        match self.word() {
            Some("chain") => {
                self.bump();
                body.chains.push(self.chain()?);
                self.end_statement("the chain's `}`")
            }
            Some("set") => {
                self.bump();
                body.sets.push(self.set_declaration(Declared::Set)?);
                self.end_statement("the set's `}`")
            }
            Some("map") => {
                self.bump();
                body.sets.push(self.set_declaration(Declared::Map)?);
                self.end_statement("the map's `}`")
            }
            Some("flowtable") => {
                self.bump();
                body.flowtables.push(self.flowtable()?);
                self.end_statement("the flowtable's `}`")
            }
            Some("comment") => {
                self.comment(&mut body.comment)?;
                self.end_statement("the comment")
            }
            Some("flags") => self.table_flags(body),
            _ => Err(self.no_table_part()),
        }
    }

    /// `flags dormant`
    fn table_flags(&mut self, body: &mut TableBody) -> Parsed<()> {
        self.bump();
        loop {
            let flag = self.required_word("a flag such as `dormant`")?;
            match &*flag.text {
                "dormant" => body.flags.push(flag),
                "owner" | "persist" => {
                    let error = Diagnostic::error(flag.span, format!("`flags {}` is not supported", flag.text));
                    return Err(
                        error.help("such a table belongs to a running program and ends with it; rampart runs none")
                    );
                }
                other => {
                    let error = Diagnostic::error(flag.span, format!("unknown table flag `{other}`"));
                    return Err(error.help("known: dormant"));
                }
            }
            if self.take_mark(Mark::Comma).is_none() {
                return self.end_statement("the table's flags");
            }
        }
    }

    fn no_table_part(&self) -> Diagnostic {
        let Some(word) = self.word() else {
            return self.unexpected("`chain`, `set`, `map`, `comment` or `}` in the table");
        };
        let error = Diagnostic::error(self.here(), format!("unknown word `{word}` in a table"));
        match names::nearest(word, PARTS.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("a table holds `chain NAME { .. }` and `set NAME { .. }`; rules stand inside a chain"),
        }
    }
}
