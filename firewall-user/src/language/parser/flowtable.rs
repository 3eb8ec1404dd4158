//! `flowtable f { hook ingress priority filter; devices = { eth0, eth1 }; }` and `flow add @f`.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::{Flowtable, Hook, Spanned, StatementKind},
    diagnostic::Diagnostic,
    lexer::Mark,
};

impl Parser<'_> {
    /// A flowtable: name and braces, behind the word.
    pub(super) fn flowtable(&mut self) -> Parsed<Flowtable> {
        let name = self.name("flowtable")?;
        let mut flowtable = Flowtable { name, hook: None, devices: Vec::new(), counter: false };
        self.block("flowtable", &mut |parser| {
            parser.flowtable_part(&mut flowtable)?;
            if parser.at_mark(Mark::BraceClose) {
                return Ok(());
            }
            parser.end_statement("this part of the flowtable")
        })?;
        Ok(flowtable)
    }

    fn flowtable_part(&mut self, flowtable: &mut Flowtable) -> Parsed<()> {
        match self.word() {
            Some("hook") => {
                let start = self.bump();
                let name = self.required_word("`ingress` after `hook`")?;
                if self.take_word("priority").is_none() {
                    return Err(self.unexpected("`priority` after the hook"));
                }
                let (priority, offset, priority_span) = self.priority()?;
                let kind = Spanned { text: "filter".into(), span: start };
                flowtable.hook = Some(Hook { kind, name, devices: Vec::new(), priority, offset, priority_span });
                Ok(())
            }
            Some("devices") => {
                flowtable.devices.extend(self.devices()?);
                Ok(())
            }
            Some("counter") => {
                self.bump();
                flowtable.counter = true;
                Ok(())
            }
            Some("flags") => Err(unsupported::refusal(
                self.here(),
                "`flags offload` (a flowtable in the hardware)",
                "rules are carried out by the kernel, before its receive path, and not by a network card: leave it out",
            )),
            _ => Err(self.unexpected("`hook`, `devices` or `counter`")),
        }
    }

    /// `flow add @f`, behind `flow`.
    pub(super) fn flow(&mut self) -> Parsed<StatementKind> {
        let verb = self.required_word("`add` after `flow`")?;
        if !matches!(&*verb.text, "add" | "offload") {
            return Err(Diagnostic::error(verb.span, "expected `add` after `flow`").help("such as `flow add @f`"));
        }
        self.expect_mark(Mark::At, "`@` and the name of a flowtable")?;
        Ok(StatementKind::Flow(self.name("flowtable")?))
    }
}
