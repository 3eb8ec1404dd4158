//! Rules that change sets.

use super::{Checked, Checker, concat::type_names, context::Context, declare::in_bounds, reading};
use crate::language::{
    ast::{self, KeyPart, Left},
    diagnostic::Diagnostic,
    parser::DYNAMIC_SIZE,
    ruleset::{Concat, OfElement, Put, Set, Statement, Subject, Update, UpdateOperation},
    source::Span,
    types::Type,
};

impl Checker<'_> {
    pub(super) fn set_update(
        &mut self,
        table: usize,
        written: &ast::Update,
        context: &mut Context,
    ) -> Checked<Statement> {
        let ast::Update { meter, operation, set, key, options, data } = written;
        let (number, key) = if let Some(size) = meter {
            self.new_meter(table, (written, *size), context)?
        } else {
            let number = self.tables[table].set(&set.text, set.span)?;
            let found = &mut self.tables[table].sets[number].set;
            if found.meter {
                return Err(Diagnostic::error(set.span, "this is a meter: only its own rule adds to it"));
            }
            becomes_dynamic(found, set.span)?;
            let types = found.key_types();
            (number, self.put(key, &types, context)?)
        };
        let found = self.tables[table].sets[number].set.clone();
        let timeout = options.timeout.map(|(time, span)| allowed_timeout(&found, time, span)).transpose()?;
        let statements = kept_statements(&found, &options.statements)?;
        let data = self.update_data(&found, data.as_deref(), (set.span, *operation), context)?;
        Ok(Statement::Update(Update {
            operation: *operation,
            set: number,
            key,
            timeout: timeout.filter(|time| *time != 0),
            statements,
            data,
        }))
    }

    /// The set that a meter stands for, which no other rule can name.
    fn new_meter(
        &mut self,
        table: usize,
        (written, size): (&ast::Update, u32),
        context: &mut Context,
    ) -> Checked<(usize, Vec<Put>)> {
        let ast::Update { set: name, key, options, .. } = written;
        if let Some(constant) = key.iter().find(|part| matches!(part, KeyPart::Value(_))) {
            return Err(Diagnostic::error(constant.span(), "a constant in the key of a meter: leave it out"));
        }
        let key = self.parts_of(key, context)?;
        let subjects: Vec<Subject> = key.iter().filter_map(|part| *part).collect();
        if self.tables[table].set_index.contains_key(&*name.text) {
            let message = format!("there is a set or meter `{}` already", name.text);
            return Err(Diagnostic::error(name.span, message).help("a meter belongs to one rule"));
        }
        let types: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
        let concat = (types.len() > 1).then(|| Concat {
            types: types.clone(),
            type_of: subjects.iter().map(|subject| subject.selector).collect(),
            tuples: Vec::new(),
        });
        let set = Set {
            name: name.text.to_string(),
            element_type: types[0],
            type_of: Some(subjects[0].selector),
            constant: false,
            interval: false,
            dynamic: true,
            timeouts: options.timeout.is_some(),
            timeout: None,
            gc_interval: None,
            auto_merge: false,
            size: Some(size).filter(|size| *size != 0).or(Some(DYNAMIC_SIZE)),
            saves_memory: false,
            statements: Vec::new(),
            meter: true,
            data: None,
            catch_all: None,
            comment: None,
            elements: Vec::new(),
            concat,
        };
        Ok((self.declare_meter(table, set), subjects.into_iter().map(Put::Of).collect()))
    }

    /// What a rule puts where values of these types belong.
    fn put(&mut self, parts: &[KeyPart], types: &[Type], context: &mut Context) -> Checked<Vec<Put>> {
        let span = parts.first().map_or_else(Span::default, KeyPart::span);
        let span = parts.last().map_or(span, |last| span.to(last.span()));
        let subjects = self.parts_of(parts, context)?;
        let found: Vec<Option<Type>> =
            subjects.iter().map(|subject| subject.map(|subject| subject.selector.value_type())).collect();
        fits(&found, types, span)?;
        let one = |(part, (subject, ty)): (&KeyPart, (Option<Subject>, &Type))| match (part, subject) {
            (KeyPart::Value(value), _) => {
                let values = super::arrange::shaped(self.values(value, *ty)?, *ty);
                if values.low != values.high {
                    return Err(Diagnostic::error(
                        value.span,
                        "a range or prefix as part of an element: it has one value",
                    ));
                }
                Ok(Put::Constant(values, *ty))
            }
            (KeyPart::Of(left), None) => Err(Diagnostic::error(left.span, "this stands for nothing")),
            (KeyPart::Of(_), Some(subject)) => Ok(Put::Of(subject)),
        };
        parts.iter().zip(subjects.into_iter().zip(types)).map(one).collect()
    }

    /// The parts that the packet has, in their places.
    fn parts_of(&mut self, parts: &[KeyPart], context: &mut Context) -> Checked<Vec<Option<Subject>>> {
        let of = |part: &KeyPart| match part {
            KeyPart::Of(left) => Some(left.clone()),
            KeyPart::Value(_) => None,
        };
        let mut lefts = parts.iter().filter_map(of);
        let Some(mut all) = lefts.next() else { return Ok(vec![None; parts.len()]) };
        all.more.extend(lefts);
        all.span = all.more.last().map_or(all.span, |last| all.span.to(last.span));
        let mut subjects = self.subjects(&all, context)?.into_iter();
        Ok(parts.iter().map(|part| of(part).and_then(|_| subjects.next())).collect())
    }

    fn update_data(
        &mut self,
        set: &Set,
        data: Option<&[KeyPart]>,
        (span, operation): (Span, UpdateOperation),
        context: &mut Context,
    ) -> Checked<Option<Vec<Put>>> {
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
            Some(parts) => self.put(parts, types, context).map(Some),
        }
    }

    /// The parts of what is looked at.
    pub(super) fn subjects(&mut self, left: &Left, context: &mut Context) -> Checked<Vec<Subject>> {
        if !left.more.is_empty() {
            return self.concat_subjects(left, context);
        }
        let (subject, turned) = self.subject(left, context)?;
        reading::any_type_told(&subject, left.span)?;
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

/// What the set says for all need not be said again, and is not printed again; something else the kernel refuses
/// (`nft_dynset_init`, `net/netfilter/nft_dynset.c`, Linux 6.18).
fn kept_statements(set: &Set, said: &[(OfElement, Span)]) -> Checked<Vec<OfElement>> {
    let Some((_, span)) = said.first() else { return Ok(Vec::new()) };
    if let Some((_, span)) = said.iter().find(|(one, _)| set.timeouts && matches!(one, OfElement::Connections { .. })) {
        let message = format!(
            "`ct count` on an element of {} `{}`, which has timeouts: the kernel refuses it",
            set.kind(),
            set.name
        );
        return Err(Diagnostic::error(*span, message).help("declare a set for it without `timeout`"));
    }
    let statements: Vec<OfElement> = said.iter().map(|(statement, _)| *statement).collect();
    if set.statements.is_empty() {
        return Ok(statements);
    }
    if statements.len() == set.statements.len() {
        let fresh = |all: &[OfElement]| all.iter().map(|one| one.fresh()).collect::<Vec<_>>();
        if fresh(&statements) == fresh(&set.statements) {
            return Ok(Vec::new());
        }
    }
    let of_set = set.statements.iter().map(OfElement::text).collect::<Vec<_>>().join(" ");
    let message = format!("elements of {} `{}` have other statements: `{of_set}`", set.kind(), set.name);
    Err(Diagnostic::error(*span, message).help("leave them out here: every element has those of the set"))
}

fn fits(found: &[Option<Type>], types: &[Type], span: Span) -> Checked<()> {
    let same = |(a, b): (&Option<Type>, &Type)| a.is_none_or(|a| a == *b || (a, *b) == (Type::Integer(32), Type::Mark));
    if found.len() == types.len() && found.iter().zip(types).all(same) {
        return Ok(());
    }
    let names = found.iter().map(|ty| ty.map_or("a constant", |ty| ty.name())).collect::<Vec<_>>().join(" . ");
    Err(Diagnostic::error(span, format!("expected {}, this is {names}", type_names(types))))
}
