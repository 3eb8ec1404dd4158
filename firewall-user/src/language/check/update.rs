//! Rules that change sets.

use super::{Checked, Checker, concat::type_names, context::Context, declare::in_bounds};
use crate::language::{
    ast::{self, Left},
    diagnostic::Diagnostic,
    ruleset::{Set, Statement, Subject, Update, UpdateData, UpdateOperation},
    source::Span,
    types::Type,
};

/// The size that nftables gives a set which rules change, when none is written.
const DYNAMIC_SIZE: u32 = 65_535;

impl Checker<'_> {
    pub(super) fn set_update(
        &mut self,
        table: usize,
        written: &ast::Update,
        context: &mut Context,
    ) -> Checked<Statement> {
        let ast::Update { operation, set, key, options, data } = written;
        let number = self.tables[table].set(&set.text, set.span)?;
        becomes_dynamic(&mut self.tables[table].sets[number].set, set.span)?;
        let key_subjects = self.subjects(key, context)?;
        let found = self.tables[table].sets[number].set.clone();
        fits(&key_subjects, &found.key_types(), key.span)?;
        let timeout = options.timeout.map(|(time, span)| allowed_timeout(&found, time, span)).transpose()?;
        let data = self.update_data(&found, data.as_ref(), (set.span, *operation), context)?;
        Ok(Statement::Update(Update {
            operation: *operation,
            set: number,
            key: key_subjects,
            timeout: timeout.filter(|time| *time != 0),
            // What the set says for all need not be said again, and is not printed again.
            counter: options.counter.map(|counter| counter.start).filter(|_| !found.counter),
            data,
        }))
    }

    fn update_data(
        &mut self,
        set: &Set,
        data: Option<&ast::UpdateData>,
        (span, operation): (Span, UpdateOperation),
        context: &mut Context,
    ) -> Checked<Option<UpdateData>> {
        let types = set.data_types();
        match data {
            None if set.data.is_none() => Ok(None),
            None => {
                let message = format!("`{}` of a map needs its data too", operation.name());
                Err(Diagnostic::error(span, message).help("write `{ key : value }`"))
            }
            Some(_) if set.gives_verdicts() => {
                Err(Diagnostic::error(span, "rules cannot change maps to verdicts: nftables has no way to write it"))
            }
            Some(_) if types.is_empty() => Err(Diagnostic::error(span, "this is a set: only a map has data")),
            Some(ast::UpdateData::Value(value)) => self.data(value, types, false).map(UpdateData::Constant).map(Some),
            Some(ast::UpdateData::Of(left)) => {
                let subjects = self.subjects(left, context)?;
                fits(&subjects, types, left.span)?;
                Ok(Some(UpdateData::Of(subjects)))
            }
        }
    }

    /// The parts of what is looked at.
    pub(super) fn subjects(&mut self, left: &Left, context: &mut Context) -> Checked<Vec<Subject>> {
        if !left.more.is_empty() {
            return self.concat_subjects(left, context);
        }
        let (subject, turned) = self.subject(left, context)?;
        if subject.or != 0 || turned != 0 {
            return Err(Diagnostic::error(left.span, "only `&` is supported on a key that is put into a set"));
        }
        Ok(vec![subject])
    }
}

/// A rule that changes a set makes it `dynamic`, as in nftables.
fn becomes_dynamic(set: &mut Set, span: Span) -> Checked<()> {
    if set.interval {
        let error = Diagnostic::error(
            span,
            format!("{} `{}` has `flags interval`: rules cannot change it", set.kind(), set.name),
        );
        return Err(error.help("rules add single values: leave `interval` out"));
    }
    if set.constant {
        let error = Diagnostic::error(
            span,
            format!("{} `{}` has `flags constant`: rules cannot change it", set.kind(), set.name),
        );
        return Err(error.help("leave `constant` out"));
    }
    set.dynamic = true;
    set.size = set.size.or(Some(DYNAMIC_SIZE));
    Ok(())
}

fn allowed_timeout(set: &Set, time: u64, span: Span) -> Checked<u64> {
    if !set.timeouts {
        let error = Diagnostic::error(span, format!("a timeout in {} `{}`, which has none", set.kind(), set.name));
        return Err(error.help("add `flags timeout` to it"));
    }
    in_bounds(time, span)
}

fn fits(subjects: &[Subject], types: &[Type], span: Span) -> Checked<()> {
    let found: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
    let same = |(a, b): (&Type, &Type)| a == b || (*a, *b) == (Type::Integer(32), Type::Mark);
    if found.len() == types.len() && found.iter().zip(types).all(same) {
        return Ok(());
    }
    let message = format!("expected {}, this is {}", type_names(types), type_names(&found));
    Err(Diagnostic::error(span, message))
}
