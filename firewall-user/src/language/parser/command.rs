//! Commands at the top of a file: `table`, `add`, `flush`, `delete`.

use super::{Parsed, Parser, hints, set::Declared, unsupported};
use crate::language::{
    ast::{Command, Expr, ExprKind, Part, RulePlace, Spanned, TableBody, TableName},
    diagnostic::Diagnostic,
    lexer::{Kind, Mark},
    names,
    ruleset::Family,
    source::Span,
};

/// Words that start a command.
const COMMANDS: &[&str] =
    &["table", "add", "create", "insert", "flush", "delete", "destroy", "define", "include", "chain", "rule"];

/// Families that nftables has.
const FAMILIES: &[&str] = &["ip", "ip6", "inet", "netdev", "bridge", "arp"];

impl Parser<'_> {
    pub(super) fn commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        loop {
            self.skip_separators();
            if self.peek().kind == Kind::End || self.diagnostics.is_full() {
                return commands;
            }
            if let Err(diagnostic) = self.command(&mut commands) {
                self.report(diagnostic);
                self.recover_command();
            }
        }
    }

    /// A stray `}` must not stop the parser for ever.
    fn recover_command(&mut self) {
        self.recover(0);
        while self.take_mark(Mark::BraceClose).is_some() {
            self.recover(0);
        }
    }

    fn command(&mut self, commands: &mut Vec<Command>) -> Parsed<()> {
        if self.at_include() {
            return self.include();
        }
        if let Some(parsed) = self.definition() {
            return parsed;
        }
        let Some(verb) = self.word().map(str::to_owned) else { return Err(self.no_command()) };
        if let Some(refusal) = unsupported::command(&verb, self.here()) {
            return Err(refusal);
        }
        if ["add", "create", "insert", "flush", "delete", "destroy"].contains(&verb.as_str()) {
            self.bump();
        }
        let command = match verb.as_str() {
            "flush" => self.flush()?,
            "delete" => self.delete()?,
            "destroy" => Command::Destroy(Box::new(self.delete()?)),
            "insert" => self.add(true)?,
            "create" if self.at_word("rule") => {
                return Err(self.unexpected("`table`, `chain`, `set`, `map` or `element` after `create`"));
            }
            "create" => Command::Create(Box::new(self.add(false)?)),
            _ => self.add(false)?,
        };
        commands.push(command);
        self.end_statement("the command")
    }

    fn no_command(&self) -> Diagnostic {
        if self.at_mark(Mark::BraceClose) {
            return Diagnostic::error(self.here(), "this `}` closes nothing");
        }
        if self.at_mark(Mark::Minus) {
            return self.iptables_option();
        }
        let error = self.unexpected("a command such as `table`, `add`, `flush`, `define` or `include`");
        if self.at_mark(Mark::Star) || self.at_mark(Mark::Colon) {
            return error.help("this looks like iptables-save output, which is another language: `iptables-restore-translate -f FILE` turns it into nftables");
        }
        error
    }

    /// What follows `add`, `create` or `insert`, or stands alone.
    fn add(&mut self, first: bool) -> Parsed<Command> {
        if let Some(kind) = self.object_kind().filter(|_| !first) {
            return self.add_object(kind?);
        }
        match self.word() {
            Some("table") if !first => self.add_table(),
            Some("chain") if !first => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Chain(table, self.chain_declaration()?))
            }
            Some("set") if !first => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Set(table, self.set_declaration(Declared::Set)?))
            }
            Some("map") if !first => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Set(table, self.set_declaration(Declared::Map)?))
            }
            Some("flowtable") if !first => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Flowtable(table, self.flowtable()?))
            }
            Some("element") if !first => {
                self.bump();
                let table = self.table_name()?;
                let set = self.name("set")?;
                Ok(Command::Elements(table, set, self.elements()?))
            }
            Some("rule") => {
                self.bump();
                self.add_rule(first)
            }
            // `inet filter input accept`: a rule without the word.
            Some("ip" | "ip6" | "inet") if !first && self.word_at(1).is_some() && self.word_at(2).is_some() => {
                self.add_rule(false)
            }
            Some("meter") => Err(unsupported::meter(self.here())),
            Some(word) if first || !hints::is_foreign(word) => Err(self.unknown_command(word)),
            _ => Err(self.foreign_command()),
        }
    }

    fn unknown_command(&self, word: &str) -> Diagnostic {
        let error = Diagnostic::error(self.here(), format!("unknown command `{word}`"));
        match names::nearest(word, COMMANDS.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("a ruleset is made of `table FAMILY NAME { chain NAME { RULES } }`"),
        }
    }

    fn add_table(&mut self) -> Parsed<Command> {
        self.bump();
        if let Some(near) = self.misspelt_family() {
            return Err(near);
        }
        let name = self.table_name()?;
        let mut body = TableBody::default();
        if self.at_mark(Mark::BraceOpen) {
            self.table_body(&mut body)?;
        }
        Ok(Command::Table(name, body))
    }

    /// `{ elements }`, or a variable that holds some.
    fn elements(&mut self) -> Parsed<Expr> {
        let elements = self.primary()?;
        match &elements.kind {
            ExprKind::Set(_) | ExprKind::Variable(_) => Ok(elements),
            ExprKind::Word(_)
            | ExprKind::Text(_)
            | ExprKind::Number(_)
            | ExprKind::Ipv4(_)
            | ExprKind::Ipv6(_)
            | ExprKind::Mac(_)
            | ExprKind::Time(_)
            | ExprKind::Range(..)
            | ExprKind::Prefix(..)
            | ExprKind::List(_)
            | ExprKind::Concat(_)
            | ExprKind::Binary(..)
            | ExprKind::Named(_)
            | ExprKind::Selector(_)
            | ExprKind::Map(..)
            | ExprKind::Any => Err(Diagnostic::error(elements.span, "expected `{ elements }`")),
        }
    }

    fn add_rule(&mut self, first: bool) -> Parsed<Command> {
        let table = self.table_name()?;
        let chain = self.name("chain")?;
        let place = self.rule_place(first)?;
        let rule = Box::new(self.rule()?);
        Ok(Command::Rule { table, chain, rule, place })
    }

    /// `index N` behind the chain.
    fn rule_place(&mut self, first: bool) -> Parsed<RulePlace> {
        match self.word() {
            Some("index") => {
                let word = self.bump();
                let (number, span) = self.number("a number after `index`")?;
                let (number, span) = (usize::try_from(number).unwrap_or(usize::MAX), word.to(span));
                Ok(if first { RulePlace::Before(number, span) } else { RulePlace::Behind(number, span) })
            }
            Some(word @ ("handle" | "position")) => Err(unsupported::handle(word, self.here())),
            Some(_) | None => Ok(if first { RulePlace::First } else { RulePlace::Last }),
        }
    }

    fn flush(&mut self) -> Parsed<Command> {
        match self.word() {
            Some("ruleset") => {
                self.bump();
                Ok(Command::FlushRuleset(self.family()?))
            }
            Some("table") => {
                self.bump();
                Ok(Command::FlushTable(self.table_name()?))
            }
            Some("chain") => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Flush(Part::Chain, table, self.name("chain")?))
            }
            Some("set" | "map") => {
                self.bump();
                let table = self.table_name()?;
                Ok(Command::Flush(Part::Set, table, self.name("set")?))
            }
            Some("meter") => Err(unsupported::meter(self.here())),
            Some(_) | None => Err(self.unexpected("`ruleset`, `table`, `chain`, `set` or `map` after `flush`")),
        }
    }

    fn delete(&mut self) -> Parsed<Command> {
        let part = match self.word() {
            Some("table") => {
                self.bump();
                return Ok(Command::DeleteTable(self.table_name()?));
            }
            Some("chain") => Part::Chain,
            Some("set" | "map") => Part::Set,
            Some("element") => {
                self.bump();
                let table = self.table_name()?;
                let set = self.name("set")?;
                return Ok(Command::DeleteElements(table, set, self.elements()?));
            }
            Some("rule") => return Err(unsupported::handle("delete rule", self.here())),
            Some("flowtable") => Part::Flowtable,
            Some("meter") => return Err(unsupported::meter(self.here())),
            Some(_) | None => {
                let Some(kind) = self.object_kind() else {
                    let expected =
                        "`table`, `chain`, `set`, `map`, `element`, `flowtable` or a kind of object after `delete`";
                    return Err(self.unexpected(expected));
                };
                Part::Object(kind?)
            }
        };
        self.bump();
        let table = self.table_name()?;
        let what = match part {
            Part::Chain => "chain",
            Part::Set => "set",
            Part::Object(kind) => kind.name(),
            Part::Flowtable => "flowtable",
        };
        Ok(Command::Delete(part, table, self.name(what)?))
    }

    /// A family, if one stands here.
    fn family(&mut self) -> Parsed<Option<Family>> {
        let family = match self.word() {
            Some("ip") => Family::Ip,
            Some("ip6") => Family::Ip6,
            Some("inet") => Family::Inet,
            Some("netdev") => Family::Netdev,
            Some(word @ ("bridge" | "arp")) => return Err(no_such_packets(word, self.here())),
            Some(_) | None => return Ok(None),
        };
        self.bump();
        Ok(Some(family))
    }

    pub(super) fn table_name(&mut self) -> Parsed<TableName> {
        let family = self.family()?.unwrap_or(Family::Ip);
        Ok(TableName { family, name: self.name("table")? })
    }

    /// `table ine filter {`: two words, the first of which is no family.
    fn misspelt_family(&self) -> Option<Diagnostic> {
        let word = self.word().filter(|word| !FAMILIES.contains(word))?;
        if self.word_at(1).is_none() || self.peek_at(2).kind != Kind::Mark(Mark::BraceOpen) {
            return None;
        }
        let error = Diagnostic::error(self.here(), format!("unknown family `{word}`"));
        Some(match names::nearest(word, ["inet", "ip", "ip6", "netdev"]) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("supported families: inet, ip, ip6, netdev"),
        })
    }

    /// Two words that must be there.
    pub(super) fn required_word(&mut self, expected: &str) -> Parsed<Spanned> {
        if self.word().is_none() {
            return Err(self.unexpected(expected));
        }
        Ok(self.spanned())
    }
}

/// Families whose packets do not come by here, and what sees them instead.
fn no_such_packets(family: &str, span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, format!("family `{family}` is not supported"));
    error.help(match family {
        "arp" => "ARP comes by chains of family netdev: `type filter hook ingress device eth0 priority filter`, `meta protocol arp`",
        _ => "what goes from port to port of a bridge is seen at its ports: family netdev, hook ingress",
    })
}
