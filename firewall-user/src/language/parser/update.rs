//! `add @set { ip saddr }`, `update`, `delete`, and the older `set add ip saddr @set`.

use super::{Parsed, Parser, expression::MAX_CONCATENATED, unsupported};
use crate::language::{
    ast::{ElementOptions, Left, Spanned, StatementKind, Update, UpdateData},
    diagnostic::Diagnostic,
    lexer::Mark,
    ruleset::UpdateOperation,
};

impl Parser<'_> {
    pub(super) fn set_update(&mut self) -> Parsed<StatementKind> {
        if self.take_word("set").is_some() {
            let operation = self.update_operation()?;
            let (key, options) = self.update_key()?;
            let set = self.reference()?;
            return Ok(StatementKind::Update(Box::new(Update { operation, set, key, options, data: None })));
        }
        let operation = self.update_operation()?;
        let set = self.reference()?;
        self.expect_mark(Mark::BraceOpen, "`{` after the set")?;
        let (key, mut options) = self.update_key()?;
        self.stateful(&mut options)?;
        let data = if self.take_mark(Mark::Colon).is_some() { Some(self.update_data()?) } else { None };
        self.expect_mark(Mark::BraceClose, "`}` after the element")?;
        Ok(StatementKind::Update(Box::new(Update { operation, set, key, options, data })))
    }

    fn update_operation(&mut self) -> Parsed<UpdateOperation> {
        let operation = match self.word() {
            Some("add") => UpdateOperation::Add,
            Some("update") => UpdateOperation::Update,
            Some("delete") => UpdateOperation::Delete,
            Some(_) | None => return Err(self.unexpected("`add`, `update` or `delete`")),
        };
        self.bump();
        Ok(operation)
    }

    /// `@set`
    fn reference(&mut self) -> Parsed<Spanned> {
        let at = self.expect_mark(Mark::At, "a set: `@name`")?;
        let name = self.name("set")?;
        Ok(Spanned { span: at.to(name.span), text: name.text })
    }

    /// What is looked at, and the times behind it.
    fn update_key(&mut self) -> Parsed<(Left, ElementOptions)> {
        let Some(key) = self.left_side()? else {
            let error = self.unexpected("what of the packet is the key, such as `ip saddr`");
            return Err(error.help("an element that is always the same belongs into the set's `elements`"));
        };
        let mut options = ElementOptions::default();
        loop {
            match self.word() {
                Some("timeout") => {
                    self.bump();
                    options.timeout = Some(self.time()?);
                }
                Some("comment") => {
                    return Err(Diagnostic::error(self.here(), "an element that a rule makes has no comment"));
                }
                Some("expires") => {
                    let error =
                        Diagnostic::error(self.here(), "`expires` in a rule: the element ends with its `timeout`");
                    return Err(error);
                }
                Some(_) | None => return Ok((key, options)),
            }
        }
    }

    /// What every element keeps for itself: `counter`.
    fn stateful(&mut self, options: &mut ElementOptions) -> Parsed<()> {
        loop {
            match self.word() {
                Some("counter") => options.counter = Some(self.plain_counter()?),
                Some(word @ ("limit" | "quota" | "last" | "ct")) => {
                    return Err(unsupported::feature(self.here(), &format!("`{word}` on an element")));
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn update_data(&mut self) -> Parsed<UpdateData> {
        match self.left_side()? {
            Some(left) => Ok(UpdateData::Of(left)),
            None => Ok(UpdateData::Value(self.value()?)),
        }
    }

    /// What of the packet is looked at, with what is done with it and with what it is joined; if that stands here.
    pub(super) fn left_side(&mut self) -> Parsed<Option<Left>> {
        let Some(mut left) = self.selector()? else { return Ok(None) };
        left.operations = self.operations()?;
        while self.take_mark(Mark::Dot).is_some() && left.more.len() < MAX_CONCATENATED {
            let Some(mut more) = self.selector()? else { return Err(self.unexpected("a selector such as `ip saddr`")) };
            more.operations = self.operations()?;
            left.span = left.span.to(more.span);
            left.more.push(more);
        }
        Ok(Some(left))
    }
}
