//! `add @set { ip saddr }`, `update`, `delete`, the older `set add ip saddr @set`, and `meter`.

use super::{Parsed, Parser, expression::MAX_CONCATENATED, unsupported};
use crate::language::{
    ast::{ElementOptions, KeyPart, Left, Spanned, StatementKind, Update},
    diagnostic::Diagnostic,
    lexer::Mark,
    ruleset::{OfElement, UpdateOperation},
    source::Span,
};

/// Statements that an element may keep (`NFT_SET_EXPR_MAX`, `include/uapi/linux/netfilter/nf_tables.h`).
const MAX_STATEMENTS: usize = 2;
/// The size that nftables gives a meter, and a set which rules change, when none is written.
pub(in crate::language) const DYNAMIC_SIZE: u32 = 65_535;

impl Parser<'_> {
    pub(super) fn set_update(&mut self) -> Parsed<StatementKind> {
        let update = if self.take_word("set").is_some() {
            let operation = self.update_operation()?;
            let (key, options) = self.update_key()?;
            let set = self.reference()?;
            Update { meter: None, operation, set, key, options, data: None }
        } else {
            let operation = self.update_operation()?;
            let set = self.reference()?;
            self.expect_mark(Mark::BraceOpen, "`{` after the set")?;
            let (key, mut options) = self.update_key()?;
            self.element_statements(&mut options.statements)?;
            let data = if self.take_mark(Mark::Colon).is_some() { Some(self.key_parts()?) } else { None };
            self.expect_mark(Mark::BraceClose, "`}` after the element")?;
            Update { meter: None, operation, set, key, options, data }
        };
        Ok(StatementKind::Update(Box::new(update)))
    }

    /// `meter NAME size N { ip saddr limit rate 5/second }`: a set that the rule makes itself.
    pub(super) fn meter(&mut self) -> Parsed<StatementKind> {
        self.bump();
        let set = self.name("meter")?;
        let size = match self.take_word("size") {
            Some(_) => self.number_below(u64::from(u32::MAX), "a number after `size`")?.0 as u32,
            None => DYNAMIC_SIZE,
        };
        self.expect_mark(Mark::BraceOpen, "`{` after the meter's name")?;
        let (key, mut options) = self.update_key()?;
        self.element_statements(&mut options.statements)?;
        if options.statements.is_empty() {
            return Err(self.unexpected("`limit`, `counter`, `quota` or `ct count` in the meter"));
        }
        self.expect_mark(Mark::BraceClose, "`}` after the meter's statement")?;
        // As nft has the kernel do it.
        let operation = if options.timeout.is_some() { UpdateOperation::Update } else { UpdateOperation::Add };
        let update = Update { meter: Some(size), operation, set, key, options, data: None };
        Ok(StatementKind::Update(Box::new(update)))
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
    fn update_key(&mut self) -> Parsed<(Vec<KeyPart>, ElementOptions)> {
        let key = self.key_parts()?;
        if let [KeyPart::Value(value)] = &key[..] {
            let message = "expected what of the packet is the key, such as `ip saddr`";
            let error = Diagnostic::error(value.span, message);
            return Err(error.help("an element that is always the same belongs into the set's `elements`"));
        }
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

    /// `ip saddr . 22`
    fn key_parts(&mut self) -> Parsed<Vec<KeyPart>> {
        let mut parts = Vec::new();
        loop {
            parts.push(match self.selector()? {
                Some(mut left) => {
                    left.operations = self.operations()?;
                    KeyPart::Of(left)
                }
                None => KeyPart::Value(self.value_alone()?),
            });
            if parts.len() >= MAX_CONCATENATED || self.take_mark(Mark::Dot).is_none() {
                return Ok(parts);
            }
        }
    }

    /// What an element keeps for itself, in order: `counter`, `limit`, `quota`, `ct count`.
    pub(super) fn element_statements(&mut self, statements: &mut Vec<(OfElement, Span)>) -> Parsed<()> {
        loop {
            let start = self.here();
            let statement = match self.word() {
                Some("counter") => {
                    let (packets, bytes) = self.plain_counter()?;
                    OfElement::Counter(packets, bytes)
                }
                Some("limit") => {
                    self.bump();
                    OfElement::Limit(self.limit_values()?)
                }
                Some("quota") => {
                    self.bump();
                    OfElement::Quota(self.quota_values()?)
                }
                Some("ct") if self.word_at(1) == Some("count") => {
                    let (over, count) = self.connection_limit()?;
                    OfElement::Connections { over, count }
                }
                Some(word @ ("last" | "ct")) => {
                    let what = format!("`{word}` on an element");
                    let reason = "an element keeps `counter`, `limit`, `quota` and `ct count`; nft 1.0.6 lists nothing else again";
                    return Err(unsupported::refusal(self.here(), &what, reason));
                }
                Some(_) | None => return Ok(()),
            };
            let span = start.to(self.previous());
            if statements.len() >= MAX_STATEMENTS {
                let message = format!("an element keeps at most {MAX_STATEMENTS} statements");
                return Err(Diagnostic::error(span, message));
            }
            statements.push((statement, span));
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
